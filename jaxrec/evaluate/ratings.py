"""How near predicted ratings come: RMSE and MAE over held-out rows, by fold."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data.dataset import Dataset
from jaxrec.data.interactions import Histories, Interactions
from jaxrec.data.queries import asking_times, gather_queries
from jaxrec.data.training import TrainingData
from jaxrec.errors import DivergedError, UserError
from jaxrec.evaluate.ranking import MAX_SCORES, user_blocks
from jaxrec.method import HERE, Method, Setting
from jaxrec.ranker import Arrays, Query, Ranker, score_all

USERS_PER_BLOCK = 256


@dataclass(frozen=True)
class RatingErrors:
    """Over the rows of one held-out part, with standard errors over rows; that of the RMSE is that of the mean squared
    error, divided by 2 RMSE (delta method)."""

    rows: int
    rmse: float
    mae: float
    rmse_error: float
    mae_error: float

    @classmethod
    def of(cls, predicted: np.ndarray, ratings: np.ndarray) -> "RatingErrors":
        """predicted, ratings: float [rows]. Raises DivergedError for predictions that are not numbers."""
        if not np.isfinite(predicted).all():
            raise DivergedError(f"{int((~np.isfinite(predicted)).sum())} predicted ratings are not numbers")
        apart = np.abs(predicted.astype(np.float64) - ratings)
        rows, rmse = len(apart), float(np.sqrt(np.mean(apart**2)))
        root = np.sqrt(max(rows, 1))
        squares = float(np.std(apart**2) / root)
        return cls(rows, rmse, float(apart.mean()), squares / max(2 * rmse, 1e-12), float(np.std(apart) / root))


@dataclass(frozen=True)
class RatingsResult:
    """A method's errors fold by fold. The means are over folds, as in published tables; their standard errors too."""

    name: str
    folds: tuple[RatingErrors, ...]

    @property
    def rmse(self) -> float:
        return float(np.mean([fold.rmse for fold in self.folds]))

    @property
    def mae(self) -> float:
        return float(np.mean([fold.mae for fold in self.folds]))

    @property
    def rmse_error(self) -> float:
        return _standard_error([fold.rmse for fold in self.folds])

    @property
    def mae_error(self) -> float:
        return _standard_error([fold.mae for fold in self.folds])


def _standard_error(values: list[float]) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def rating_folds(rows: int, folds: int = 5, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Row numbers of each fold's test part, int64: rows shuffled and cut into near equal parts, as Surprise's KFold, so
    that time is ignored. Raises UserError for fewer than two folds or more folds than rows."""
    if not 2 <= folds <= rows:
        raise UserError(f"cross-validation needs from 2 folds to one per row: {folds} folds of {rows} rows")
    order = np.random.RandomState(seed).permutation(rows)
    return tuple(np.sort(part) for part in np.array_split(order, folds))


def _picked(ranker: Ranker, arrays: Arrays, query: Query, rows: jax.Array) -> jax.Array:
    return jnp.take_along_axis(score_all(ranker, arrays, query), rows, axis=1)


_compiled = jax.jit(_picked, static_argnames="ranker")


def predict_ratings(
    ranker: Ranker,
    dataset: Dataset,
    past: Interactions,
    wanted: Interactions,
    *,
    users_per_block: int = USERS_PER_BLOCK,
    user_text: np.ndarray | None = None,
) -> np.ndarray:
    """The scores of the rows of `wanted`, float32 [rows], unclipped; a user is asked with the history in `past`."""
    histories = Histories.of(past, dataset.num_users)
    asked_at = asking_times(past, wanted, histories)
    features = None if dataset.users.features is None else dataset.users.features.values
    ask = partial(_compiled, replace(ranker, arrays=None))
    users, position, counts = np.unique(wanted.user_rows, return_inverse=True, return_counts=True)
    order = np.argsort(position, kind="stable")
    place = np.empty(len(wanted), np.int64)
    place[order] = np.arange(len(wanted)) - np.repeat(np.cumsum(counts) - counts, counts)
    table = np.zeros((len(users), 1 << int(counts.max(initial=1) - 1).bit_length()), np.int32)
    table[position, place] = wanted.item_rows
    found = np.zeros(table.shape, np.float32)
    block = max(1, min(users_per_block, MAX_SCORES // dataset.num_items))
    lengths = np.minimum(histories.lengths, ranker.history_length)
    for positions, rows, width in user_blocks(users, lengths, block):
        asked = asked_at[np.maximum(rows, 0)]
        query = Query(*gather_queries(histories, rows, width, asked, features, user_text))
        some = np.zeros((len(rows), table.shape[1]), np.int32)
        some[: len(positions)] = table[positions]
        found[positions] = np.asarray(ask(ranker.arrays, query, some))[: len(positions)]
    return found[position, place]


def judge_ratings(
    ranker: Ranker,
    dataset: Dataset,
    past: Interactions,
    wanted: Interactions,
    *,
    rating_range: tuple[float, float] | None = None,
) -> RatingErrors:
    """Predictions for the rows of `wanted`, clipped to the range (None: that of `past`), against what was given."""
    low, high = rating_range or (float(past.weights.min()), float(past.weights.max()))
    return RatingErrors.of(np.clip(predict_ratings(ranker, dataset, past, wanted), low, high), wanted.weights)


def cross_validate(
    method: Method, dataset: Dataset, folds: int = 5, seed: int = 0, setting: Setting = HERE
) -> RatingsResult:
    """Fit on all folds but one and judge on that one, each in turn; seed: of the shuffle, not of the fits."""
    log, errors = dataset.interactions, []
    for held in rating_folds(len(log), folds, seed):
        kept = np.ones(len(log), bool)
        kept[held] = False
        past, wanted = log.take(kept), log.take(held)
        ranker = method.fit(TrainingData(dataset, past), setting)
        errors.append(judge_ratings(ranker, dataset, past, wanted))
    return RatingsResult(method.name, tuple(errors))
