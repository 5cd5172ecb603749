"""The two-tower task takes the same gradients on one device, on a mesh and under pmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from on_meshes import gradients_on

from jaxrec.data.examples import Batch
from jaxrec.models.towers import ItemTable, ItemTower
from jaxrec.models.two_tower import TwoTower
from jaxrec.parallel.mesh import MeshShape
from jaxrec.tasks.retrieval import FullSoftmax, InBatchSoftmax, Retrieval
from jaxrec.train.step import init_key

pytestmark = pytest.mark.usefixtures("quick_compile_all")

ITEMS, BATCH, LENGTH, TARGETS, TEXT = 24, 16, 6, 3, 10


def table() -> ItemTable:
    rng = np.random.default_rng(0)
    text = rng.normal(size=(ITEMS, TEXT)).astype(np.float32)
    return ItemTable(
        text / np.linalg.norm(text, axis=1, keepdims=True),
        rng.normal(size=(ITEMS, 4)).astype(np.float32),
        np.arange(ITEMS) % 5 > 0,
        np.zeros((ITEMS, 0), np.int32),
        np.zeros((ITEMS, 0), np.float32),
        np.zeros((ITEMS, 0), np.int32),
    )


def batch() -> Batch:
    rng = np.random.default_rng(1)
    return Batch(
        rng.integers(0, ITEMS, (BATCH, LENGTH)).astype(np.int32),
        rng.uniform(1, 5, (BATCH, LENGTH)).astype(np.float32),
        rng.uniform(0, 50, (BATCH, LENGTH)).astype(np.float32),
        rng.normal(size=(BATCH, 3)).astype(np.float32),
        np.zeros((BATCH, TEXT), np.float32),
        rng.choice([1, 2, 3, 4, 6, 7, 8, 9], (BATCH, TARGETS)).astype(np.int32),
        np.ones((BATCH, TARGETS), np.float32),
        np.log(rng.uniform(0.01, 0.1, (BATCH, TARGETS))).astype(np.float32),
    )


def gradients(task, shape: MeshShape):
    params = jax.jit(task.init)(init_key(0), table(), batch())
    params = jax.tree.map(lambda p: p + 0.01 * jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)
    return gradients_on(shape, task, params, table(), batch())


@pytest.mark.parametrize("loss", [FullSoftmax(), InBatchSoftmax()], ids=["full", "in-batch"])
def test_gradients_are_equal(loss):
    task = Retrieval(TwoTower(item=ItemTower(id_dropout=0.0)), loss)
    expected, expected_metrics = gradients(task, MeshShape(data=1))
    assert max(float(np.abs(g).max()) for g in jax.tree.leaves(expected)) > 1e-3
    for shape in (MeshShape(), MeshShape(model=2), MeshShape(strategy="pmap")):
        grads, metrics = gradients(task, shape)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=0), grads, expected)
        np.testing.assert_allclose(metrics["loss"], expected_metrics["loss"], rtol=1e-6)
