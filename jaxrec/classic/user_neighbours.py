"""What users like the asker have: the mirror image of item neighbours."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.classic.interaction_matrix import ASKING, RECENCY, history_length_of, inert_recency, rarity
from jaxrec.classic.linear import check_size
from jaxrec.data.interactions import distinct_pairs
from jaxrec.data.training import TrainingData
from jaxrec.history_matrix import weighted_history
from jaxrec.item_axis import BY_USER
from jaxrec.method import HERE, Between, Ranges, Setting, at_least
from jaxrec.ranker import Arrays, PyTree, Query, products

FEW = 1 / 24  # of the users: neighbours, up to which the row of each is read by itself


class Neighbours(NamedTuple):
    """The k users most like each asker: similar, float32 [batch, k]; rows, int32 [batch, k]."""

    similar: jax.Array
    rows: jax.Array


@dataclass(frozen=True)
class UserNeighbourRanker:
    """shared: {"item_weights": float32 [known items], "user_factors": float32 [users], "power": float32 [], "shrink":
    float32 []}. items: {BY_USER: float32 [users, items], 1 where the user has the item}: bytes would have to be widened
    for the product that finds who is near, which takes as long as it does."""

    arrays: Arrays
    history_length: int
    k: int
    tau: float | None = None
    base: float = 1.0

    def user(self, arrays: Arrays, query: Query) -> Neighbours:
        shared, having = arrays.shared, arrays.items[BY_USER]
        weights = shared["item_weights"]
        held = weighted_history(query.history, weights.shape[0], self.tau, self.base) * weights[None, :]
        both = products(held, having[:, : weights.shape[0]])
        own = jnp.maximum(held.sum(axis=1, keepdims=True), 1e-9) ** shared["power"]
        return Neighbours(*jax.lax.top_k(both / (own * shared["user_factors"][None, :] + shared["shrink"]), self.k))

    def score(self, shared: PyTree, items: PyTree, user: Neighbours) -> jax.Array:
        having, (similar, rows) = items[BY_USER], user
        batch, users = similar.shape[0], having.shape[0]
        if self.k > FEW * users:
            matrix = jnp.zeros((batch, users), jnp.float32).at[jnp.arange(batch)[:, None], rows].set(similar)
            return jnp.matmul(matrix, having, precision="highest")

        def add(place: jax.Array, total: jax.Array) -> jax.Array:
            row = having.at[rows[:, place]].get(mode="promise_in_bounds")
            return total + similar[:, place, None] * row

        return jax.lax.fori_loop(0, self.k, add, jnp.zeros((batch, having.shape[1]), jnp.float32), unroll=8)


@dataclass(frozen=True)
class UserNeighbours:
    """r_ui = sum over the k users v most like u of sim(u, v) r_vi (Herlocker et al., SIGIR 1999), found from the
    history when asked, so that nobody is unknown; a user who was trained on is a neighbour of the own, without effect
    on items that the user lacks.

    With m_uv = sum over the items of both of g_i^2, g_i = 1 for cosine and ln(users / (1 + n_i)) for tfidf and bm25
    with n_i users of i: cosine and tfidf m_uv / (sqrt(m_uu m_vv) + shrink); bm25 m_uv b_v, where b_v = (k1 + 1) / (k1
    (1 - b + b n_v / mean n) + 1) for n_v items of v (that of u changes no order).

    tau, base: the events of a history weigh base + exp(-rank / tau) when asked; see `history_matrix.recency`.
    max_gigabytes: what needs more is refused. history_length: None for room for all.
    """

    k: int = 100
    similarity: Literal["cosine", "tfidf", "bm25"] = "cosine"
    shrink: float = 0.0
    k1: float = 100.0
    b: float = 0.8
    tau: float | None = None
    base: float = 0.1
    max_gigabytes: float = 8.0
    history_length: int | None = None

    reads_text: ClassVar[bool] = False
    asking: ClassVar[tuple[str, ...]] = ASKING
    ranges: ClassVar[Ranges] = {
        "k": Between(20, 500, log=True, whole=True),
        "similarity": ("cosine", "tfidf", "bm25"),
        "shrink": (0.0, 5.0, 20.0, 100.0),
        "k1": (1.0, 10.0, 100.0),
        "b": Between(0.2, 1.0),
        **RECENCY,
    }

    @property
    def inert(self) -> frozenset[str]:
        return inert_recency(self) | frozenset(("shrink",) if self.similarity == "bm25" else ("k1", "b"))

    @property
    def name(self) -> str:
        return "User neighbours" if self.tau is None else "User neighbours, recency"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> UserNeighbourRanker:
        """Raises UserError when the matrix of items and users is too large, and for a k below 1."""
        at_least(self, k=1)
        users, items = data.dataset.num_users, data.dataset.num_items
        check_size("UserNeighbours", items, users, 1, self.max_gigabytes, f"items x {users:,} users")
        user_rows, item_rows = distinct_pairs(data.train, items)
        counts = np.bincount(item_rows, minlength=items)
        weights = np.ones(items) if self.similarity == "cosine" else rarity(counts, users)
        if self.similarity == "bm25":
            lengths = np.bincount(user_rows, minlength=users)
            factors = (self.k1 * (1 - self.b + self.b * lengths / max(lengths.mean(), 1e-9)) + 1) / (self.k1 + 1)
        else:
            factors = np.sqrt(np.maximum(np.bincount(user_rows, weights[item_rows], minlength=users), 1e-9))
        matrix = np.zeros((users, items), np.float32)
        matrix[user_rows, item_rows] = 1
        plain = self.similarity == "bm25"
        shared = {"item_weights": weights, "user_factors": factors}
        shared |= {"power": 0.0 if plain else 0.5, "shrink": 0.0 if plain else self.shrink}
        arrays = Arrays({name: jnp.asarray(x, jnp.float32) for name, x in shared.items()}, {BY_USER: matrix})
        arrays = arrays._replace(items=jax.tree.map(jnp.asarray, arrays.items))
        length = history_length_of(self, data.train)
        return UserNeighbourRanker(arrays, length, min(self.k, users), self.tau, self.base)
