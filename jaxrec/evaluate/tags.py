"""How good readable tags are: those given to items that hide theirs, and those of users against what comes next."""

from dataclasses import dataclass

import numpy as np

from jaxrec.evaluate import metrics
from jaxrec.evaluate.compare import bootstrap

RESAMPLES = 1_000
STEPS = 200  # thresholds tried


@dataclass(frozen=True)
class Figure:
    """A value and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class ItemTagFigures:
    """Of hidden tags. threshold: the score from which on a tag is given. Intervals resample the items.

    micro_f1: over all (item, tag) together; macro_f1: mean over the tags that any item has. precision: of the
    `at` tags with the highest scores of each item, the share that it has, whatever the threshold.
    """

    threshold: float
    micro_f1: Figure
    macro_f1: Figure
    precision: Figure
    at: int


@dataclass(frozen=True, eq=False)
class UserTagFigures:
    """One value per user, float64 [users], nan where nothing can be found (no tag with a gain).

    lift: how often what comes next carries the k tags that were ranked first, over how often everybody's choices do.
    """

    ndcg: np.ndarray
    f1: np.ndarray
    lift: np.ndarray


def best_threshold(scores: np.ndarray, truth: np.ndarray) -> float:
    """The threshold of the highest micro F1, tried at quantiles of the scores. float [items, tags], bool the same."""
    tried = np.unique(np.quantile(scores, np.linspace(0, 1, STEPS)))
    order = np.argsort(scores, axis=None)
    right = np.concatenate([[0], np.cumsum(truth.ravel()[order])])
    at = np.searchsorted(scores.ravel()[order], tried)
    hits = right[-1] - right[at]
    return float(tried[np.argmax(2 * hits / np.maximum(scores.size - at + right[-1], 1))])


def item_tag_figures(scores: np.ndarray, truth: np.ndarray, threshold: float, at: int = 2) -> ItemTagFigures:
    """scores: float [items, tags] of the hidden items; truth: bool [items, tags], what they carry; every item some."""
    given = scores >= threshold
    parts = np.stack([given & truth, given, truth]).astype(np.float64)  # hits, given, carried
    draws = np.random.default_rng(0).multinomial(len(truth), np.full(len(truth), 1 / len(truth)), RESAMPLES)
    draws = np.concatenate([np.ones((1, len(truth))), draws])  # the items as they are come first
    hits, told, carried = (draws @ part for part in parts)
    micro = 2 * hits.sum(1) / np.maximum(told.sum(1) + carried.sum(1), 1)
    there = carried > 0
    macro = np.where(there, 2 * hits / np.maximum(told + carried, 1), 0).sum(1) / np.maximum(there.sum(1), 1)
    top = np.argsort(-scores, axis=1, kind="stable")[:, :at]
    precision = mean_figure(np.take_along_axis(truth, top, 1).mean(1))
    return ItemTagFigures(threshold, _figure(micro), _figure(macro), precision, at)


def user_tag_figures(
    scores: np.ndarray, gains: np.ndarray, counts: np.ndarray, totals: np.ndarray, base: np.ndarray, k: int = 5
) -> UserTagFigures:
    """NDCG@k, F1@k and lift@k of ranked tags against what users choose next.

    scores, gains: float [users, tags]; a gain above 0 says the tag is to be found. counts: how many of a user's next
    choices carry each tag, float [users, tags]; totals: how many they are, [users]; base: everybody's rate, [tags].

    NDCG (Jarvelin and Kekalainen, TOIS 2002) discounts gains by log2(rank + 1) over the best order's sum. F1 is between
    the k tags with the highest scores and the at most k with the largest gains. Equal scores: the earlier tag first.
    """
    gains = np.maximum(gains, 0)
    k = min(k, gains.shape[1])
    discounts = 1 / np.log2(np.arange(k) + 2.0)
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    ideal = np.argsort(-gains, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(gains, ideal, 1)
    some = best[:, 0] > 0
    ndcg = np.take_along_axis(gains, ranked, 1) @ discounts / np.where(some, best @ discounts, 1)
    wanted = np.zeros(gains.shape, bool)
    np.put_along_axis(wanted, ideal, best > 0, 1)
    f1 = 2 * np.take_along_axis(wanted, ranked, 1).sum(1) / (k + wanted.sum(1))
    share = np.take_along_axis(counts, ranked, 1).sum(1) / np.maximum(totals, 1)
    lift = share / np.maximum(base[ranked].sum(1), 1e-12)
    return UserTagFigures(*(np.where(some, values, np.nan) for values in (ndcg, f1, lift)))


def mean_figure(values: np.ndarray) -> Figure:
    """The mean of float [n] with its bootstrap interval; nan values are left out."""
    interval = bootstrap(values)
    return Figure(metrics.mean(values), interval.low, interval.high)


def _figure(values: np.ndarray) -> Figure:
    """Of a figure on the data (first) and on resampled data: the percentile interval."""
    low, high = np.percentile(values[1:], [2.5, 97.5])
    return Figure(float(values[0]), float(low), float(high))
