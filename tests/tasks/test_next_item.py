"""The task of what comes next: learns a planted chain, alike on any mesh, and its ranker is exported as it is."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest
from on_meshes import gradients_on

from jaxrec.data.dataset import index_ids
from jaxrec.data.holdout import LeaveLastOut
from jaxrec.data.interactions import Histories, Interactions
from jaxrec.data.queries import gather_queries
from jaxrec.data.tables import Tables
from jaxrec.data.training import TrainingData
from jaxrec.errors import DataError
from jaxrec.evaluate.evaluator import evaluate
from jaxrec.evaluate.ranking import rank_users
from jaxrec.method import Setting
from jaxrec.models.sequence import SequenceModel
from jaxrec.parallel.mesh import MeshShape
from jaxrec.ranker import Query, score_all
from jaxrec.serve.export import export
from jaxrec.serve.recommender import Recommender
from jaxrec.tasks.next_item import CatalogSoftmax, NextItem, SampledSoftmax
from jaxrec.tasks.task import Sizes, first_batch
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import AdamW
from jaxrec.train.step import init_key
from jaxrec.train.trained import Trained

pytestmark = pytest.mark.usefixtures("quick_compile_all")

ITEMS, USERS, STEP = 20, 120, 7
SMALL = NextItem(SequenceModel(dim=16, blocks=1, length=12, dropout=0.0))


@pytest.fixture(scope="module")
def data():
    """Whoever takes item i takes item i + 7 (mod 20) next; everybody begins with an item below 4."""
    rng = np.random.default_rng(0)
    first, lengths = rng.integers(0, 4, USERS), rng.integers(4, 19, USERS)
    users = np.repeat(np.arange(USERS), lengths)
    place = np.arange(len(users)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    items = (first[users] + STEP * place) % ITEMS
    log = pa.table(
        {
            "user_id": [f"u{u}" for u in users],
            "item_id": [f"i{i}" for i in items],
            "timestamp": 1_000_000_000 + 86_400 * place,
            "weight": np.ones(len(users)),
        }
    )
    catalog = pa.table({"item_id": [f"i{i}" for i in range(ITEMS)], "title": [f"Film {i}" for i in range(ITEMS)]})
    return index_ids(Tables(log, catalog, None, "chain"))


@pytest.fixture(scope="module")
def known(data):
    holdout = LeaveLastOut()(data)
    return TrainingData(data, holdout.train, holdout=holdout)


@pytest.fixture(scope="module", params=[CatalogSoftmax(), SampledSoftmax(12)], ids=["full", "sampled"])
def ranker(request, known):
    method = Trained(
        replace(SMALL, loss=request.param),
        AdamW(peak_learning_rate=2e-2),
        Train(num_steps=150, batch_size_global=16, checkpoint_every=None),
    )
    return method.fit(known, Setting(quiet=True, say=lambda line: None))


def test_the_next_of_a_chain_is_found(ranker, data, known):
    assert evaluate(ranker, data, known.holdout, "test", ks=(1,))["recall@1"] > 0.97


def test_who_has_no_history_is_told_what_people_begin_with(ranker, data):
    query = Query(*gather_queries(Histories.of(data.interactions, data.num_users), np.array([-1]), 12, 0))
    best = np.argsort(-np.asarray(score_all(ranker, ranker.arrays, query))[0])[:4]
    assert set(best) == set(data.item_map.rows([f"i{i}" for i in range(4)]))


def test_exported_is_in_process(ranker, data, tmp_path):
    histories = Histories.of(data.interactions, data.num_users)
    export(ranker, data, tmp_path / "a", histories=histories)
    recommender = Recommender.load(tmp_path / "a")
    everybody, asked_at = np.arange(data.num_users), np.full(data.num_users, histories.timestamps.max())
    expected = rank_users(ranker, histories, everybody, np.ones(data.num_items, bool), k=2, asked_at=asked_at)
    table = recommender.recommend_many(k=2)
    np.testing.assert_allclose(table["score"], expected.scores.ravel(), rtol=1e-4, atol=1e-5)
    assert recommender.recommend(history=["i1", "i8"], k=1)[0].item_id == "i15"
    assert len(recommender.similar("i1", k=3)) == 3
    assert recommender.manifest.max_items is None


def test_padding_changes_no_score(ranker, data):
    histories = Histories.of(data.interactions, data.num_users)
    few = np.flatnonzero(histories.lengths < 8)
    asked = [Query(*gather_queries(histories, few, length, 1_010_000_000)) for length in (8, 12)]
    narrow, wide = (np.asarray(score_all(ranker, ranker.arrays, query)) for query in asked)
    np.testing.assert_allclose(narrow, wide, atol=1e-4)


def test_an_asker_is_read_as_training_read_them(data):
    """The tokens of a whole history that is asked about are those of training, and one event more."""
    model = SequenceModel(dim=16, length=24, dropout=0.0, positions="end", time_gaps=True, weighted=True)
    task = NextItem(model)
    user = int(np.argmax(Histories.of(data.interactions, data.num_users).lengths))
    own = data.interactions.take(data.interactions.user_rows == user).by_time()
    one = TrainingData(data, own)
    batch = task.source(one).gather(np.array([0]), np.random.default_rng(0))
    from jaxrec.tasks.next_item import tokens_of

    known = own.take(np.arange(len(own) - 1))  # training read all but the last
    histories = Histories.of(known, data.num_users)
    asked = tokens_of(Query(*gather_queries(histories, np.array([user]), 20, int(own.timestamps[-1]))))
    for name in ("rows", "gaps", "waits", "weights", "segments", "places"):
        np.testing.assert_allclose(
            getattr(asked, name)[0, : len(own)], getattr(batch, name)[0, : len(own)], atol=1e-4, err_msg=name
        )


class EveryItem(SampledSoftmax):
    """All items, each once."""

    def columns(self, counts, key):
        return jnp.arange(len(counts)), jnp.zeros(len(counts))


def test_sampled_with_all_items_is_full(known):
    batch, constants = first_batch(SMALL.source(known), 8), SMALL.constants(known)
    params = SMALL.init(jax.random.key(0), constants, batch)
    found = [
        jax.jit(replace(SMALL, loss=loss).gradients)(params, constants, batch, jax.random.key(1))
        for loss in (CatalogSoftmax(), EveryItem())
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), *found)


def test_sampling_estimates_the_sum_over_all():
    """The mean over draws of the sum of 1 / expected count, times a value each, is the sum of all values."""
    counts, value = jnp.asarray([1.0, 0.0, 4.0, 9.0, 100.0]), jnp.asarray([3.0, 1.0, 4.0, 1.0, 5.0])
    loss = SampledSoftmax(negatives=4_096, power=0.5)
    for key in range(3):
        rows, log_count = loss.columns(counts, jax.random.key(key))
        assert abs(float((value[rows] / jnp.exp(log_count)).sum()) - 14) < 0.7
    np.testing.assert_allclose(jnp.exp(log_count)[rows == 4] / 4_096, 10 / 17, rtol=1e-5)


def gradients(task, known, shape: MeshShape):
    constants, batch = task.constants(known), first_batch(task.source(known), 16)
    params = jax.jit(task.init)(init_key(0), constants, batch)
    params = jax.tree.map(lambda p: p + 0.1 * jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)
    return gradients_on(shape, task, params, constants, batch)


@pytest.mark.parametrize("loss", [CatalogSoftmax(), SampledSoftmax(12)], ids=["full", "sampled"])
def test_gradients_are_equal_on_any_mesh(loss, known):
    task = replace(SMALL, loss=loss)
    expected, expected_metrics = gradients(task, known, MeshShape(data=1))
    assert max(float(np.abs(g).max()) for g in jax.tree.leaves(expected)) > 1e-3
    for shape in (MeshShape(), MeshShape(model=2), MeshShape(strategy="pmap")):
        grads, metrics = gradients(task, known, shape)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=0), grads, expected)
        np.testing.assert_allclose(metrics["loss"], expected_metrics["loss"], rtol=1e-6)


def test_shapes_are_those_of_the_data(known):
    constants, batch = SMALL.shapes(Sizes(items=ITEMS), 16)
    of = partial(jax.tree.map, lambda x: (x.shape, x.dtype))
    assert of(constants) == of(SMALL.constants(known))
    assert of(batch) == of(first_batch(SMALL.source(known), 16))


def test_nothing_to_learn_from(data):
    nothing = TrainingData(data, Interactions(*(np.zeros(0, t) for t in (np.int32, np.int32, np.int64, np.float32))))
    with pytest.raises(DataError, match="no training event"):
        SMALL.source(nothing)
