import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toy

from jaxrec.train.optimizers import SGD, AdamW
from jaxrec.train.state import TrainState
from jaxrec.train.step import init_key, make_step

PLAIN = SGD(0.1)


def run(task, *, accumulate=1, optimizer=PLAIN, batch=None, trainable=None, seed=0):
    built = optimizer.build(10, trainable)
    batch = toy.first_batch() if batch is None else batch
    params = task.init(init_key(seed), toy.constants(), batch)
    step = jax.jit(make_step(task, built, seed=seed, accumulate=accumulate, trainable=trainable))
    return step(TrainState.of(params, built.transform), toy.constants(), batch)


def difference(a, b):
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(jnp.abs(x - y).max()), a, b)))


@pytest.mark.parametrize("accumulate", [2, 4, 16])
def test_accumulated_microbatches_equal_the_whole_batch(accumulate):
    whole, whole_metrics = run(toy.Regression())
    parts, metrics = run(toy.Regression(), accumulate=accumulate)
    assert difference(whole.params, parts.params) < 1e-6
    assert abs(whole_metrics["loss"] - metrics["loss"]) < 1e-6
    assert abs(whole_metrics["grad_norm"] - metrics["grad_norm"]) < 1e-6


def test_metrics_name_loss_norm_rate_and_finiteness():
    state, metrics = run(toy.Regression())
    assert int(state.step) == 1
    assert metrics["finite"] == 1 and metrics["learning_rate"] == np.float32(0.1)
    batch, text = toy.first_batch(), toy.constants()["items"]["text"]
    error = text[batch["item"]]  # the first prediction is zero
    kernel = -2 * batch["user"].T @ error / error.size
    bias = -2 * error.sum(0) / error.size
    np.testing.assert_allclose(metrics["loss"], (error**2).mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["grad_norm"], np.sqrt((kernel**2).sum() + (bias**2).sum()), rtol=1e-5)
    np.testing.assert_allclose(state.params["kernel"], -0.1 * kernel, rtol=1e-4, atol=1e-7)


def test_a_loss_that_is_not_finite_is_flagged():
    batch = toy.first_batch()
    batch = batch | {"user": np.full_like(batch["user"], np.inf)}
    assert run(toy.Regression(), batch=batch)[1]["finite"] == 0


def test_randomness_is_a_function_of_seed_and_step():
    one, two, other = (run(toy.Toy(noise=0.5), seed=seed)[0].params for seed in (0, 0, 1))
    assert difference(one, two) == 0
    assert difference(one["user"], other["user"]) > 1e-4


class HalfPrecision(toy.NamedTuple):
    """Computes in bfloat16 and even returns bfloat16 gradients."""

    def init(self, key, constants, batch):
        return toy.Regression().init(key, constants, batch)

    def gradients(self, params, constants, batch, key, *, axis_name=None):
        half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
        batch = batch | {"user": batch["user"].astype(jnp.bfloat16)}
        return toy.Regression().gradients(half, constants, batch, key)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_parameters_and_moments_stay_float32_under_bfloat16(accumulate):
    state, _ = run(HalfPrecision(), accumulate=accumulate, optimizer=AdamW(0.1))
    floating = [x.dtype for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.floating)]
    assert set(floating) == {jnp.dtype("float32")}


def test_the_norm_is_of_what_is_trained():
    trainable = {"kernel": False, "bias": True}
    state, metrics = run(toy.Regression(), trainable=trainable)
    assert float(jnp.abs(state.params["kernel"]).max()) == 0
    np.testing.assert_allclose(metrics["grad_norm"], jnp.linalg.norm(state.params["bias"]) / 0.1, rtol=1e-5)
