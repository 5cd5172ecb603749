"""bfloat16 matrix products over float32 parameters: smaller factors, the same sums."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.models.scorers.dot import Dot
from jaxrec.models.towers import Content, ItemTable, ItemTower, UserTower
from jaxrec.models.two_tower import TwoTower
from jaxrec.ranker import Query

ITEMS, TEXT, BATCH, LENGTH = 40, 16, 8, 5


def model(dtype: str) -> TwoTower:
    return TwoTower(
        item=ItemTower(id_dropout=0.0, content=Content(dtype=dtype), use_neighbours=True, dtype=dtype),
        history=ItemTower(id_dropout=0.0, content=Content(dtype=dtype), dtype=dtype),
        user=UserTower(dtype=dtype),
        scorer=Dot(dtype=dtype),
    )


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    text = rng.normal(size=(ITEMS, TEXT)).astype(np.float32)
    near = rng.random((ITEMS, ITEMS)).astype(np.float32)
    table = ItemTable(
        text / np.linalg.norm(text, axis=1, keepdims=True),
        np.zeros((ITEMS, 0), np.float32),
        np.ones(ITEMS, bool),
        np.zeros((ITEMS, 0), np.int32),
        near / near.sum(axis=1, keepdims=True),
        np.zeros((ITEMS, 0), np.int32),
    )
    query = Query(
        jnp.asarray(rng.integers(0, ITEMS, (BATCH, LENGTH)), jnp.int32),
        jnp.ones((BATCH, LENGTH)),
        jnp.ones((BATCH, LENGTH)),
        jnp.zeros((BATCH, 0)),
        jnp.zeros((BATCH, TEXT)),
    )
    params = model("float32").init(jax.random.key(0), table, query)["params"]
    return table, query, jax.tree.map(lambda x: x * 10, params)


def test_parameters_gradients_and_scores_stay_float32(inputs):
    table, query, params = inputs
    half = model("bfloat16")
    fresh = half.init(jax.random.key(0), table, query)["params"]
    assert jax.tree.map(jnp.shape, fresh) == jax.tree.map(jnp.shape, params)
    grads = jax.grad(lambda p: jnp.square(half.apply({"params": p}, table, query)[0]).mean())(params)
    assert {leaf.dtype for leaf in jax.tree.leaves((fresh, grads))} == {jnp.dtype("float32")}
    assert half.apply({"params": params}, table, query)[0].dtype == jnp.float32


def test_scores_are_those_of_float32_to_the_precision_of_the_factors(inputs):
    table, query, params = inputs
    full, half = (np.asarray(model(d).apply({"params": params}, table, query)[0]) for d in ("float32", "bfloat16"))
    assert np.abs(full).max() > 1
    assert 0 < np.abs(half - full).max() < 0.02 * np.abs(full).max()


def test_every_matrix_product_takes_bfloat16(inputs):
    table, query, params = inputs
    jaxpr = str(jax.make_jaxpr(lambda p: model("bfloat16").apply({"params": p}, table, query)[0])(params))
    products = [line for line in jaxpr.splitlines() if "dot_general" in line]
    importance = [line for line in products if line.strip().split(":")[1].startswith(f"f32[{ITEMS},1]")]
    assert len(products) - len(importance) >= 4 and len(importance) <= 1  # one number an item stays exact


def test_dot_sums_in_float32():
    users, items = jnp.full((1, 4096), 1.0), jnp.full((1, 4096), 1.0)
    assert float(Dot(dtype="bfloat16").apply({}, users, items)[0, 0]) == 4096.0
    users = users.at[0, 0].set(1.0 + 2**-9)  # lost in a bfloat16 factor
    assert float(Dot(dtype="bfloat16").apply({}, users, items)[0, 0]) == 4096.0
    assert float(Dot().apply({}, users, items)[0, 0]) > 4096.0
