"""Walks of three steps over the graph of users and items, which damp what is popular."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.classic.interaction_matrix import ASKING, RECENCY, history_length_of, inert_recency
from jaxrec.classic.neighbours import NeighbourRanker, nearest_items, neighbour_arrays
from jaxrec.data.interactions import distinct_pairs
from jaxrec.data.training import TrainingData
from jaxrec.method import HERE, Between, Ranges, Setting, at_least
from jaxrec.ranker import Arrays


@dataclass(frozen=True)
class RandomWalk:
    """RP3beta (Paudel et al., TiiS 2017): from the items j that a user has, to the users v of each, to their items i.

    w_ji = sum over the users v of both of (1 / n_j)^alpha (1 / n_v)^alpha / n_i^beta, n the number of events; each item
    i keeps the k items j that lead to it most. beta = 0 is P3alpha (Cooper et al., WWW 2014).

    normalize: divide the k weights of an item by their sum. tau, base: the events of a history weigh base +
    exp(-rank / tau) when asked; see `history_matrix.recency`. history_length: None for room for all.
    """

    k: int = 200
    alpha: float = 1.0
    beta: float = 0.5
    normalize: bool = False
    tau: float | None = None
    base: float = 0.1
    history_length: int | None = None

    reads_text: ClassVar[bool] = False
    asking: ClassVar[tuple[str, ...]] = ASKING
    ranges: ClassVar[Ranges] = {
        "k": Between(20, 1_000, log=True, whole=True),
        "alpha": Between(0.2, 2),
        "beta": Between(0, 1),
        "normalize": (False, True),
        **RECENCY,
    }
    inert = property(inert_recency)

    @property
    def name(self) -> str:
        return "RP3beta" if self.tau is None else "RP3beta-recency"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> NeighbourRanker:
        """Raises UserError for a k below 1."""
        at_least(self, k=1)
        users, items = data.dataset.num_users, data.dataset.num_items
        pairs = distinct_pairs(data.train, items)
        lengths, having = (np.bincount(p, minlength=n) for p, n in zip(pairs, (users, items), strict=True))
        having = np.maximum(having, 1.0)
        leave, reach = (jnp.asarray(having**-power, jnp.float32) for power in (self.alpha, self.beta))
        weights = np.maximum(lengths, 1.0) ** -self.alpha
        walks = partial(_walks, leave, reach)
        rows, kept = nearest_items(pairs, users, items, walks, k=self.k, user_weights=weights)
        if self.normalize:
            kept = kept / jnp.maximum(kept.sum(axis=1, keepdims=True), 1e-20)
        length = history_length_of(self, data.train)
        return NeighbourRanker(Arrays({}, neighbour_arrays(rows, kept, items)), length, items, self.tau, self.base)


@jax.jit
def _walks(leave: jax.Array, reach: jax.Array, both: jax.Array, rows: jax.Array) -> jax.Array:
    return both * reach[rows][:, None] * leave[None, :]
