"""Items whose text is like the text of the history: for new items too, which nobody has yet."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.classic.interaction_matrix import history_length_of
from jaxrec.classic.neighbours import neighbour_arrays, score_by_neighbours
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.history_matrix import Held, history_matrix
from jaxrec.method import HERE, Between, Ranges, Setting, at_least
from jaxrec.ranker import CONTENT, Arrays, PyTree, Query
from jaxrec.similarity import all_nearest, nearest


@dataclass(frozen=True)
class ContentRanker:
    """shared: {"vectors": float32 [known items, dim], unit, zero where an item has no text}.
    items: `neighbour_arrays`."""

    arrays: Arrays
    history_length: int
    neighbours: int
    power: float

    reads: ClassVar[str] = CONTENT

    def user(self, arrays: Arrays, query: Query) -> Held:
        return Held.of(query.history, history_matrix(query.history, arrays.shared["vectors"].shape[0]))

    def score(self, shared: PyTree, items: PyTree, user: Held) -> jax.Array:
        return score_by_neighbours(items, user)

    def embed_items(self, shared: PyTree, text: jax.Array, features: jax.Array | None = None) -> PyTree:
        """What `arrays.items` holds, for new items: text float32 [n, dim], unit vectors. Neighbours are known items."""
        known, nobody = shared["vectors"], jnp.full(text.shape[0], -1, jnp.int32)
        anyone = jnp.ones(known.shape[0], bool)
        found = nearest(text, nobody, known, anyone, count=self.neighbours, power=self.power)
        return neighbour_arrays(*found, known.shape[0])


@dataclass(frozen=True)
class ContentNeighbours:
    """sum over the items j nearest to i of w_ij h_uj; w_ij = max(0, cosine of the text vectors)^power, divided by the
    sum over i's neighbours, so that an item in a crowd gains nothing by it. An item is no neighbour of its own.

    The high power keeps what is really alike: a plain mean of cosines is dominated by the many that are vaguely so.
    """

    neighbours: int = 300
    power: float = 8.0
    history_length: int | None = None

    ranges: ClassVar[Ranges] = {"neighbours": (50, 100, 300, 1_000), "power": Between(2, 16)}

    @property
    def name(self) -> str:
        return "Content neighbours"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> ContentRanker:
        """Raises UserError when there are no text vectors, and for less than 1 neighbour."""
        at_least(self, neighbours=1)
        if not data.has_text:
            raise UserError("Content neighbours need item text vectors: set an encoder, and give a catalog with text")
        items = data.dataset.num_items
        norms = np.linalg.norm(data.text, axis=1, keepdims=True)
        vectors = (data.text / np.maximum(norms, 1e-9)).astype(np.float32)
        found = all_nearest(vectors, np.ones(items, bool), count=self.neighbours, power=self.power)
        arrays = Arrays({"vectors": jnp.asarray(vectors)}, neighbour_arrays(*map(jnp.asarray, found), items))
        return ContentRanker(arrays, history_length_of(self, data.train), min(self.neighbours, items), self.power)
