"""Histories as rows of the user by item matrix: what rankers read that know an asker by items alone."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Held(NamedTuple):
    """What askers have, in both forms. matrix: float32 [batch, known items], weights, 0 for what they have not; rows:
    int32 [batch, length], each item of theirs once and -1 elsewhere."""

    matrix: jax.Array
    rows: jax.Array

    @classmethod
    def of(cls, history: jax.Array, matrix: jax.Array) -> "Held":
        """history: int32 [batch, length], -1 where padded; matrix: a `history_matrix` of it, scaled or not."""
        return cls(matrix, _distinct(history, matrix.shape[1]))


@partial(jax.jit, static_argnames="count")  # traced once, however many parts of a blend ask
def _distinct(history: jax.Array, count: int) -> jax.Array:
    """The rows of `Held`: of the known items, [0, count), each where it stands first."""
    batch, length = history.shape
    asker, place = jnp.arange(batch)[:, None], jnp.arange(length)[None, :]
    known = (history >= 0) & (history < count)
    rows = jnp.where(known, history, count)
    first = jnp.full((batch, count + 1), length, jnp.int32).at[asker, rows].min(place)
    return jnp.where(known & (jnp.take_along_axis(first, rows, axis=1) == place), history, -1)


def longest(rows: jax.Array) -> jax.Array:
    """How many places of histories, int32 [batch, length], there are until all that follows is -1: an int32 scalar."""
    return jnp.where(rows >= 0, jnp.arange(rows.shape[1])[None, :] + 1, 0).max(initial=0)


def history_matrix(history: jax.Array, num_items: int, weights: jax.Array | None = None) -> jax.Array:
    """Histories as rows of the matrix: float32 [batch, num_items].

    history: int32 [batch, length], -1 where padded; rows from num_items on (items added later) are left out.
    weights: float32 [batch, length] or None for ones; of an item that stands twice, the larger weight counts.
    """
    weights = jnp.ones(history.shape, jnp.float32) if weights is None else weights
    batch = jnp.arange(history.shape[0])[:, None]
    rows = jnp.where(history < 0, num_items, history)
    return jnp.zeros((history.shape[0], num_items), jnp.float32).at[batch, rows].max(weights, mode="drop")


def recency(history: jax.Array, tau: float, base: float) -> jax.Array:
    """base + exp(-rank / tau), float32 [batch, length]; rank 0 is the latest event. tau: in events."""
    latest = (history >= 0).sum(axis=1, keepdims=True) - 1
    rank = latest - jnp.arange(history.shape[1])[None, :]
    return base + jnp.exp(-jnp.maximum(rank, 0) / tau)


@partial(jax.jit, static_argnames=("num_items", "tau", "base"))  # traced once, likewise
def weighted_history(history: jax.Array, num_items: int, tau: float | None, base: float) -> jax.Array:
    """`history_matrix` weighed by `recency`, or by ones where tau is None: what a linear ranker is asked with."""
    return history_matrix(history, num_items, None if tau is None else recency(history, tau, base))
