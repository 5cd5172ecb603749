"""SLIM: a sparse linear item to item model, whose weights are not negative."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxrec.classic.interaction_matrix import ASKING, RECENCY, all_cooccurrence, history_length_of, inert_recency
from jaxrec.classic.linear import LinearRanker, check_size, inverse, without_diagonal
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.item_axis import BY_HISTORY
from jaxrec.method import HERE, Between, Ranges, Setting
from jaxrec.ranker import Arrays

RELAXED = 1.7  # beyond 1: over-relaxation, which halves the iterations (Boyd et al., 2011, 3.4.3)
MATRICES = 8  # of items x items float32, held at the peak of the fit


@dataclass(frozen=True)
class Slim:
    """min 1/2 |X - X B|^2 + l2/2 |B|^2 + l1 |B|_1 with B >= 0 and diag(B) = 0 (Ning and Karypis, ICDM 2011), by the
    alternating direction method of multipliers over X^T X (Steck et al., WSDM 2020). Scores are X B.

    iterations: of ADMM; rho: its penalty, which changes how fast it converges, not where to. tau, base: the events of a
    history weigh base + exp(-rank / tau) when asked; see `history_matrix.recency`. max_gigabytes: a catalog that
    needs more is refused. history_length: None for room for all.
    """

    l1: float = 1.0
    l2: float = 100.0
    non_negative: bool = True
    iterations: int = 8
    rho: float = 300.0
    tau: float | None = None
    base: float = 0.1
    max_gigabytes: float = 8.0
    history_length: int | None = None

    reads_text: ClassVar[bool] = False
    asking: ClassVar[tuple[str, ...]] = ASKING
    ranges: ClassVar[Ranges] = {
        "l1": Between(0.1, 30, log=True),
        "l2": Between(10, 3_000, log=True),
        "non_negative": (True, False),
        **RECENCY,
    }
    inert = property(inert_recency)

    @property
    def name(self) -> str:
        return "SLIM" if self.tau is None else "SLIM-recency"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> LinearRanker:
        """Raises UserError when the catalog is too large for an item by item matrix, or an option is out of range."""
        items = data.dataset.num_items
        check_size("SLIM", items, items, MATRICES, self.max_gigabytes, "items x items")
        if self.l1 < 0 or self.l2 < 0 or self.rho <= 0 or self.iterations < 1:
            raise UserError("Slim needs l1 and l2 of at least 0, rho above 0 and at least 1 iteration")
        both = all_cooccurrence(data)
        weights = _admm(both, self.l1, self.l2, self.rho, self.iterations, non_negative=self.non_negative)
        length = history_length_of(self, data.train)
        return LinearRanker(Arrays({}, {BY_HISTORY: weights}), length, self.tau, self.base)


@partial(jax.jit, static_argnames="non_negative")
def _admm(
    both: jax.Array, l1: jax.Array, l2: jax.Array, rho: jax.Array, iterations: jax.Array, *, non_negative: bool
) -> jax.Array:
    """B. One half solves the least squares with diag(B) = 0, the other shrinks; `dual` makes them agree."""
    items = both.shape[0]
    solver = inverse(both + (l2 + rho) * jnp.eye(items, dtype=both.dtype))
    free = jnp.matmul(solver, both, precision="highest")

    def step(_: jax.Array, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        sparse, dual = state
        full = free + jnp.matmul(solver, rho * (sparse - dual), precision="highest")
        wanted = RELAXED * without_diagonal(full, solver) + (1.0 - RELAXED) * sparse + dual
        shrunk = jnp.maximum(wanted - l1 / rho, 0.0)
        if not non_negative:
            shrunk = shrunk - jnp.maximum(-wanted - l1 / rho, 0.0)
        return shrunk, wanted - shrunk

    sparse, _ = jax.lax.fori_loop(0, iterations, step, (jnp.zeros_like(both), jnp.zeros_like(both)))
    return jnp.where(jnp.eye(items, dtype=bool), 0.0, sparse)
