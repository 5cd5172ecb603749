"""The hybrid as a method: fit the parts, learn the weights on an inner cut, fit the parts on everything."""

from dataclasses import dataclass, replace
from typing import ClassVar

import jax.numpy as jnp
import numpy as np

from jaxrec.data.holdout import Holdout, HoldoutRule
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.hybrid.folds import inner_folds
from jaxrec.hybrid.learning import Learned, learn
from jaxrec.hybrid.lessons import Lessons, lessons_of
from jaxrec.hybrid.ranker import HybridRanker, Weights, join
from jaxrec.hybrid.signals import CONTEXT, NAMES, item_signals
from jaxrec.method import HERE, Method, Ranges, Setting, reads_text, settled

ENOUGH_USERS = 1_000
PROBE = 2_048


@dataclass(frozen=True)
class Hybrid:
    """Many rankers as one: score = sum of weights x standardised scores of the parts + weights x signals of the item.

    The weights depend on the asker (how long the history, how long ago) and on whether anybody has the item yet. They
    are learned by smooth NDCG@10 on inner folds: the training data is cut again by the rule of the holdout (or by
    `inner`), the parts are fitted on what comes before each cut, and the weights bring what came after it to the top.
    Then the parts are fitted once more on all of the training data.

    folds: inner cuts at most; no more are made than give 1,000 users to learn from. users: drawn from each fold at
    most. candidates: items per user that are told apart.
    """

    parts: tuple[Method, ...] = ()
    inner: HoldoutRule | None = None
    folds: int = 5
    users: int = 1_000
    candidates: int = 400

    ranges: ClassVar[Ranges] = {}

    @property
    def name(self) -> str:
        return "Hybrid"

    @property
    def reads_text(self) -> bool:
        return any(reads_text(part) for part in self.parts)

    def settled(self, data: TrainingData, setting: Setting = HERE) -> "Hybrid":
        """The same with what validation decides of its parts fixed."""
        parts = (settled(part, data, setting.within(f"part-{number}")) for number, part in enumerate(self.parts))
        return replace(self, parts=tuple(parts))

    def fit(self, data: TrainingData, setting: Setting = HERE) -> HybridRanker:
        """Raises UserError where there are no parts; and what the parts raise."""
        if not self.parts:
            raise UserError("a Hybrid needs parts: name the methods that it is to blend")
        learned = self.learn(data, setting)
        rankers = self._fit_parts(data, setting)
        return _joined(rankers, data, learned.weights)

    def learn(self, data: TrainingData, setting: Setting = HERE) -> Learned:
        return learn(self.lessons(data, setting), seed=setting.seed)

    def lessons(self, data: TrainingData, setting: Setting = HERE) -> Lessons:
        """What the weights are learned from, of all inner folds together."""
        found: list[Lessons] = []
        for number, fold in enumerate(inner_folds(self.inner or data.rule, data.dataset, data.train, self.folds)):
            found.append(self._lessons_of(data.on(fold), fold, setting.within(f"fold-{number}"), number))
            if sum(len(lessons.context) for lessons in found) >= ENOUGH_USERS:
                break
        return Lessons(*(np.concatenate(columns) for columns in zip(*found, strict=True)))

    def _lessons_of(self, data: TrainingData, fold: Holdout, setting: Setting, number: int) -> Lessons:
        rankers = self._fit_parts(data, setting)
        no_part, no_signal = jnp.zeros((len(CONTEXT), len(rankers))), jnp.zeros((len(CONTEXT), len(NAMES)))
        ranker = _joined(rankers, data, Weights(no_part, no_part, no_signal))
        features = data.dataset.users.features
        return lessons_of(
            ranker,
            data.dataset,
            fold,
            users=self.users,
            candidates=self.candidates,
            seed=setting.seed + number,
            features=None if features is None else features.values,
            text=data.user_text,
        )

    def _fit_parts(self, data: TrainingData, setting: Setting) -> tuple:
        return tuple(part.fit(data, setting.within(f"part-{number}")) for number, part in enumerate(self.parts))


def _joined(rankers: tuple, data: TrainingData, weights: Weights) -> HybridRanker:
    signals = item_signals(data.train, data.dataset.num_items)
    warm = np.flatnonzero(signals[:, -1] == 0)
    probe = np.sort(np.random.default_rng(0).permutation(warm)[:PROBE])
    return join(rankers, signals, jnp.asarray(probe), weights)
