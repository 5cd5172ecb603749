"""Mult-VAE: its loss is the formula, it finds what a taste holds, and it is exported as it is."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest
from on_meshes import gradients_on

from jaxrec.data.dataset import index_ids
from jaxrec.data.interactions import Histories
from jaxrec.data.queries import gather_queries
from jaxrec.data.tables import Tables
from jaxrec.data.training import TrainingData
from jaxrec.errors import DataError
from jaxrec.method import Setting
from jaxrec.models.history_autoencoder import HistoryAutoencoder
from jaxrec.parallel.mesh import MeshShape
from jaxrec.ranker import Query, score_all
from jaxrec.serve.export import export
from jaxrec.serve.recommender import Recommender
from jaxrec.tasks.rebuild import Rebuild
from jaxrec.tasks.task import Sizes, first_batch
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import AdamW
from jaxrec.train.step import init_key
from jaxrec.train.trained import Trained

pytestmark = pytest.mark.usefixtures("quick_compile_all")

USERS, EACH = 40, 12
WITHHELD = np.arange(USERS) % 5  # the place, among the items of the user's taste, of the one that is withheld
SMALL = Rebuild(HistoryAutoencoder(hidden=32, latent=8, dropout=0.3), history_length=32)


@pytest.fixture(scope="module")
def data():
    """Two tastes of a dozen films each; a user has all of one of them but one."""
    pairs = [(f"u{u:02}", f"i{EACH * (u % 2) + i:02}") for u in range(USERS) for i in range(EACH) if i != WITHHELD[u]]
    users, items = (list(column) for column in zip(*pairs, strict=True))
    catalog = pa.table({"item_id": [f"i{i:02}" for i in range(2 * EACH)], "title": [f"F {i}" for i in range(2 * EACH)]})
    log = pa.table({"user_id": users, "item_id": items, "timestamp": np.arange(len(users))})
    made = index_ids(Tables(log, catalog, None, "planted"))
    return TrainingData(made, made.interactions)


@pytest.fixture(scope="module")
def ranker(data):
    method = Trained(SMALL, AdamW(peak_learning_rate=1e-2), Train(num_steps=120, batch_size_global=20), "Mult-VAE")
    return method.fit(data, Setting(quiet=True, say=lambda line: None))


def queries(data, width=32):
    return Query(*gather_queries(Histories.of(data.train, USERS), np.arange(USERS), width, 10**6))


def test_the_withheld_item_of_a_taste_is_found(ranker, data):
    scores = np.array(score_all(ranker, ranker.arrays, queries(data)))
    scores[data.train.user_rows, data.train.item_rows] = -np.inf
    wanted = data.dataset.item_map.rows([f"i{EACH * (u % 2) + WITHHELD[u]:02}" for u in range(USERS)])
    assert (scores.argmax(axis=1) == wanted).mean() > 0.95


def test_the_loss_is_the_formula(data):
    task = replace(SMALL, model=replace(SMALL.model, dropout=0.0, variational=False), kl_weight=0.0)
    constants = task.constants(data)
    batch = task.source(data).gather(np.array([0, 3]), np.random.default_rng(0))
    params = task.init(jax.random.key(0), constants, batch)
    _, metrics = task.gradients(params, constants, batch, jax.random.key(1))
    ranker = task.ranker(params, constants)
    scores = np.asarray(score_all(ranker, ranker.arrays, queries(data)), np.float64)[[0, 3]]
    shares = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = [-np.log(shares[n, data.train.item_rows[data.train.user_rows == u]]).sum() for n, u in enumerate((0, 3))]
    np.testing.assert_allclose(metrics["loss"], np.mean(expected) / (EACH - 1), rtol=1e-5)


def test_the_kl_term_counts_as_it_is_weighed(data):
    constants = SMALL.constants(data)
    batch = SMALL.source(data).gather(np.arange(8), np.random.default_rng(0))
    params = SMALL.init(jax.random.key(0), constants, batch)
    losses = []
    for weight in (0.0, 1.0):
        losses.append(replace(SMALL, kl_weight=weight).gradients(params, constants, batch, jax.random.key(1))[1])
    np.testing.assert_allclose(losses[1]["loss"] - losses[0]["loss"], losses[0]["kl"], rtol=1e-4)
    assert losses[0]["kl"] > 0


def test_order_and_padding_change_nothing(ranker, data):
    query = queries(data)
    turned = replace(query, history=jnp.where(query.history >= 0, query.history, -1)[:, ::-1])
    expected = score_all(ranker, ranker.arrays, query)
    np.testing.assert_allclose(score_all(ranker, ranker.arrays, turned), expected, atol=1e-5)
    np.testing.assert_allclose(score_all(ranker, ranker.arrays, queries(data, 11)), expected, atol=1e-5)


def test_exported_is_in_process(ranker, data, tmp_path):
    export(ranker, data.dataset, tmp_path / "a", histories=Histories.of(data.train, USERS))
    found = Recommender.load(tmp_path / "a").recommend("u01", k=1)[0]
    scores = np.array(score_all(ranker, ranker.arrays, queries(data)))
    row = data.dataset.user_map.rows(["u01"])[0]
    assert found.item_id == f"i{EACH + WITHHELD[1]:02}"
    np.testing.assert_allclose(found.score, scores[row, data.dataset.item_map.rows([found.item_id])[0]], rtol=1e-4)


def gradients(task, data, shape: MeshShape):
    constants, batch = task.constants(data), first_batch(task.source(data), 16)
    return gradients_on(shape, task, jax.jit(task.init)(init_key(0), constants, batch), constants, batch)


def test_gradients_are_equal_on_any_mesh(data):
    task = replace(SMALL, model=replace(SMALL.model, dropout=0.0, variational=False))  # what is drawn is a device's own
    expected, expected_metrics = gradients(task, data, MeshShape(data=1))
    assert max(float(np.abs(g).max()) for g in jax.tree.leaves(expected)) > 1e-3
    for shape in (MeshShape(), MeshShape(model=2), MeshShape(strategy="pmap")):
        grads, metrics = gradients(task, data, shape)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=0), grads, expected)
        np.testing.assert_allclose(metrics["loss"], expected_metrics["loss"], rtol=1e-6)


def test_nothing_to_rebuild_is_said(data):
    with pytest.raises(DataError, match="nothing to rebuild"):
        SMALL.source(replace(data, train=data.train.take(np.zeros(0, int))))


def test_shapes_are_those_of_the_data(data):
    task = replace(SMALL, history_length=EACH - 1)
    of = partial(jax.tree.map, lambda x: (x.shape, x.dtype))
    constants, batch = task.shapes(Sizes(items=2 * EACH), 16)
    assert of(constants) == of(task.constants(data)) and of(batch) == of(first_batch(task.source(data), 16))
