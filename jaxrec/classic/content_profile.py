"""Items near the mean of what the history's texts say: the plainest use of text, and a weak one."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from jaxrec.classic.interaction_matrix import history_length_of
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.history_matrix import history_matrix
from jaxrec.method import HERE, Ranges, Setting
from jaxrec.ranker import CONTENT, Arrays, PyTree, Query

Distance = Literal["cosine", "euclidean", "dot"]


@dataclass(frozen=True)
class ContentProfileRanker:
    """items: {"text": float32 [items, dim], unit, zero where an item has no text}."""

    arrays: Arrays
    history_length: int
    distance: Distance

    reads: ClassVar[str] = CONTENT

    def user(self, arrays: Arrays, query: Query) -> PyTree:
        return self.user_profile(arrays, query)

    def score(self, shared: PyTree, items: PyTree, user: PyTree) -> jax.Array:
        dot = jnp.matmul(user, items["text"].T, precision="highest")
        if self.distance == "euclidean":  # |u|^2 is the same for all items of an asker, yet keeps scores distances
            squares = (user**2).sum(axis=1)[:, None] + (items["text"] ** 2).sum(axis=1)[None, :]
            return -jnp.sqrt(jnp.maximum(squares - 2 * dot, 0.0))
        return dot

    def user_profile(self, arrays: Arrays, query: Query) -> jax.Array:
        """float32 [batch, dim]: the mean of the history's vectors, a unit vector where cosines are meant."""
        held = history_matrix(query.history, arrays.items["text"].shape[0])
        total = jnp.matmul(held, arrays.items["text"], precision="highest")
        mean = total / jnp.maximum(held.sum(axis=1, keepdims=True), 1.0)
        if self.distance == "cosine":
            return mean / jnp.maximum(jnp.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
        return mean

    def item_profile(self, shared: PyTree, items: PyTree) -> jax.Array:
        return items["text"]

    def embed_items(self, shared: PyTree, text: jax.Array, features: jax.Array | None = None) -> PyTree:
        """What `arrays.items` holds, for new items: text float32 [n, dim], unit vectors."""
        return {"text": _unit(text)}


@dataclass(frozen=True)
class ContentProfile:
    """cosine (or minus the Euclidean distance, or the dot product) of an item's text vector with the mean of those of
    the history, each a unit vector (Pazzani and Billsus, The Adaptive Web 2007).

    A mean forgets that tastes are several, and how many have what: `ContentNeighbours` and `ContentRidge` are better.
    Unit item vectors make the order by cosine and by dot product one; only the scores' scale differs.
    """

    distance: Distance = "cosine"
    history_length: int | None = None

    ranges: ClassVar[Ranges] = {"distance": ("cosine", "euclidean")}

    @property
    def name(self) -> str:
        return "Content profile"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> ContentProfileRanker:
        """Raises UserError when there are no text vectors, or for a distance that is none."""
        if not data.has_text:
            raise UserError("Content profile needs item text vectors: set an encoder, and give a catalog with text")
        if self.distance not in ("cosine", "euclidean", "dot"):
            raise UserError(f"ContentProfile: distance {self.distance!r} is none of cosine, euclidean, dot")
        arrays = Arrays({}, {"text": _unit(jnp.asarray(data.text, jnp.float32))})
        return ContentProfileRanker(arrays, history_length_of(self, data.train), self.distance)


def _unit(rows: jax.Array) -> jax.Array:
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
