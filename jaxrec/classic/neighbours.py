"""Items like those in the history: each item keeps its nearest neighbours, and scores by those the user has."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.classic.interaction_matrix import (
    ASKING,
    RECENCY,
    cooccurrence,
    history_length_of,
    inert_recency,
    rarity,
)
from jaxrec.classic.linear import history_products
from jaxrec.data.interactions import distinct_pairs
from jaxrec.data.training import TrainingData
from jaxrec.history_matrix import Held, weighted_history
from jaxrec.item_axis import BY_HISTORY
from jaxrec.method import HERE, Between, Ranges, Setting, at_least
from jaxrec.ranker import Arrays, PyTree, Query

MAX_CELLS = 2**26  # of an item by item block: 256 MB
SMALL_CATALOG = 4_096  # items; up to here lists are spelt out as a matrix (64 MB)
FEW = 8  # askers, up to which looking up is quicker than a matrix


def neighbour_arrays(neighbours: jax.Array, weights: jax.Array, known: int) -> PyTree:
    """What `Arrays.items` holds of the neighbours of n items among `known` ones: {"neighbours", "weights"}, or of a
    small catalog a matrix, which is quicker to ask: {BY_HISTORY: float32 [known, n]}.

    neighbours: int32 [n, k], distinct in a row; weights: float32 [n, k].
    """
    if known > SMALL_CATALOG:
        return {"neighbours": neighbours, "weights": weights}
    return {BY_HISTORY: _spelt_out(neighbours, weights, known)}


def _spelt_out(neighbours: jax.Array, weights: jax.Array, known: int) -> jax.Array:
    """float32 [known, n], zero where an item is no neighbour."""
    n = neighbours.shape[0]
    return jnp.zeros((known, n), jnp.float32).at[neighbours, jnp.arange(n)[:, None]].set(weights)


def score_by_neighbours(lists: PyTree, held: Held) -> jax.Array:
    """sum over the neighbours j of item i of weight_ij x held_uj, float32 [batch, block].

    lists: `neighbour_arrays` of a block of items.
    For many askers a small block is made dense and multiplied, for few its neighbours are looked up; a large block
    gathers one neighbour at a time. The sums are the same.
    """
    if BY_HISTORY in lists:
        return history_products(held, lists[BY_HISTORY])
    neighbours, weights, matrix = lists["neighbours"], lists["weights"], held.matrix
    block, count = neighbours.shape
    items = matrix.shape[1]
    if block * items <= MAX_CELLS:

        def multiplied() -> jax.Array:
            return jnp.matmul(matrix, _spelt_out(neighbours, weights, items), precision="highest")

        def looked_up() -> jax.Array:  # one asker at a time: several at once are no quicker, but gathered slowly
            return jax.lax.map(lambda own: (weights * own[neighbours]).sum(axis=-1), matrix)

        return jax.lax.cond(jnp.asarray(matrix.shape[0]) <= FEW, looked_up, multiplied)

    def add(n: jax.Array, total: jax.Array) -> jax.Array:
        return total + weights[None, :, n] * matrix[:, neighbours[:, n]]

    return jax.lax.fori_loop(0, count, add, jnp.zeros((matrix.shape[0], block), jnp.float32))


@dataclass(frozen=True)
class NeighbourRanker:
    """items: `neighbour_arrays`; num_items: items known when fitted."""

    arrays: Arrays
    history_length: int
    num_items: int
    tau: float | None = None
    base: float = 1.0

    def user(self, arrays: Arrays, query: Query) -> Held:
        return Held.of(query.history, weighted_history(query.history, self.num_items, self.tau, self.base))

    def score(self, shared: PyTree, items: PyTree, user: Held) -> jax.Array:
        return score_by_neighbours(items, user)


@dataclass(frozen=True)
class ItemNeighbours:
    """r_ui = sum over the k items j most like i of sim(i, j) r_uj (Deshpande and Karypis, TOIS 2004).

    With n_i users of i and n_ij of both: cosine n_ij / (sqrt(n_i n_j) + shrink), jaccard n_ij / (n_i + n_j - n_ij +
    shrink). `shrink`, in users, tempers what rests on few.

    With n_u items of u and g_u = ln(items / (1 + n_u)), small for users who have much, and m_ij = sum of g_u^2 over the
    users of both: tfidf m_ij / (sqrt(m_ii m_jj) + shrink); bm25 b_i b_j m_ij, where b_i = (k1 + 1) / (k1 (1 - b + b n_i
    / mean n) + 1) (as the library implicit weighs; Robertson and Zaragoza, 2009); k1 and b matter nowhere else.

    tau, base: the events of a history weigh base + exp(-rank / tau) when asked; see `history_matrix.recency`.
    history_length: None for room for all.
    """

    k: int = 100
    similarity: Literal["cosine", "jaccard", "tfidf", "bm25"] = "cosine"
    shrink: float = 0.0
    k1: float = 100.0
    b: float = 0.8
    tau: float | None = None
    base: float = 0.1
    history_length: int | None = None

    reads_text: ClassVar[bool] = False
    asking: ClassVar[tuple[str, ...]] = ASKING
    ranges: ClassVar[Ranges] = {
        "k": Between(20, 500, log=True, whole=True),
        "similarity": ("cosine", "jaccard", "tfidf", "bm25"),
        "shrink": (0.0, 5.0, 20.0, 100.0),
        "k1": (1.0, 10.0, 100.0),
        "b": Between(0.2, 1.0),
        **RECENCY,
    }

    @property
    def inert(self) -> frozenset[str]:
        return inert_recency(self) | frozenset(() if self.similarity == "bm25" else ("k1", "b"))

    @property
    def name(self) -> str:
        return "Item neighbours" if self.tau is None else "Item neighbours, recency"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> NeighbourRanker:
        """Raises UserError for a k below 1."""
        at_least(self, k=1)
        items, users = data.dataset.num_items, data.dataset.num_users
        pairs = distinct_pairs(data.train, items)
        rare = self.similarity in ("tfidf", "bm25")
        weights = rarity(np.bincount(pairs[0], minlength=users), items) if rare else None
        having = np.bincount(pairs[1], weights if weights is None else weights[pairs[0]], minlength=items)
        factors = _bm25(pairs[1], items, self.k1, self.b) if self.similarity == "bm25" else np.ones(items)
        similar = partial(
            _similar,
            jnp.asarray(having, jnp.float32),
            jnp.asarray(factors, jnp.float32),
            float(self.shrink),
            kind=self.similarity,
        )
        nearest = nearest_items(pairs, users, items, similar, k=self.k, user_weights=weights)
        length = history_length_of(self, data.train)
        return NeighbourRanker(Arrays({}, neighbour_arrays(*nearest, items)), length, items, self.tau, self.base)


def nearest_items(
    pairs: tuple[np.ndarray, np.ndarray],
    num_users: int,
    num_items: int,
    similar: Callable[[jax.Array, jax.Array], jax.Array],
    *,
    k: int,
    user_weights: np.ndarray | None = None,
) -> tuple[jax.Array, jax.Array]:
    """The k items most like each, itself left out: neighbours int32 [items, k], weights float32 [items, k].

    similar(both, rows): from the cooccurrence float32 [block, items] of the items `rows` int32 [block] to how like they
    are, of the same shape; a block at a time, so that no item by item matrix is held.
    """
    size = max(1, min(num_items, MAX_CELLS // num_items))
    lists = []
    for first in range(0, num_items, size):
        start = min(first, num_items - size)  # the last block reaches back: one shape, one program
        both = cooccurrence(pairs, num_users, num_items, start, size, user_weights)
        rows = start + jnp.arange(size)
        found = _largest(similar(both, rows), rows, k=min(k, num_items))
        lists.append([part[first - start :] for part in found])
    neighbours, weights = map(jnp.concatenate, zip(*lists, strict=True))
    return neighbours, weights


@partial(jax.jit, static_argnames="k")
def _largest(similar: jax.Array, rows: jax.Array, *, k: int) -> tuple[jax.Array, jax.Array]:
    others = similar.at[jnp.arange(len(rows)), rows].set(0.0)
    weights, neighbours = jax.lax.top_k(others, k)
    return neighbours.astype(jnp.int32), weights


@partial(jax.jit, static_argnames="kind")
def _similar(
    having: jax.Array, factors: jax.Array, shrink: jax.Array, both: jax.Array, rows: jax.Array, *, kind: str
) -> jax.Array:
    if kind == "bm25":
        return factors[rows][:, None] * factors[None, :] * both
    ours, theirs = having[rows][:, None], having[None, :]
    below = ours + theirs - both if kind == "jaccard" else jnp.sqrt(ours * theirs)
    return jnp.where(both > 0, both / jnp.maximum(below + shrink, 1e-9), 0.0)


def _bm25(item_rows: np.ndarray, items: int, k1: float, b: float) -> np.ndarray:
    """What each item's ones weigh, float64 [items]: less the more users it has."""
    having = np.bincount(item_rows, minlength=items)
    return (k1 + 1) / (k1 * (1 - b + b * having / max(having.mean(), 1e-9)) + 1)
