"""RMSE and MAE against their formulas, folds, and predictions of pairs in blocks against the whole matrix."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.data.interactions import Interactions
from jaxrec.data.training import TrainingData
from jaxrec.errors import DivergedError, UserError
from jaxrec.evaluate.ratings import (
    RatingErrors,
    RatingsResult,
    cross_validate,
    judge_ratings,
    predict_ratings,
    rating_folds,
)
from jaxrec.ranker import Arrays

USERS, ITEMS = 37, 20
DRAW = np.random.default_rng(0)
PAIRS = DRAW.permutation(np.argwhere(DRAW.random((USERS, ITEMS)) < np.linspace(0.05, 1, USERS)[:, None]))
STARS = DRAW.integers(1, 6, len(PAIRS)).astype(np.float32)
LOG = Interactions(PAIRS[:, 0].astype(np.int32), PAIRS[:, 1].astype(np.int32), np.arange(len(PAIRS)), STARS)
FEATURES = DRAW.normal(size=(USERS, 1)).astype(np.float32)
DATA = SimpleNamespace(
    num_users=USERS,
    num_items=ITEMS,
    interactions=LOG,
    users=SimpleNamespace(features=SimpleNamespace(values=FEATURES)),
)


@dataclass(frozen=True)
class SumRanker:
    """The user's known ratings together, plus the user's feature, plus the item's own number."""

    arrays: Arrays
    history_length: int = 16

    def user(self, arrays, query):
        return query.weights.sum(1) + query.features[:, 0]

    def score(self, shared, items, user):
        return user[:, None] + items["own"][None, :]


@dataclass(frozen=True)
class ItemMeans:
    name = "Item means"
    ranges = {}

    def fit(self, data, setting=None):
        train = data.train
        totals = np.bincount(train.item_rows, train.weights, ITEMS)
        own = totals / np.maximum(np.bincount(train.item_rows, minlength=ITEMS), 1)
        return MeanRanker(Arrays({}, {"own": jnp.asarray(own, jnp.float32)}))


@dataclass(frozen=True)
class MeanRanker(SumRanker):
    def user(self, arrays, query):
        return jnp.zeros(query.history.shape[0])


def test_errors_are_their_formulas():
    predicted, given = np.array([3.0, 4.5, 1.0, 2.0]), np.array([4.0, 4.0, 1.0, 5.0])
    squares, sizes = np.array([1, 0.25, 0, 9]), np.array([1, 0.5, 0, 3])
    found = RatingErrors.of(predicted, given)
    assert (found.rows, found.mae) == (4, 4.5 / 4)
    assert found.rmse == pytest.approx(np.sqrt(10.25 / 4))
    assert found.mae_error == pytest.approx(sizes.std() / 2)
    assert found.rmse_error == pytest.approx(squares.std() / 2 / (2 * np.sqrt(10.25 / 4)))


def test_the_error_of_the_rmse_is_its_spread():
    draw = np.random.default_rng(1)
    found = [RatingErrors.of(draw.normal(size=400), np.zeros(400)) for _ in range(400)]
    assert np.std([f.rmse for f in found]) == pytest.approx(np.mean([f.rmse_error for f in found]), rel=0.1)
    assert np.std([f.mae for f in found]) == pytest.approx(np.mean([f.mae_error for f in found]), rel=0.1)


def test_predictions_that_are_not_numbers_are_refused():
    with pytest.raises(DivergedError, match="1 predicted"):
        RatingErrors.of(np.array([1.0, np.nan]), np.array([1.0, 2.0]))


def test_folds_hold_every_row_once():
    folds = rating_folds(103, 5, seed=3)
    assert sorted(np.concatenate(folds)) == list(range(103)) and {len(f) for f in folds} == {20, 21}
    assert all(np.array_equal(a, b) for a, b in zip(folds, rating_folds(103, 5, seed=3), strict=True))
    assert not np.array_equal(folds[0], rating_folds(103, 5, seed=4)[0])


@pytest.mark.parametrize(("rows", "folds"), [(10, 1), (3, 4)])
def test_folds_that_cannot_be_are_refused(rows, folds):
    with pytest.raises(UserError, match=f"{folds} folds of {rows} rows"):
        rating_folds(rows, folds)


@pytest.mark.parametrize("users_per_block", [4, 256])
def test_predictions_are_the_scores_of_the_rows_asked_for(users_per_block):
    past, wanted = LOG.take(np.arange(200)), LOG.take(np.arange(200, len(LOG)))
    own = np.arange(ITEMS, dtype=np.float32)
    ranker = SumRanker(Arrays({}, {"own": jnp.asarray(own)}))
    latest = [past.weights[past.user_rows == user][-16:].sum() for user in range(USERS)]
    expected = (np.array(latest)[:, None] + FEATURES + own)[wanted.user_rows, wanted.item_rows]
    found = predict_ratings(ranker, DATA, past, wanted, users_per_block=users_per_block)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    clipped = np.clip(expected, 1, 5) - wanted.weights
    assert judge_ratings(ranker, DATA, past, wanted).rmse == pytest.approx(np.sqrt(np.mean(clipped**2)), rel=1e-5)
    wide = expected - wanted.weights
    judged = judge_ratings(ranker, DATA, past, wanted, rating_range=(-1e9, 1e9))
    assert judged.mae == pytest.approx(np.abs(wide).mean(), rel=1e-5)


def test_no_rows_ask_for_no_predictions():
    ranker = SumRanker(Arrays({}, {"own": jnp.zeros(ITEMS)}))
    assert predict_ratings(ranker, DATA, LOG, LOG.take(np.zeros(0, int))).shape == (0,)


def test_cross_validation_fits_without_the_fold_it_judges():
    result = cross_validate(ItemMeans(), DATA, folds=4, seed=5)
    assert result.name == "Item means" and sum(fold.rows for fold in result.folds) == len(LOG)
    held = rating_folds(len(LOG), 4, 5)[2]
    kept = np.setdiff1d(np.arange(len(LOG)), held)
    own = np.asarray(ItemMeans().fit(TrainingData(DATA, LOG.take(kept))).arrays.items["own"])
    apart = np.clip(own[LOG.item_rows[held]], 1, 5) - LOG.weights[held]
    assert result.folds[2].rmse == pytest.approx(np.sqrt(np.mean(apart**2)), rel=1e-5)
    rmse = [fold.rmse for fold in result.folds]
    assert (result.rmse, result.rmse_error) == pytest.approx((np.mean(rmse), np.std(rmse, ddof=1) / 2))
    assert np.isnan(replace(result, folds=result.folds[:1]).rmse_error)
    assert isinstance(result, RatingsResult) and result.mae < 2
