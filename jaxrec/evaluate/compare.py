"""How sure a figure is, and whether one ranker is better than another on the same users."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from jaxrec.errors import UserError
from jaxrec.evaluate import metrics

if TYPE_CHECKING:
    from jaxrec.evaluate.evaluator import Evaluation

MAX_BOOTSTRAP_USERS = 100_000
KEPT_COUNTS = 2**24  # of users in resamples: 64 MB
HEADLINE = ("ndcg@10", "recall@10", "hit_rate@10", "mrr@10", "coverage@10", "novelty@10")


@dataclass(frozen=True)
class Interval:
    """A two-sided interval around a mean over users."""

    low: float
    high: float


def bootstrap(values: np.ndarray, *, level: float = 0.95, resamples: int = 1_000, seed: int = 0) -> Interval:
    """Percentile bootstrap of the mean over users (Efron and Tibshirani, 1993, chapter 13).

    values: float [users]; users with nan are left out. Above 100,000 users the normal interval, mean +- z x standard
    error, stands in: it is the same to three digits and takes no time. Fewer than two users: (nan, nan).
    """
    values = values[~np.isnan(values)]
    users = values.size
    if users < 2:
        return Interval(float("nan"), float("nan"))
    if users > MAX_BOOTSTRAP_USERS:
        half = _normal_quantile(0.5 + level / 2) * metrics.standard_error(values)
        return Interval(float(values.mean() - half), float(values.mean() + half))
    means = _resampled_sums(values.astype(np.float64), resamples, seed) / users
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(low), float(high))


def _resampled_sums(values: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """The sum of each resample, float64 [resamples]: how often it holds each user, times the user's value."""
    if len(values) * resamples > KEPT_COUNTS:
        draw = np.random.default_rng(seed)
        return np.array([values[draw.integers(len(values), size=len(values))].sum() for _ in range(resamples)])
    counts = _resample_counts(len(values), resamples, seed)
    return np.concatenate([counts[at : at + 64] @ values for at in range(0, resamples, 64)])


@lru_cache(maxsize=4)
def _resample_counts(users: int, resamples: int, seed: int) -> np.ndarray:
    """The same draws serve every metric: float32 [resamples, users], whole numbers."""
    draw = np.random.default_rng(seed)
    rows = (draw.integers(users, size=users) for _ in range(resamples))
    return np.stack([np.bincount(row, minlength=users) for row in rows]).astype(np.float32)


def _normal_quantile(probability: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(probability)


@dataclass(frozen=True)
class Paired:
    """One ranker minus another, on the same users.

    difference, standard_error: of the per-user differences; interval: their bootstrap interval.
    wins, losses: users for whom the first is better, worse.
    """

    metric: str
    users: int
    difference: float
    standard_error: float
    interval: Interval
    wins: int
    losses: int

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.interval.low > 0 or self.interval.high < 0


def compare(ours: "Evaluation", theirs: "Evaluation", metric: str = "ndcg@10", *, seed: int = 0) -> Paired:
    """Paired comparison: the spread of per-user differences, not of two means.

    Raises UserError when the metric has no value per user or the two were not judged on the same users.
    """
    for side in (ours, theirs):
        if metric not in side.values:
            known = ", ".join(side.values)
            raise UserError(f"{side.name!r} has no per-user metric {metric!r}; it has {known}")
    if ours.part != theirs.part or not np.array_equal(ours.user_rows, theirs.user_rows):
        raise UserError(
            f"cannot compare {ours.name!r} ({len(ours.user_rows)} users of the {ours.part} part) with {theirs.name!r} "
            f"({len(theirs.user_rows)} users of the {theirs.part} part): judge both with the same holdout and part"
        )
    difference = ours.values[metric] - theirs.values[metric]
    return Paired(
        metric,
        len(difference),
        metrics.mean(difference),
        metrics.standard_error(difference),
        bootstrap(difference, seed=seed),
        int((difference > 0).sum()),
        int((difference < 0).sum()),
    )


def comparison(
    results: Mapping[str, "Evaluation"], shown: Sequence[str] = HEADLINE, *, against: str | None = None
) -> list[dict]:
    """One row per ranker, in the order given: plain data for a table or JSON.

    Row: {"name", "part", "users", "positives", "metrics": {name: {"mean", "standard_error", "low", "high"}}}; a metric
    of all lists together (coverage) has a mean, and None for the others. With `against` (a name in `results`) each
    per-user metric has also "difference", "difference_low", "difference_high": this ranker minus that one, paired.
    """
    if against is not None and against not in results:
        raise UserError(f"no result named {against!r} to compare against; there are {', '.join(results)}")
    rows = []
    for name, result in results.items():
        cells = {metric: cell(result, metric) for metric in shown if metric in result.means}
        if against is not None and name != against:
            for metric in cells.keys() & result.values.keys():
                paired = compare(result, results[against], metric)
                cells[metric] |= {
                    "difference": finite(paired.difference),
                    "difference_low": finite(paired.interval.low),
                    "difference_high": finite(paired.interval.high),
                }
        rows.append(
            {
                "name": name,
                "part": result.part,
                "users": len(result.user_rows),
                "positives": int(result.positives.sum()),
                "metrics": cells,
            }
        )
    return rows


def cell(result: "Evaluation", metric: str) -> dict[str, float | None]:
    """A metric's mean, standard error and interval; None where one is not defined."""
    if metric not in result.values:
        return {"mean": finite(result.means[metric]), "standard_error": None, "low": None, "high": None}
    interval = result.interval(metric)
    return {
        "mean": finite(result.means[metric]),
        "standard_error": finite(result.standard_errors[metric]),
        "low": finite(interval.low),
        "high": finite(interval.high),
    }


def short(value: float) -> str:
    """Three digits, without the zero before the point: ".012"."""
    return f"{value:.3f}".removeprefix("0")


def finite(value: float) -> float | None:
    """JSON has no nan."""
    return value if math.isfinite(value) else None
