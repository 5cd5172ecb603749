"""The hybrid as a method: fit the parts, learn the weights on an inner cut, fit the parts on everything."""

import time
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.classic.als import ImplicitAls
from jaxrec.classic.content import ContentNeighbours
from jaxrec.classic.content_ridge import ContentRidge
from jaxrec.classic.context import ContextLift
from jaxrec.classic.ease import Ease
from jaxrec.classic.next_visit import NextVisit
from jaxrec.classic.random_walk import RandomWalk
from jaxrec.classic.slim import Slim
from jaxrec.classic.slist import Slist
from jaxrec.classic.user_ridge import UserRidge
from jaxrec.data.holdout import Holdout, HoldoutRule
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.hybrid.ablation import shares, told_apart
from jaxrec.hybrid.folds import inner_folds
from jaxrec.hybrid.learning import learn
from jaxrec.hybrid.lessons import Lessons, lessons_of
from jaxrec.hybrid.ranker import HybridRanker, Weights, join
from jaxrec.hybrid.signals import NEW, STANDING, item_signals
from jaxrec.method import HERE, Method, Ranges, Setting, as_fitted, asked_options, at_least, reads_text, settled
from jaxrec.ranker import Ranker

ENOUGH_USERS = 2_500
PROBE = 2_048
EASE = Ease(l2=200.0, nearby=0.3, by_length=0.5, dropout=0.2)
PARTS = (
    EASE,
    replace(EASE, tau=8.0),
    replace(EASE, tau=20.0),
    replace(EASE, content=30.0),
    Slim(),
    Slim(tau=8.0),
    Slist(tau=2.0, base=0.02),
    Slist(),
    Slist(whole=1.0, tau=8.0),
    NextVisit(),
    ImplicitAls(),
    ImplicitAls(alpha0=0.3, l2=0.01),
    ImplicitAls(alpha0=1.0),  # near to popularity, for askers whose taste has changed
    ImplicitAls(dim=128, l2=0.005),  # for larger data
    RandomWalk(),
    ContentRidge(),
    ContentNeighbours(),
    UserRidge(),
    ContextLift(),
)


@dataclass(frozen=True)
class Hybrid:
    """Many rankers as one: score = sum of weights x standardised scores of the parts + weights x signals of the item.

    The weights depend on the asker (how long the history, how long since its last event and its first) and on whether
    anybody has the item yet. They are learned by softmax and smooth NDCG@10 on inner folds: the training data is cut
    again by the rule of the holdout (or by `inner`), the parts are fitted on what comes before each cut, and the
    weights bring what came after it to the top. Then the parts are fitted once more on all of the training data. Parts
    that the data is not for (no text, a catalog too large for them) are left out, with a line.

    balance: the share that items which nobody has yet make up of what is optimised, the others the rest; None weighs
    all that was chosen alike, as NDCG does. folds: inner cuts at most; no more are made than give 2,500 users to learn
    from. users: drawn from each fold at most. candidates: items per user that are told apart.
    """

    parts: tuple[Method, ...] = PARTS
    inner: HoldoutRule | None = None
    balance: float | None = None
    folds: int = 5
    users: int = 4_000
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
        """Raises UserError where there are no parts, where all refuse the data, for a balance that is no share, and
        without folds, users or candidates; and what the parts raise otherwise."""
        if self.balance is not None and not 0 <= self.balance <= 1:
            raise UserError(f"Hybrid.balance={self.balance:g} is a share, from 0 to 1; none weighs all alike")
        lessons, parts = self.lessons(data, setting)
        learned = learn(lessons, seed=setting.seed, balance=self.balance)
        _, rankers, seconds = self._fitted(parts, data, setting)
        as_learned = {"strength": learned.strength, "balance": self.balance, "seed": setting.seed}
        of_parts = shares(lessons, told_apart(parts), seconds, **as_learned)
        return replace(_joined(rankers, data, learned.weights), shares=of_parts)

    def refitted(self, data: TrainingData, setting: Setting, weights: Weights) -> HybridRanker | None:
        """The parts fitted to other data, blended by weights that were learned before; None where the weights are of
        other parts or signals."""
        _, rankers, _ = self._fitted(self.parts, data, setting, refuse=True)
        fits = jax.tree.map(np.shape, weights) == jax.tree.map(np.shape, _nothing(rankers, _signals(data)))
        return _joined(rankers, data, weights) if fits else None

    def lessons(self, data: TrainingData, setting: Setting = HERE) -> tuple[Lessons, tuple[Method, ...]]:
        """What the weights are learned from, of all inner folds together, and the parts that can be fitted."""
        at_least(self, folds=1, users=1, candidates=1)
        if not self.parts:
            raise UserError("a Hybrid needs parts: name the methods that it is to blend")
        found: list[Lessons] = []
        parts = self.parts
        for number, fold in enumerate(inner_folds(self.inner or data.rule, data.dataset, data.train, self.folds)):
            inside, there = data.on(fold), setting.within(f"fold-{number}")
            parts, rankers, _ = self._fitted(parts, inside, there, refuse=not found)
            found.append(self._lessons_of(rankers, inside, fold, setting.seed + number))
            if sum(len(lessons.standing) for lessons in found) >= ENOUGH_USERS:
                break
        return Lessons(*(np.concatenate(columns) for columns in zip(*found, strict=True))), parts

    def _lessons_of(self, rankers: list[Ranker], data: TrainingData, fold: Holdout, seed: int) -> Lessons:
        features = data.dataset.users.features
        return lessons_of(
            _joined(rankers, data),
            data.dataset,
            fold,
            users=self.users,
            candidates=self.candidates,
            seed=seed,
            features=None if features is None else features.values,
            text=data.user_text,
        )

    def _fitted(
        self, parts: tuple[Method, ...], data: TrainingData, setting: Setting, *, refuse: bool = False
    ) -> tuple[tuple[Method, ...], list[Ranker], list[float]]:
        """The parts, what they make of the data, and the seconds it took; those that differ in how they are asked alone
        are fitted once.

        refuse: a part may refuse the data, and is then left out. Raises UserError where none can be fitted.
        """
        able: list[Method] = []
        rankers: list[Ranker] = []
        seconds: list[float] = []
        known: dict[Method, Ranker] = {}
        refusal = None
        for part in parts:
            fit, began = as_fitted(part), time.perf_counter()
            try:
                if fit not in known:  # a place of its own, the same however many are left out
                    known[fit] = part.fit(data, setting.within(f"part-{self.parts.index(part)}"))
                    jax.block_until_ready(known[fit].arrays)
            except UserError as error:
                if not refuse:
                    raise
                refusal = error
                setting.say(f"  left out of the blend: {error}")
                continue
            able.append(part)
            rankers.append(replace(known[fit], **asked_options(part)))
            seconds.append(time.perf_counter() - began)
        if not able:
            raise UserError(f"no part of the Hybrid can be fitted to this data; the last one said: {refusal}")
        return tuple(able), rankers, seconds


def _joined(rankers: list[Ranker], data: TrainingData, weights: Weights | None = None) -> HybridRanker:
    """weights: None for none at all, where only the parts' own scores are asked for."""
    signals = _signals(data)
    warm = np.flatnonzero(signals[:, NEW] == 0)
    probe = np.sort(np.random.default_rng(0).permutation(warm)[:PROBE])
    return join(tuple(rankers), signals, jnp.asarray(probe), weights or _nothing(rankers, signals))


def _signals(data: TrainingData) -> np.ndarray:
    """float32 [items, signals]"""
    features = data.dataset.catalog.features
    return item_signals(data.train, features.values[:, : len(features.encoder.numbers)])


def _nothing(rankers: list[Ranker], signals: np.ndarray) -> Weights:
    no_part = jnp.zeros((len(STANDING), len(rankers)))
    return Weights(no_part, no_part, jnp.zeros((len(STANDING), signals.shape[1])))
