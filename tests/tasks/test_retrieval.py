"""The retrieval task: its losses put together, on one device and on many, and what it learns."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import planted_tastes as planted
import pytest
from on_meshes import gradients_on

from jaxrec.data.examples import Batch
from jaxrec.models.profiles.autoencoder import Autoencoder
from jaxrec.models.profiles.contrastive import Contrastive
from jaxrec.models.profiles.gan import Gan
from jaxrec.models.profiles.transformer import Transformer
from jaxrec.models.scorers.cosine import Cosine
from jaxrec.models.scorers.euclidean import Euclidean
from jaxrec.models.scorers.mlp import Mlp
from jaxrec.parallel.mesh import MeshShape
from jaxrec.ranker import mask_scores, score_all
from jaxrec.tasks.ranker import two_tower_ranker
from jaxrec.tasks.retrieval import Bce, Bpr, FullSoftmax, InBatchSoftmax, Retrieval

D, ITEMS = planted.DIM, planted.ITEMS
JOB = planted.job()
LOSSES = {
    "full": FullSoftmax(),
    "in-batch": InBatchSoftmax(),
    "uncorrected": InBatchSoftmax(correct=False),
    "bpr": Bpr(20),
    "bce": Bce(20),
}


def batch(size=16, seed=0) -> Batch:
    return JOB.source.gather(np.arange(size), np.random.default_rng(seed))


@cache
def random_params(task: Retrieval):
    shapes = jax.eval_shape(task.init, jax.random.key(0), JOB.table, batch())
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda p: (0.3 * rng.normal(size=p.shape)).astype(p.dtype), shapes)


def metrics_of(task, made: Batch, key=0):
    params = random_params(task)
    return jax.jit(task.gradients)(params, JOB.table, made, jax.random.key(key))[1]


PLAIN = planted.model(id_dropout=0.0)


def scores_of(task, made: Batch):
    query = planted.Query(*made[:5])
    return np.asarray(task.model.apply({"params": random_params(task)}, JOB.table, query)[0], np.float64)


def per_target(made: Batch, value) -> float:
    """The mean over askers of the weighted mean over targets of value(row, target)."""
    means = []
    for row in range(len(made.targets)):
        pairs = [(w, value(row, t)) for t, w in zip(made.targets[row], made.target_weights[row], strict=True) if t >= 0]
        means.append(sum(w * v for w, v in pairs) / sum(w for w, _ in pairs))
    return float(np.mean(means))


def test_the_full_softmax_is_over_warm_items_that_were_not_read():
    task, made = Retrieval(PLAIN, FullSoftmax()), batch()
    scores = scores_of(task, made)

    def value(row, target):
        others = np.setdiff1d(np.flatnonzero(JOB.table.warm), made.history[row])
        return np.log(np.exp(scores[row, others]).sum()) - scores[row, target]

    assert float(metrics_of(task, made)["ranking"]) == pytest.approx(per_target(made, value), rel=1e-5)


def test_an_item_on_both_sides_is_a_target():
    made = batch(4)
    made = made._replace(targets=np.where(made.targets >= 0, made.history[:, :1], -1))
    loss = float(metrics_of(Retrieval(PLAIN, FullSoftmax()), made)["ranking"])
    assert 0 < loss < 30  # and not the price of an excluded item


@pytest.mark.parametrize("correct", [True, False])
def test_the_in_batch_softmax_is_over_other_askers_targets(correct):
    task, made = Retrieval(PLAIN, InBatchSoftmax(correct)), batch()
    made = made._replace(target_weights=made.target_weights * np.linspace(0.5, 2, made.targets.shape[1])[None])
    made = made._replace(target_weights=made.target_weights.astype(np.float32))
    scores = scores_of(task, made)
    share = np.bincount(JOB.log.item_rows, minlength=ITEMS) / len(JOB.log)

    def value(row, target):
        others = np.delete(made.targets, row, axis=0)
        others = others[others >= 0]
        copies = len(others) * share if correct else np.ones(ITEMS)
        drawn = others[~np.isin(others, [*made.targets[row], *made.history[row]])]
        negatives = (np.exp(scores[row, drawn]) / copies[drawn]).sum()
        return np.log(np.exp(scores[row, target]) + negatives) - scores[row, target]

    assert float(metrics_of(task, made)["ranking"]) == pytest.approx(per_target(made, value), rel=1e-5)


@pytest.mark.parametrize("kind", [Bpr, Bce])
def test_bpr_and_bce_are_against_drawn_warm_items_that_the_asker_does_not_have(kind):
    task, made = Retrieval(PLAIN, kind(15)), batch()
    scores = scores_of(task, made)
    key, _ = jax.random.split(jax.random.key(5))
    drawn = np.asarray(task.loss.rows(jnp.asarray(made.targets), ITEMS, key))[:15]
    assert len(set(drawn.tolist())) > 5 and drawn.max() < ITEMS

    def softplus(x):
        return np.log1p(np.exp(x))

    def negatives(row):
        has = [*made.targets[row], *made.history[row]]
        return scores[row, [item for item in drawn if item not in has and JOB.table.warm[item]]]

    def value(row, target):
        if kind is Bpr:
            return softplus(negatives(row) - scores[row, target]).mean()
        return softplus(-scores[row, target]) + softplus(negatives(row)).mean()

    assert float(metrics_of(task, made, key=5)["ranking"]) == pytest.approx(per_target(made, value), rel=1e-5)


@pytest.mark.parametrize("loss", [Bpr(15), Bce(15)])
def test_of_many_targets_no_more_than_the_catalog_is_scored(loss):
    targets = jnp.tile(jnp.asarray(batch().targets), (50, 1))
    rows = np.asarray(loss.rows(targets, ITEMS, jax.random.key(0)))
    assert targets.size > 2 * ITEMS and len(rows) == 15 + ITEMS + 1
    assert set(rows[15:].tolist()) == {-1, *np.asarray(targets).ravel().tolist()}


@pytest.mark.usefixtures("quick_compile")
@pytest.mark.parametrize("name", ["full", "in-batch", "bpr"])
def test_padded_targets_change_nothing(name):
    """Not the ranking loss, and not the item head's own losses, which read the columns."""
    task = Retrieval(planted.model(Autoencoder(D, 4), id_dropout=0.0), LOSSES[name])
    made = batch()
    wide = {"targets": -1, "target_weights": 0, "log_q": -3.0}
    wide = made._replace(**{k: np.pad(getattr(made, k), ((0, 0), (0, 9)), constant_values=v) for k, v in wide.items()})
    plain, padded = metrics_of(task, made), metrics_of(task, wide)
    assert {name: float(v) for name, v in padded.items()} == pytest.approx(
        {name: float(v) for name, v in plain.items()}, rel=1e-5
    )


def test_the_loss_is_the_ranking_loss_the_heads_losses_and_the_squares():
    heads = planted.model(Gan(D, 5, noise=0), Autoencoder(D, 4, variational=True), id_dropout=0.0)
    task = Retrieval(heads, profile_weight=0.3, l2=0.01)
    metrics = {name: float(value) for name, value in metrics_of(task, batch()).items()}
    own = {"item/match", "item/critic", "item/generator", "user/kl", "user/reconstruction"}
    assert set(metrics) == own | {"loss", "ranking", "item/gan"}
    assert metrics["item/gan"] == pytest.approx(metrics["item/generator"] + 0.3 * metrics["item/critic"])
    squares = sum(float(np.square(p).sum()) for p in jax.tree.leaves(random_params(task)))
    expected = metrics["ranking"] + 0.3 * sum(metrics[name] for name in own) + 0.01 * squares
    assert metrics["loss"] == pytest.approx(expected, rel=1e-5)


def test_parameters_do_not_depend_on_the_loss_or_the_batch():
    heads = planted.model(Autoencoder(D, 4), Autoencoder(D, 4, "interactions"))
    shapes = [
        jax.tree.map(jnp.shape, jax.eval_shape(Retrieval(heads, loss).init, jax.random.key(0), JOB.table, made))
        for loss in LOSSES.values()
        for made in (batch(), batch(1))
    ]
    assert all(other == shapes[0] for other in shapes)


def gradients(task, shape: MeshShape):
    return gradients_on(shape, task, random_params(task), JOB.table, batch())


ALIKE = {  # every loss and every head, for items and for users
    "full": Retrieval(planted.model(Gan(D, 5, noise=0), Transformer(D, 1, dropout=0.0), id_dropout=0.0)),
    "in-batch": Retrieval(
        planted.model(Autoencoder(D, 4), Autoencoder(D, 4, "interactions"), id_dropout=0.0), InBatchSoftmax()
    ),
    "bpr": Retrieval(planted.model(scorer=Cosine(0.5), id_dropout=0.0), Bpr(20), l2=1e-3),
    "bce": Retrieval(
        planted.model(Transformer(D, 1, causal=False, dropout=0.0), Gan(D, 5, noise=0), scorer=Mlp(4), id_dropout=0.0),
        Bce(20),
    ),
}


@pytest.mark.usefixtures("quick_compile")
@pytest.mark.parametrize("name", ALIKE)
def test_gradients_are_equal_on_one_device_on_a_mesh_and_under_pmap(name):
    """bpr and bce too: the drawn items are the same on every device."""
    task = ALIKE[name]
    expected, expected_metrics = gradients(task, MeshShape(data=1))
    assert max(float(np.abs(g).max()) for g in jax.tree.leaves(expected)) > 1e-3
    for shape in (MeshShape(model=2), MeshShape(strategy="pmap"), *[MeshShape()] * (name == "in-batch")):
        grads, metrics = gradients(task, shape)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=1e-5), grads, expected)
        assert set(metrics) == set(expected_metrics)
        for key, value in expected_metrics.items():
            np.testing.assert_allclose(metrics[key], value, rtol=1e-5, atol=1e-6)


def test_dropout_differs_from_device_to_device():
    """Under pmap each device has two of the sixteen askers, all of them the same asker here."""
    task = Retrieval(planted.model(id_dropout=0.0), FullSoftmax())
    task = replace(task, model=task.model.clone(user=task.model.user.clone(dropout=0.5)))
    twins, params, table = jax.tree.map(lambda x: np.repeat(x[:1], 8, axis=0), batch()), random_params(task), JOB.table

    def losses(key, made):
        made = jax.tree.map(lambda x: x[None], made)
        _, metrics = task.gradients(params, table, made, key, axis_name="data")
        return metrics["ranking"]

    seen = jax.pmap(losses, axis_name="data", in_axes=(None, 0))(jax.random.key(0), twins)
    assert len(np.unique(np.asarray(seen))) > 4


def scores_of_unseen(task, params, items):
    """Each user's scores of some items that they do not have; the others are -inf."""
    ranker = two_tower_ranker(task.model, params, JOB.table, planted.NEAR, 2 * planted.EACH)
    query = JOB.queries()
    allowed = jnp.zeros(ITEMS, bool).at[items].set(True)
    return np.asarray(mask_scores(score_all(ranker, ranker.arrays, query), query.history, allowed))


TASKS = {  # every loss, every head for items and for users, every scorer
    "identity, full": Retrieval(planted.model()),
    "identity, bpr": Retrieval(planted.model(), Bpr(20)),
    "autoencoder, in-batch": Retrieval(
        planted.model(Autoencoder(D, 4), Autoencoder(D, 4, "interactions", variational=True)), InBatchSoftmax()
    ),
    "gan, full": Retrieval(planted.model(Gan(D, 8), Gan(D, 8))),
    "contrastive, full": Retrieval(planted.model(Contrastive(D, 8))),
    "transformer, bce": Retrieval(planted.model(Transformer(D, 1, causal=False), Transformer(D, 1)), Bce(20)),
    "regression, cosine": Retrieval(planted.model(Gan(D, 8, adversarial=False), scorer=Cosine(0.2))),
    "euclidean, uncorrected": Retrieval(planted.model(scorer=Euclidean()), InBatchSoftmax(correct=False)),
    "mlp": Retrieval(planted.model(scorer=Mlp(8))),
}


@pytest.mark.usefixtures("quick_compile")
@pytest.mark.parametrize("name", TASKS)
def test_it_finds_the_withheld_item_and_places_new_items_by_their_words(name):
    task = replace(TASKS[name], l2=1e-3)
    params, metrics = planted.trained(task, JOB)
    assert all(np.isfinite(value) for value in metrics.values())
    taste = np.arange(planted.USERS) % 3 == 2
    choice = scores_of_unseen(task, params, np.arange(2 * planted.EACH)).argmax(axis=1)
    assert (choice == JOB.held).mean() > 0.95
    new = scores_of_unseen(task, params, planted.NEW)[:, planted.NEW]
    fits = planted.TASTE[planted.NEW][None, :] == taste[:, None]
    worst, best = np.where(fits, new, np.inf).min(axis=1), np.where(fits, -np.inf, new).max(axis=1)
    assert (worst > best).mean() > 0.95


def test_popularity_does_not_find_it():
    counts = np.bincount(JOB.log.item_rows, minlength=ITEMS)
    choice = np.where(np.isin(np.arange(ITEMS), planted.NEW), -1, counts)
    history = JOB.queries().history
    found = [np.argmax(np.where(np.isin(np.arange(ITEMS), h), -1, choice)) for h in history]
    assert (np.array(found) == JOB.held).mean() < 0.7
    taste = np.arange(planted.USERS) % 3 == 2
    assert (np.array(found)[taste] == JOB.held[taste]).mean() < 0.1
