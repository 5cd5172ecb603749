"""EASE: a linear item to item model in closed form."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxrec.classic.interaction_matrix import (
    cooccurrence,
    distinct_pairs,
    history_matrix,
    recency,
    roomy_history_length,
)
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.method import HERE, Between, Ranges, Setting
from jaxrec.ranker import Arrays, PyTree, Query

MATRICES = 4  # of items x items float32, held at the peak of the fit


@dataclass(frozen=True)
class EaseRanker:
    """items: {"weights": float32 [items, known items]}: row i weighs what the user has, for item i."""

    arrays: Arrays
    history_length: int
    tau: float | None = None
    base: float = 1.0

    def user(self, arrays: Arrays, query: Query) -> PyTree:
        known = arrays.items["weights"].shape[1]
        weights = None if self.tau is None else recency(query.history, self.tau, self.base)
        return history_matrix(query.history, known, weights)

    def score(self, shared: PyTree, items: PyTree, user: PyTree) -> jax.Array:
        return jnp.matmul(user, items["weights"].T, precision="highest")


@dataclass(frozen=True)
class Ease:
    """min |X - X B|^2 + l2 |B|^2 with diag(B) = 0, solved: P = (X^T X + l2 I)^-1, B_ij = -P_ij / P_jj, B_jj = 0 (Steck,
    WWW 2019). Scores are X B.

    tau, in events: the history weighs base + exp(-rank / tau) when asked, rank 0 the latest ("EASE-recency"); None
    weighs all alike. max_gigabytes: a catalog that needs more is refused. history_length: None for room for all.
    """

    l2: float = 200.0
    tau: float | None = None
    base: float = 0.1
    max_gigabytes: float = 8.0
    history_length: int | None = None

    reads_text: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = {
        "l2": Between(20, 5_000, log=True),
        "tau": (None, 4.0, 6.0, 8.0, 12.0, 20.0),
        "base": (0.05, 0.1, 0.2),
    }

    @property
    def name(self) -> str:
        return "EASE" if self.tau is None else "EASE-recency"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> EaseRanker:
        """Raises UserError when the catalog is too large for an item by item matrix."""
        items = data.dataset.num_items
        gigabytes = MATRICES * 4 * items**2 / 1e9
        if gigabytes > self.max_gigabytes:
            raise UserError(
                f"EASE over {items:,} items needs {gigabytes:,.1f} GB (items x items); max_gigabytes is "
                f"{self.max_gigabytes:g}. Leave Ease out of the baselines, or raise max_gigabytes"
            )
        if self.l2 <= 0:
            raise UserError(f"Ease needs l2 above 0, not {self.l2:g}: without it the matrix cannot be inverted")
        both = cooccurrence(distinct_pairs(data.train, items), data.dataset.num_users, items)
        arrays = Arrays({}, {"weights": _solve(both, self.l2)})
        length = self.history_length or roomy_history_length(data.train)
        return EaseRanker(arrays, length, self.tau, self.base)


@jax.jit
def _solve(both: jax.Array, l2: jax.Array) -> jax.Array:
    """B transposed: both is X^T X, symmetric, so that row i of -P / diag(P) weighs for item i."""
    items = both.shape[0]
    eye = jnp.eye(items, dtype=both.dtype)
    inverse = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(both + l2 * eye, lower=True), eye)
    return jnp.where(eye > 0, 0.0, -inverse / jnp.diag(inverse)[:, None])
