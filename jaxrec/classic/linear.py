"""The ranker of the linear item to item models: a full matrix of weights."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxrec.errors import UserError
from jaxrec.history_matrix import weighted_history
from jaxrec.ranker import Arrays, PyTree, Query, products

FEW = 64  # items of all askers together, up to which their columns are looked up


def history_products(histories: jax.Array, weights: jax.Array) -> jax.Array:
    """`products` of histories, float32 [batch, known items], and weights, float32 [block, known items].

    Where the askers have few items, only the columns of these are read.
    """
    count = min(FEW, histories.shape[1])
    used = jnp.abs(histories).max(axis=0)

    def looked_up() -> jax.Array:
        columns = jax.lax.top_k(used, count)[1]
        return products(histories[:, columns], weights[:, columns])

    return jax.lax.cond((used > 0).sum() <= count, looked_up, lambda: products(histories, weights))


@dataclass(frozen=True)
class LinearRanker:
    """items: {"weights": float32 [items, known items]}: row i weighs what the user has, for item i. tau, base: of the
    recency that the history is weighed by."""

    arrays: Arrays
    history_length: int
    tau: float | None = None
    base: float = 1.0

    def user(self, arrays: Arrays, query: Query) -> PyTree:
        return weighted_history(query.history, arrays.items["weights"].shape[1], self.tau, self.base)

    def score(self, shared: PyTree, items: PyTree, user: PyTree) -> jax.Array:
        return history_products(user, items["weights"])


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
