"""Items like those in the history: each item keeps its nearest neighbours, and scores by those the user has."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.classic.interaction_matrix import cooccurrence, distinct_pairs, history_matrix, roomy_history_length
from jaxrec.data.training import TrainingData
from jaxrec.method import HERE, Between, Ranges, Setting
from jaxrec.ranker import Arrays, PyTree, Query

MAX_CELLS = 2**26  # of an item by item block: 256 MB


def score_by_neighbours(neighbours: jax.Array, weights: jax.Array, held: jax.Array) -> jax.Array:
    """sum over the neighbours j of item i of weight_ij x held_uj, float32 [batch, block].

    neighbours: int32 [block, n], distinct in a row; weights: float32 [block, n]; held: float32 [batch, items].
    A small block is made dense and multiplied, a large one gathers one neighbour at a time: the sums are the same.
    """
    block, count = neighbours.shape
    items = held.shape[1]
    if block * items <= MAX_CELLS:
        dense = jnp.zeros((block, items), jnp.float32).at[jnp.arange(block)[:, None], neighbours].set(weights)
        return jnp.matmul(held, dense.T, precision="highest")

    def add(n: jax.Array, total: jax.Array) -> jax.Array:
        return total + weights[None, :, n] * held[:, neighbours[:, n]]

    return jax.lax.fori_loop(0, count, add, jnp.zeros((held.shape[0], block), jnp.float32))


@dataclass(frozen=True)
class NeighbourRanker:
    """items: {"neighbours": int32 [items, n], "weights": float32 [items, n]}; num_items: items known when fitted."""

    arrays: Arrays
    history_length: int
    num_items: int

    def user(self, arrays: Arrays, query: Query) -> PyTree:
        return history_matrix(query.history, self.num_items)

    def score(self, shared: PyTree, items: PyTree, user: PyTree) -> jax.Array:
        return score_by_neighbours(items["neighbours"], items["weights"], user)


@dataclass(frozen=True)
class ItemNeighbours:
    """r_ui = sum over the k items j most like i of sim(i, j) r_uj (Deshpande and Karypis, TOIS 2004).

    With n_i users of i and n_ij of both: cosine n_ij / (sqrt(n_i n_j) + shrink), jaccard n_ij / (n_i + n_j - n_ij +
    shrink). `shrink`, in users, tempers what rests on few. history_length: None for room for all.
    """

    k: int = 100
    similarity: Literal["cosine", "jaccard"] = "cosine"
    shrink: float = 0.0
    history_length: int | None = None

    reads_text: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = {
        "k": Between(20, 500, log=True, whole=True),
        "similarity": ("cosine", "jaccard"),
        "shrink": (0.0, 5.0, 20.0, 100.0),
    }

    @property
    def name(self) -> str:
        return "Item neighbours"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> NeighbourRanker:
        items = data.dataset.num_items
        pairs = distinct_pairs(data.train, items)
        having = jnp.asarray(np.bincount(pairs[1], minlength=items), jnp.float32)
        size = max(1, min(items, MAX_CELLS // items))
        lists = []
        for first in range(0, items, size):
            start = min(first, items - size)  # the last block reaches back: one shape, one program
            both = cooccurrence(pairs, data.dataset.num_users, items, start, size)
            found = _nearest(
                both, having, start, k=min(self.k, items), similarity=self.similarity, shrink=float(self.shrink)
            )
            lists.append(jax.tree.map(lambda leaf, skip=first - start: leaf[skip:], found))
        arrays = Arrays({}, jax.tree.map(lambda *parts: jnp.concatenate(parts), *lists))
        return NeighbourRanker(arrays, self.history_length or roomy_history_length(data.train), items)


@partial(jax.jit, static_argnames=("k", "similarity"))
def _nearest(both: jax.Array, having: jax.Array, start: jax.Array, *, k: int, similarity: str, shrink: float) -> PyTree:
    rows = start + jnp.arange(both.shape[0])
    ours, theirs = having[rows][:, None], having[None, :]
    below = jnp.sqrt(ours * theirs) if similarity == "cosine" else ours + theirs - both
    similar = jnp.where(both > 0, both / jnp.maximum(below + shrink, 1e-9), 0.0)
    similar = similar.at[jnp.arange(len(rows)), rows].set(0.0)
    weights, neighbours = jax.lax.top_k(similar, k)
    return {"neighbours": neighbours.astype(jnp.int32), "weights": weights}
