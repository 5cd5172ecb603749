"""The ranker of the linear item to item models: a full matrix of weights."""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxrec.errors import UserError
from jaxrec.history_matrix import weighted_history
from jaxrec.item_axis import BY_HISTORY
from jaxrec.ranker import Arrays, PyTree, Query, products

FEW = (32, 128, 512)  # items of all askers together, up to which their rows are looked up


def history_products(histories: jax.Array, by_history: jax.Array) -> jax.Array:
    """`products` of histories, float32 [batch, known items], and by_history, float32 [known items, block].

    Where the askers have few items, only the rows of these are read.
    """
    used = jnp.abs(histories).max(axis=0)
    counts = [count for count in FEW if 4 * count <= len(used)]  # of a small catalog, all is read as quickly

    def looked_up(count: int) -> Callable[[], jax.Array]:
        def product() -> jax.Array:
            rows = jax.lax.top_k(used, count)[1]
            return products(histories[:, rows], by_history[rows].T)

        return product

    ways = [*map(looked_up, counts), lambda: products(histories, by_history.T)]
    if not counts:
        return ways[0]()
    return jax.lax.switch(((used > 0).sum() > jnp.asarray(counts)).sum(), ways)


@dataclass(frozen=True)
class LinearRanker:
    """items: {BY_HISTORY: float32 [known items, items]}: row j is what an event with item j adds to every item. tau,
    base: of the recency that the history is weighed by."""

    arrays: Arrays
    history_length: int
    tau: float | None = None
    base: float = 1.0

    def user(self, arrays: Arrays, query: Query) -> PyTree:
        return weighted_history(query.history, arrays.items[BY_HISTORY].shape[0], self.tau, self.base)

    def score(self, shared: PyTree, items: PyTree, user: PyTree) -> jax.Array:
        return history_products(user, items[BY_HISTORY])


def check_size(name: str, rows: int, columns: int, matrices: int, max_gigabytes: float, what: str) -> None:
    """Raises UserError when `matrices` float32 matrices need more than there may be."""
    gigabytes = matrices * 4 * rows * columns / 1e9
    if gigabytes > max_gigabytes:
        raise UserError(
            f"{name} over {rows:,} items needs {gigabytes:,.1f} GB ({what}); max_gigabytes is {max_gigabytes:g}. "
            f"Leave {name} out, or raise max_gigabytes"
        )


def inverse(matrix: jax.Array) -> jax.Array:
    """Of a symmetric positive definite matrix, by Cholesky."""
    factor = jax.scipy.linalg.cho_factor(matrix, lower=True)
    return jax.scipy.linalg.cho_solve(factor, jnp.eye(matrix.shape[0], dtype=matrix.dtype))
