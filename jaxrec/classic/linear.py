"""The ranker of the linear item to item models: a full matrix of weights."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxrec.errors import UserError
from jaxrec.history_matrix import Held, longest, weighted_history
from jaxrec.item_axis import BY_HISTORY
from jaxrec.ranker import Arrays, PyTree, Query, products

FEW = 0.5  # of the known items: rows of all askers together, up to which each is read by itself


@jax.jit  # traced once, however many parts of a blend ask
def history_products(held: Held, by_history: jax.Array) -> jax.Array:
    """float32 [batch, block]: held.matrix times by_history, float32 [known items, block].

    Of few items the rows are added up one after the other, so that no other is read; of many all are multiplied.
    """
    matrix, rows = held
    askers, known = matrix.shape
    length = longest(rows)
    places = jnp.maximum(rows, 0)
    weights = jnp.where(rows >= 0, jnp.take_along_axis(matrix, places, axis=1), 0.0)

    def add(step: jax.Array, total: jax.Array) -> jax.Array:
        return total + weights[:, step, None] * by_history.at[places[:, step]].get(mode="promise_in_bounds")

    def added_up() -> jax.Array:
        return jax.lax.fori_loop(0, length, add, jnp.zeros((askers, by_history.shape[1]), by_history.dtype))

    few = length * jnp.asarray(askers, jnp.int32) <= FEW * known
    return jax.lax.cond(few, added_up, lambda: products(matrix, by_history.T))


@dataclass(frozen=True)
class LinearRanker:
    """items: {BY_HISTORY: float32 [known items, items]}: row j is what an event with item j adds to every item. tau,
    base: of the recency that the history is weighed by."""

    arrays: Arrays
    history_length: int
    tau: float | None = None
    base: float = 1.0

    linear: ClassVar[bool] = True

    def user(self, arrays: Arrays, query: Query) -> Held:
        known = arrays.items[BY_HISTORY].shape[0]
        return Held.of(query.history, weighted_history(query.history, known, self.tau, self.base))

    def score(self, shared: PyTree, items: PyTree, user: Held) -> jax.Array:
        return history_products(user, items[BY_HISTORY])


def check_size(name: str, rows: int, columns: int, matrices: int, max_gigabytes: float, what: str) -> None:
    """Raises UserError when `matrices` float32 matrices need more than there may be."""
    gigabytes = matrices * 4 * rows * columns / 1e9
    if gigabytes > max_gigabytes:
        raise UserError(
            f"{name} over {rows:,} items needs {gigabytes:,.1f} GB ({what}); max_gigabytes is {max_gigabytes:g}. "
            f"Leave {name} out, or raise max_gigabytes"
        )


def without_diagonal(free: jax.Array, solver: jax.Array) -> jax.Array:
    """The least squares B with diag(B) = 0, from those that are free and the inverse of their normal matrix: the
    multiplier of each column is what brings its own weight to 0 (Steck, WWW 2019). All float32 [items, items]."""
    return free - solver * (jnp.diag(free) / jnp.diag(solver))[None, :]


@jax.jit
def diagonal_free(gram: jax.Array, moments: jax.Array, l2: jax.Array) -> jax.Array:
    """The least squares B with diag(B) = 0 of normal matrix gram + l2 I and right side moments; all float32
    [items, items]."""
    solver = inverse(gram + l2 * jnp.eye(gram.shape[0], dtype=gram.dtype))
    free = jnp.matmul(solver, moments, precision="highest")
    return jnp.where(jnp.eye(gram.shape[0], dtype=bool), 0.0, without_diagonal(free, solver))


def inverse(matrix: jax.Array) -> jax.Array:
    """Of a symmetric positive definite matrix, by Cholesky."""
    factor = jax.scipy.linalg.cho_factor(matrix, lower=True)
    return jax.scipy.linalg.cho_solve(factor, jnp.eye(matrix.shape[0], dtype=matrix.dtype))
