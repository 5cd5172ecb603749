"""Items whose text and entities are like those of the history: who made them and who plays tells what words do not."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from jaxrec.classic.content import ContentRanker
from jaxrec.classic.interaction_matrix import history_length_of
from jaxrec.classic.neighbours import neighbour_arrays
from jaxrec.data.knowledge import entity_vectors
from jaxrec.data.text_vectors import unit_text_vectors
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.method import HERE, Between, Ranges, Setting
from jaxrec.ranker import Arrays
from jaxrec.similarity import all_nearest


@dataclass(frozen=True)
class KnowledgeNeighbours:
    """`ContentNeighbours` over text vectors with `weight` times the entity vectors beside them.

    dim: of the entity vectors. Where either is missing the other alone speaks. Items added later, of which the text
    alone is known, find their neighbours by text.
    """

    weight: float = 1.0
    dim: int = 256
    neighbours: int = 300
    power: float = 2.0
    history_length: int | None = None

    ranges: ClassVar[Ranges] = {
        "weight": Between(0.3, 3.0, log=True),
        "dim": (64, 128, 256, 512),
        "neighbours": (50, 100, 300, 1_000),
        "power": Between(1, 12, log=True),
    }

    @property
    def name(self) -> str:
        return "Knowledge neighbours"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> ContentRanker:
        """Raises UserError when the data has no knowledge graph."""
        if data.dataset.knowledge is None:
            raise UserError(
                "Knowledge neighbours need a knowledge graph and the data has none; load it with "
                'MovieLens("100k", knowledge=True) or Atomic(path, knowledge=True)'
            )
        items = data.dataset.num_items
        text = unit_text_vectors(data.text) if data.has_text else np.zeros((items, 0), np.float32)
        entities = entity_vectors(data.dataset.knowledge, items, self.dim)
        vectors = unit_text_vectors(np.concatenate([text, self.weight * entities], axis=1))
        found = all_nearest(vectors, np.ones(items, bool), count=self.neighbours, power=self.power)
        arrays = Arrays({"vectors": jnp.asarray(text)}, neighbour_arrays(*map(jnp.asarray, found), items))
        length = history_length_of(self, data.train)
        return ContentRanker(arrays, length, min(self.neighbours, items), self.power)
