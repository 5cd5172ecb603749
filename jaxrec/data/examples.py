"""Histories to training batches: which events are read and which are to be predicted."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxrec.data.ids import NO_ROW
from jaxrec.data.interactions import SECONDS_PER_DAY, Histories, Interactions

MOST_EVENTS = 8_192  # of one user that a batch is cut from: the newest; memory is bounded whatever one user did


class Batch(NamedTuple):
    """Rows and masks of one step; fixed shapes, no strings. The first five fields are a `Query`.

    history, weights, ages: [batch, length]; features: [batch, user features]; text: [batch, text dim].
    targets: int32 [batch, targets], items to be predicted, -1 where padded. target_weights: float32, 0 where padded.
    log_q: float32 [batch, targets], log of the item's share of all events, for sampled losses.
    """

    history: np.ndarray
    weights: np.ndarray
    ages: np.ndarray
    features: np.ndarray
    text: np.ndarray
    targets: np.ndarray
    target_weights: np.ndarray
    log_q: np.ndarray


@dataclass(frozen=True)
class Examples:
    """How a user's events are cut into what is read and what is to be predicted. One example is one user.

    cut="random": a random share `hidden` of the events is to be predicted from the rest, whatever their order (as in
    denoising autoencoders). cut="time": all up to a random moment is read, what follows is to be predicted.
    history_length, num_targets: how many events are read (the newest) and predicted (a sample) at most.
    half_life_days: a target's weight halves with its age before the end of the training data; None weighs all alike.
    """

    cut: str = "random"
    hidden: float = 0.3
    history_length: int = 256
    num_targets: int = 64
    half_life_days: float | None = None

    def __post_init__(self):
        if self.cut not in ("random", "time"):
            raise ValueError(f"Examples.cut is {self.cut!r}; use 'random' or 'time'")
        if not 0 < self.hidden < 1:
            raise ValueError(f"Examples.hidden is {self.hidden}; it is a share between 0 and 1")


@dataclass(frozen=True, eq=False)
class ExampleSource:
    """Random-access examples over columns in memory; whole batches are gathered at once, never a row at a time."""

    examples: Examples
    histories: Histories
    users: np.ndarray
    features: np.ndarray
    text: np.ndarray
    log_share: np.ndarray

    @classmethod
    def of(
        cls,
        examples: Examples,
        train: Interactions,
        num_users: int,
        num_items: int,
        features: np.ndarray,
        text: np.ndarray,
    ) -> "ExampleSource":
        """features, text: float32 [users, any]. Users with fewer than two events teach nothing."""
        histories = Histories.of(train, num_users)
        users = np.flatnonzero(histories.lengths >= 2)
        log_share = _log_target_share(examples, histories, num_items)
        return cls(examples, histories, users, features, text, log_share)

    def __len__(self) -> int:
        return len(self.users)

    def gather(self, which: np.ndarray, rng: np.random.Generator) -> Batch:
        """The examples at positions `which` [batch]; all that is random is drawn from `rng`, by place in the batch."""
        users = self.users[which]
        width = min(int(self.histories.lengths[users].max()), MOST_EVENTS)
        positions, known = self.histories.latest(users, width)
        lengths = known.sum(axis=1)
        is_target = self._targets(lengths, width, rng) & known
        history_at, history_mask = _pick(known & ~is_target, self._room(self.examples.history_length), newest=True)
        target_at, target_mask = self._sample(is_target, rng)
        at_history = np.take_along_axis(positions, history_at, axis=1)
        at_targets = np.take_along_axis(positions, target_at, axis=1)
        log = self.histories
        newest = at_history[np.arange(len(users)), history_mask.sum(axis=1) - 1]  # asked when the last one was read
        ages = (log.timestamps[newest][:, None] - log.timestamps[at_history]) / SECONDS_PER_DAY
        targets = log.item_rows[at_targets]
        return Batch(
            history=np.where(history_mask, log.item_rows[at_history], NO_ROW).astype(np.int32),
            weights=np.where(history_mask, log.weights[at_history], 0).astype(np.float32),
            ages=np.where(history_mask, ages, 0).astype(np.float32),
            features=self.features[users],
            text=self.text[users],
            targets=np.where(target_mask, targets, NO_ROW).astype(np.int32),
            target_weights=(target_mask * self._target_weights(at_targets)).astype(np.float32),
            log_q=self.log_share[targets],
        )

    def _targets(self, lengths: np.ndarray, width: int, rng: np.random.Generator) -> np.ndarray:
        """bool [batch, width], with at least one target and at least one event left to read for each user."""
        steps = np.arange(width)[None, :]
        if self.examples.cut == "time":
            moment = 1 + np.floor(rng.random(len(lengths)) * (lengths - 1)).astype(np.int64)
            return steps >= moment[:, None]
        draws = np.where(steps < lengths[:, None], rng.random((len(lengths), width)), 2.0)
        ranks = draws.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
        hidden = np.clip(np.round(self.examples.hidden * lengths), 1, lengths - 1)
        return ranks < hidden[:, None]

    def _sample(self, is_target: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if self.examples.cut == "time":
            return _pick(is_target, self._room(self.examples.num_targets), newest=False)
        order = np.where(is_target, rng.random(is_target.shape), 2.0)
        return _first(np.argsort(order, axis=1, kind="stable"), is_target, self._room(self.examples.num_targets))

    def _room(self, length: int) -> int:
        """Columns of every batch, the same for all: no more than the longest history of the log can fill."""
        return min(length, int(self.histories.lengths.max()))

    def _target_weights(self, at: np.ndarray) -> np.ndarray:
        if self.examples.half_life_days is None:
            return np.ones(at.shape, np.float32)
        age = (self.histories.timestamps.max() - self.histories.timestamps[at]) / SECONDS_PER_DAY
        return np.exp2(-age / self.examples.half_life_days)


def _pick(mask: np.ndarray, length: int, *, newest: bool) -> tuple[np.ndarray, np.ndarray]:
    """Columns of up to `length` True entries of each row, in order: (columns, is one), both [batch, length]."""
    rank = np.cumsum(mask, axis=1)
    if newest:
        mask = mask & (rank > rank[:, -1:] - length)
    return _first(np.argsort(~mask, axis=1, kind="stable"), mask, length)


def _first(order: np.ndarray, mask: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `length` columns of an order and whether each is one of the mask, padded to exactly that length."""
    columns = order[:, :length]
    there = np.take_along_axis(mask, columns, axis=1)
    missing = ((0, 0), (0, length - columns.shape[1]))
    return np.pad(columns, missing), np.pad(there, missing)


def _log_target_share(examples: Examples, histories: Histories, num_items: int) -> np.ndarray:
    """log of each item's share of the targets, float32 [items]: users are drawn alike, whatever their length.

    Of n events, cut="random" makes each a target with min(targets, hidden n) / n; cut="time", whose moment is one of
    n - 1 alike, the event at place p with min(p, targets) / (n - 1). Items that are
    never a target have the smallest share of the others.
    """
    lengths = histories.lengths
    of_event = np.repeat(lengths, lengths)
    if examples.cut == "time":
        place = np.arange(len(of_event)) - np.repeat(histories.offsets[:-1], lengths)
        chance = np.minimum(place, examples.num_targets) / np.maximum(of_event - 1, 1)
    else:
        hidden = np.clip(np.round(examples.hidden * of_event), 1, np.maximum(of_event - 1, 1))
        chance = np.minimum(hidden, examples.num_targets) / np.maximum(of_event, 1)
    share = np.bincount(histories.item_rows, weights=np.where(of_event >= 2, chance, 0.0), minlength=num_items)
    share = share / max(share.sum(), 1e-12)
    return np.log(np.maximum(share, share[share > 0].min(initial=1.0))).astype(np.float32)
