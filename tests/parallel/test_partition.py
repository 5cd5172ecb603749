import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec as P

from jaxrec.errors import UserError
from jaxrec.parallel.mesh import MeshShape
from jaxrec.parallel.partition import (
    CONSTANT_RULES,
    PARAM_RULES,
    fitted_spec,
    leaf_names,
    optimizer_shardings,
    partition_shardings,
    partition_specs,
    sharded_lookup,
)
from jaxrec.parallel.placement import place

PARAMS = {
    "items": {"ids": {"embedding": jnp.zeros((16, 6))}},
    "bert": {"position_embeddings": {"embedding": jnp.zeros((8, 6))}},
    "dense": {"kernel": jnp.zeros((6, 6)), "bias": jnp.zeros(6)},
    "scale_of_scores": jnp.zeros(()),
}


def array(*shape, dtype=np.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def test_rules_are_ordered_and_scalars_need_none():
    specs = partition_specs(PARAMS, PARAM_RULES)
    named = dict(zip(leaf_names(PARAMS), jax.tree.leaves(specs), strict=True))
    assert named == {
        "bert/position_embeddings/embedding": P(),
        "dense/bias": P(),
        "dense/kernel": P(),
        "items/ids/embedding": P("model"),
        "scale_of_scores": P(),
    }


def test_a_leaf_that_matches_nothing_raises_with_name_and_shape():
    with pytest.raises(UserError, match=r"no partition rule matches 'tower/codebook' \[4, 3\]"):
        partition_specs({"tower": {"codebook": jnp.zeros((4, 3))}}, PARAM_RULES)
    assert all(pattern not in (".*", "") for pattern, _ in PARAM_RULES + CONSTANT_RULES)


def test_tables_that_do_not_divide_split_their_columns_or_stay_whole():
    mesh = MeshShape(data=2, model=4).make()
    assert fitted_spec("t", array(1684, 64), P("model"), mesh) == P("model")
    assert fitted_spec("t", array(1682, 64), P("model"), mesh) == P(None, "model")
    assert fitted_spec("t", array(1682, 19), P("model"), mesh) == P()
    assert fitted_spec("t", array(1682), P("model"), mesh) == P()
    assert fitted_spec("nothing", array(1684, 0), P("model"), mesh) == P()
    with pytest.raises(UserError, match=r"'t' \[10000001, 19\] cannot be split over mesh.model=4"):
        fitted_spec("t", array(10_000_001, 19), P("model"), mesh)
    with pytest.raises(UserError, match="more axes"):
        fitted_spec("t", array(4), P(None, "model"), mesh)


def test_optimizer_state_follows_its_parameter():
    mesh = MeshShape(model=2).make()
    shardings = partition_shardings(PARAMS, PARAM_RULES, mesh)
    state = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3)).init(PARAMS)
    placed = optimizer_shardings(state, PARAMS, shardings, mesh)
    adam = placed[1][0]
    assert adam.count.spec == P()
    assert adam.mu["items"]["ids"]["embedding"].spec == P("model")
    assert adam.nu["dense"]["kernel"].spec == P()
    rowwise = {"sums": {"items": {"ids": {"embedding": array(16)}}}, "other": {"dense": {"bias": array(3)}}}
    follows = optimizer_shardings(rowwise, PARAMS, shardings, mesh)
    assert follows["sums"]["items"]["ids"]["embedding"].spec == P("model")
    assert follows["other"]["dense"]["bias"].spec == P()


@pytest.mark.parametrize("model", [1, 2, 4])
def test_sharded_lookup_equals_take_and_so_do_its_gradients(model):
    mesh = MeshShape(model=model).make()
    rng = np.random.default_rng(0)
    table = rng.normal(size=(24, 5)).astype(np.float32)
    rows = rng.integers(0, 24, size=(16, 3)).astype(np.int32)
    weights = rng.normal(size=(16, 3, 5)).astype(np.float32)
    spec = partition_shardings({"embedding": table}, PARAM_RULES, mesh)["embedding"]
    assert spec.spec == P("model")
    placed = place(table, spec)

    def loss(lookup):
        return lambda table: (lookup(table) ** 2 * weights).sum()

    sharded = jax.jit(lambda t: sharded_lookup(t, rows, mesh))
    np.testing.assert_array_equal(sharded(placed), table[rows])
    grads = jax.jit(jax.grad(loss(lambda t: sharded_lookup(t, rows, mesh))))(placed)
    auto = jax.jit(jax.grad(loss(lambda t: jnp.take(t, rows, axis=0))))(placed)
    expected = np.zeros_like(table)
    np.add.at(expected, rows, 2 * table[rows] * weights)
    np.testing.assert_allclose(grads, expected, atol=1e-5)
    np.testing.assert_allclose(auto, expected, atol=1e-5)


def test_sharded_lookup_refuses_rows_that_do_not_divide():
    with pytest.raises(UserError, match="a table of 7 rows does not divide over mesh.model=2"):
        sharded_lookup(jnp.zeros((7, 2)), jnp.zeros(8, jnp.int32), MeshShape(model=2).make())
