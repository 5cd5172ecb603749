"""One training step of any task, as a pure function."""

from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxrec.train.optimizers import Optimizer
from jaxrec.train.state import TrainState

PyTree = Any
Metrics = dict[str, Array]


class Gradients(Protocol):
    """The part of a task that training needs."""

    def init(self, key: Array, constants: PyTree, batch: PyTree) -> PyTree: ...

    def gradients(
        self, params: PyTree, constants: PyTree, batch: PyTree, key: Array, *, axis_name: str | None = None
    ) -> tuple[PyTree, Metrics]: ...


def init_key(seed: int) -> Array:
    """The key of the first parameters; no step uses it."""
    return jax.random.fold_in(jax.random.key(seed), 2**31 - 1)


def make_step(
    task: Gradients, optimizer: Optimizer, *, seed: int, accumulate: int = 1, trainable: PyTree | None = None
) -> Callable[..., tuple[TrainState, Metrics]]:
    """A pure step(state, constants, batch, *, axis_name=None) -> (state, metrics).

    Randomness is fold_in(key(seed), step), the same on every device: under axis_name a task folds in the device's place
    for what it draws for each example, and for that alone. Metrics are the task's (means) with "grad_norm",
    "learning_rate" and "finite" (1 when every loss and all gradients are finite).
    accumulate: the batch is run as that many microbatches and their gradients averaged, which equals the whole batch
    for a loss that is a mean over examples; a loss over the batch's own items sees the microbatch's items only.
    """

    def step(state: TrainState, constants: PyTree, batch: PyTree, *, axis_name: str | None = None):
        key = jax.random.fold_in(jax.random.key(seed), state.step)

        def gradients(batch, key):
            return task.gradients(state.params, constants, batch, key, axis_name=axis_name)

        grads, metrics = gradients(batch, key) if accumulate == 1 else _accumulated(gradients, batch, key, accumulate)
        if axis_name is not None:
            grads, metrics = jax.lax.pmean((grads, metrics), axis_name)
        grads = jax.tree.map(lambda g, p: g.astype(p.dtype), grads, state.params)
        updates, opt_state = optimizer.transform.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        norm = optax.tree.norm(_trained(grads, trainable))
        losses = [value for name, value in metrics.items() if "loss" in name]
        finite = jnp.stack([jnp.isfinite(x) for x in (norm, *losses)]).all()
        metrics = metrics | {
            "grad_norm": norm,
            "learning_rate": jnp.asarray(optimizer.schedule(state.step), jnp.float32),
            "finite": finite.astype(jnp.float32),
        }
        return TrainState(state.step + 1, params, opt_state), metrics

    return step


def _trained(grads: PyTree, trainable: PyTree | None) -> list[Array]:
    """The gradients that move something; the others are then never computed."""
    leaves = jax.tree.leaves(grads)
    return (
        leaves if trainable is None else [g for g, yes in zip(leaves, jax.tree.leaves(trainable), strict=True) if yes]
    )


def _accumulated(gradients, batch: PyTree, key: Array, accumulate: int) -> tuple[PyTree, Metrics]:
    """Mean of the microbatches' gradients and metrics; microbatch m holds rows m, m + accumulate, ...

    Strided, so that each device's rows stay on it.
    """

    def split(x: Array) -> Array:
        return x.reshape(x.shape[0] // accumulate, accumulate, *x.shape[1:]).swapaxes(0, 1)

    parts = jax.tree.map(split, batch)
    keys = jax.random.split(key, accumulate)
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(gradients, jax.tree.map(lambda x: x[0], parts), keys[0])
    )

    def add(total, part):
        return jax.tree.map(jnp.add, total, gradients(*part)), None

    total, _ = jax.lax.scan(add, zeros, (parts, keys))
    return jax.tree.map(lambda x: x / accumulate, total)
