"""What most people have, ever or lately: the same list for everyone, without what they have already."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.classic.interaction_matrix import item_counts
from jaxrec.data.interactions import SECONDS_PER_DAY
from jaxrec.data.training import TrainingData
from jaxrec.method import HERE, Ranges, Setting
from jaxrec.ranker import POPULARITY, Arrays, PyTree, Query


@dataclass(frozen=True)
class PopularityRanker:
    """One score per item. items: {"score": float32 [items]}."""

    arrays: Arrays
    history_length: int = 1

    reads: ClassVar[str] = POPULARITY

    def user(self, arrays: Arrays, query: Query) -> PyTree:
        return jnp.zeros(query.history.shape[0], jnp.float32)

    def score(self, shared: PyTree, items: PyTree, user: PyTree) -> jax.Array:
        return jnp.broadcast_to(items["score"][None, :], (user.shape[0], items["score"].shape[0]))


def _ranker(score: np.ndarray) -> PopularityRanker:
    return PopularityRanker(Arrays({}, {"score": jnp.asarray(score, jnp.float32)}))


@dataclass(frozen=True)
class Popular:
    """The number of users who have the item."""

    reads_text: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = {}

    @property
    def name(self) -> str:
        return "Popular"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> PopularityRanker:
        return _ranker(item_counts(data.train, data.dataset.num_items))


@dataclass(frozen=True)
class RecentPopular:
    """The number of users who took the item in the last `days` of the data.

    Items with equal numbers, above all those with none, stand in the order of their popularity ever. A log without
    times is all recent.
    """

    days: float = 14.0

    reads_text: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = {"days": (1.0, 2.0, 4.0, 7.0, 14.0, 30.0, 60.0, 120.0)}

    @property
    def name(self) -> str:
        return f"Popular, last {self.days:g} days"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> PopularityRanker:
        train, items = data.train, data.dataset.num_items
        ever = item_counts(train, items)
        end = train.timestamps.max(initial=0)
        recent = item_counts(train.take(train.timestamps > end - self.days * SECONDS_PER_DAY), items)
        # the place in the order, exact where a count with a small fraction added would round in float32
        order = np.lexsort((ever, recent))
        steps = np.any(np.diff(np.stack([recent, ever])[:, order], axis=1), axis=0)
        place = np.empty(items, np.int64)
        place[order] = np.concatenate([[0], np.cumsum(steps)])[:items]
        return _ranker(place)
