"""Optimizers as configs: frozen dataclasses that build an optax transformation once the number of steps is known."""

import re
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax

from jaxrec.errors import UserError
from jaxrec.parallel.partition import leaf_names

PyTree = Any


class Optimizer(NamedTuple):
    """transform: what updates the parameters. schedule: step (from 0) -> learning rate, for the log."""

    transform: optax.GradientTransformation
    schedule: optax.Schedule


class OptimizerConfig(Protocol):
    def build(self, num_steps: int, trainable: PyTree | None = None) -> Optimizer:
        """trainable: booleans shaped like the parameters; False leaves never change and have no state. None: all."""
        ...


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019), linear warm-up, then decay.

    peak_learning_rate: reached after warmup_steps; final_fraction of it is left at the end of "cosine" and "linear".
    clip_norm: largest norm of all gradients together, None to leave them. no_decay: patterns of leaf names that weight
    decay skips. rates: (pattern, factor) of leaf names that learn at another pace; the first that matches holds, 0
    stands still.
    """

    peak_learning_rate: float = 1e-3
    warmup_steps: int = 0
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    final_fraction: float = 0.0
    weight_decay: float = 0.01
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8
    clip_norm: float | None = 1.0
    no_decay: tuple[str, ...] = (r"(^|/)bias$", r"(^|/)scale$")
    rates: tuple[tuple[str, float], ...] = ()

    def build(self, num_steps: int, trainable: PyTree | None = None) -> Optimizer:
        schedule = warmup_then(
            self.schedule, self.peak_learning_rate, self.warmup_steps, num_steps, self.final_fraction
        )
        parts = [
            optax.scale_by_adam(self.b1, self.b2, self.eps),
            optax.add_decayed_weights(
                self.weight_decay, mask=lambda params: _matching(params, self.no_decay, found=False)
            ),
            _rate_factors(self.rates),
            optax.scale_by_learning_rate(schedule),
        ]
        if self.clip_norm is not None:
            parts.insert(0, optax.clip_by_global_norm(self.clip_norm))
        return Optimizer(_only(optax.chain(*parts), trainable), schedule)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent at a constant rate. Sums in another order change it least: for exactness tests."""

    learning_rate: float = 0.1
    momentum: float | None = None

    def build(self, num_steps: int, trainable: PyTree | None = None) -> Optimizer:
        schedule = optax.constant_schedule(self.learning_rate)
        return Optimizer(_only(optax.sgd(schedule, self.momentum), trainable), schedule)


@dataclass(frozen=True)
class Adagrad:
    """Adagrad (Duchi et al., JMLR 2011) at a constant rate."""

    learning_rate: float = 0.1
    initial_accumulator: float = 0.1

    def build(self, num_steps: int, trainable: PyTree | None = None) -> Optimizer:
        schedule = optax.constant_schedule(self.learning_rate)
        return Optimizer(_only(optax.adagrad(schedule, self.initial_accumulator), trainable), schedule)


def warmup_then(kind: str, peak: float, warmup_steps: int, num_steps: int, final_fraction: float) -> optax.Schedule:
    """Learning rate of step s, from 0: peak (s + 1) / warmup while warming up, then from peak down to its fraction.

    With t the share of the remaining steps that are done: cosine f + (1 - f)(1 + cos(pi t)) / 2, linear 1 - (1 - f) t.
    Raises UserError for an unknown kind or a warm-up that fills the run.
    """
    if kind not in ("cosine", "linear", "constant"):
        raise UserError(f"method.optimizer.schedule is {kind!r}; it must be 'cosine', 'linear' or 'constant'")
    if warmup_steps and warmup_steps >= num_steps:
        raise UserError(
            f"method.optimizer.warmup_steps={warmup_steps} fills the run of {num_steps} steps: "
            "make it smaller or method.train.num_steps larger"
        )

    def rate(step):
        step = jnp.asarray(step, jnp.float32)
        done = jnp.clip((step - warmup_steps) / max(num_steps - warmup_steps, 1), 0, 1)
        if kind == "cosine":
            factor = final_fraction + (1 - final_fraction) * (1 + jnp.cos(jnp.pi * done)) / 2
        elif kind == "linear":
            factor = 1 - (1 - final_fraction) * done
        else:
            factor = jnp.ones_like(done)
        return peak * jnp.where(step < warmup_steps, (step + 1) / max(warmup_steps, 1), factor)

    return rate


def _named(tree: PyTree, values) -> PyTree:
    return jax.tree.structure(tree).unflatten([values(name) for name in leaf_names(tree)])


def _matching(params: PyTree, patterns: tuple[str, ...], *, found: bool) -> PyTree:
    return _named(params, lambda name: any(re.search(pattern, name) for pattern in patterns) == found)


def _rate_factors(rates: tuple[tuple[str, float], ...]) -> optax.GradientTransformation:
    def factor(name: str) -> float:
        return next((value for pattern, value in rates if re.search(pattern, name)), 1.0)

    def update(updates, params):
        return jax.tree.map(lambda u, f: u * f, updates, _named(updates, factor))

    return optax.stateless(update) if rates else optax.identity()


def _only(transform: optax.GradientTransformation, trainable: PyTree | None) -> optax.GradientTransformation:
    """The transformation on the trainable leaves, zero updates on the others."""
    if trainable is None:
        return transform
    labels = jax.tree.map(lambda yes: "trained" if yes else "still", trainable)
    return optax.partition({"trained": transform, "still": optax.set_to_zero()}, labels)
