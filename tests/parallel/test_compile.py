"""One device, a mesh and pmap take the same step."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.errors import UserError
from jaxrec.parallel.compile import compile_step
from jaxrec.parallel.mesh import MeshShape
from jaxrec.parallel.partition import PARAM_RULES, partition_shardings
from jaxrec.parallel.placement import place, place_batch, place_constants, to_host

ITEMS, DIM, BATCH = 32, 8, 16


def gradients(params, constants, batch, *, axis_name):
    """In-batch softmax over the global batch on top of a row-sharded table."""

    def loss_of(params):
        users = jnp.take(constants["users"], batch["user"], axis=0) @ params["kernel"]
        items = jnp.take(params["embedding"], batch["item"], axis=0)
        labels = jnp.arange(users.shape[0])
        if axis_name is not None:
            labels += jax.lax.axis_index(axis_name) * users.shape[0]
            items = jax.lax.all_gather(items, axis_name, tiled=True)
        return -jnp.take_along_axis(jax.nn.log_softmax(users @ items.T), labels[:, None], axis=1).mean()

    loss, grads = jax.value_and_grad(loss_of)(params)
    if axis_name is not None:
        loss, grads = jax.lax.pmean((loss, grads), axis_name)
    return grads, {"loss": loss}


def run(shape: MeshShape, steps: int = 1):
    mesh = shape.make()
    rng = np.random.default_rng(0)
    params = {
        "embedding": (0.1 * rng.normal(size=(ITEMS, DIM))).astype(np.float32),
        "kernel": rng.normal(size=(DIM, DIM)).astype(np.float32),
    }
    constants = place_constants({"users": rng.normal(size=(40, DIM)).astype(np.float32)}, mesh)
    shardings = partition_shardings(params, PARAM_RULES, mesh)

    def step(params, constants, batch, *, axis_name):
        return gradients(params, constants, batch, axis_name=axis_name)

    compiled = compile_step(
        step,
        mesh,
        shape.strategy,
        state_shardings=shardings,
        constant_shardings=jax.tree.map(lambda x: x.sharding, constants),
    )
    state = place(params, shardings, may_alias=False)
    for _ in range(steps):
        batch = {
            "user": rng.integers(0, 40, BATCH).astype(np.int32),
            "item": rng.integers(0, ITEMS, BATCH).astype(np.int32),
        }
        state, metrics = compiled(state, constants, place_batch(batch, mesh, shape.strategy))
    return to_host(state), to_host(metrics), compiled


ONE = MeshShape(data=1)


@pytest.mark.parametrize(
    "shape",
    [MeshShape(), MeshShape(model=2), MeshShape(model=8), MeshShape(strategy="pmap")],
    ids=["8x1", "4x2", "1x8", "pmap"],
)
def test_gradients_are_equal_on_any_mesh(shape):
    expected, expected_metrics, _ = run(ONE)
    grads, metrics, compiled = run(shape)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6, rtol=0), grads, expected)
    assert abs(metrics["loss"] - expected_metrics["loss"]) < 1e-6
    assert compiled.traces == 1


def test_pmap_needs_a_data_axis_only():
    mesh = MeshShape(model=2).make()
    with pytest.raises(UserError, match="set mesh.model=1"):
        compile_step(lambda *_: None, mesh, "pmap", state_shardings=None, constant_shardings=None)


@pytest.mark.parametrize("strategy", ["jit", "pmap"])
def test_the_given_state_is_donated_and_nothing_is_traced_twice(strategy):
    _, _, compiled = run(MeshShape(strategy=strategy), steps=4)
    assert compiled.traces == 1
