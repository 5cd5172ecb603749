"""Rating factors against the closed forms in numpy, in float64, and on planted ratings."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.classic.rating_posterior import SPREAD, chunked, fit
from jaxrec.classic.ratings import RatingFactors
from jaxrec.data.interactions import Histories, Interactions
from jaxrec.data.queries import gather_queries
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.ranker import Query, score_all

pytestmark = pytest.mark.usefixtures("quick_compile_all")

USERS, ITEMS, DIM = 80, 50, 3


def features_of(values):
    return SimpleNamespace(features=None if values is None else SimpleNamespace(values=values.astype(np.float32)))


def data_of(user_features=None, item_features=None):
    return SimpleNamespace(
        num_users=USERS, num_items=ITEMS, users=features_of(user_features), catalog=features_of(item_features)
    )


DRAW = np.random.default_rng(0)
PEOPLE, GOODS = DRAW.normal(size=(USERS, DIM)), DRAW.normal(size=(ITEMS, DIM))
TRUTH = 3 + 0.4 * PEOPLE[:, :1] + 0.6 * GOODS[None, :, 0] + PEOPLE[:, 1:] @ GOODS[:, 1:].T / 2
NOISE = 0.3
RATINGS = TRUTH + NOISE * DRAW.normal(size=TRUTH.shape)
SEEN = DRAW.random(TRUTH.shape) < 0.5
SEEN[:, -1] = False  # nobody rated the last item
SEEN[-1] = False


def log_of(seen, ratings=RATINGS):
    pairs = np.random.default_rng(1).permutation(np.argwhere(seen))
    times = np.arange(len(pairs))
    rows = pairs.astype(np.int32).T
    return Interactions(rows[0], rows[1], times, ratings[rows[0], rows[1]].astype(np.float32))


LOG = log_of(SEEN)


def predictions(ranker, data, log=LOG, features=None):
    histories = Histories.of(log, USERS)
    query = gather_queries(histories, np.arange(USERS), ranker.history_length, 0, features)
    return np.asarray(score_all(ranker, ranker.arrays, Query(*jax.tree.map(jnp.asarray, query))))


def numpy_side(log, ours, theirs, rows, mean, covariance, expected, precision, noise, center):
    """One side's posteriors, a row at a time, over (b, x) with the other side's (b', x')."""
    means, covariances = np.zeros((rows, DIM)), np.zeros((rows, DIM, DIM))
    for row in range(rows):
        total, right = precision.copy(), precision @ expected[row]
        for other, rating in zip(theirs[ours == row], log.weights[ours == row].astype(np.float64), strict=True):
            line, spread = mean[other].copy(), covariance[other].copy()
            line[0], spread[0], spread[:, 0] = 1, 0, 0
            both = covariance[other][0].copy()
            both[0] = 0
            total += (np.outer(line, line) + spread) / noise
            right += (line * (rating - center - mean[other, 0]) - both) / noise
        covariances[row] = np.linalg.inv(total)
        means[row] = covariances[row] @ right
    return means, covariances


def numpy_prior(mean, covariance, l2):
    """The mean of all, shrunk, and the precision around it."""
    weights = mean.sum(0) / (len(mean) + l2)
    apart = mean - weights
    total = apart.T @ apart + covariance.sum(0) + SPREAD * np.eye(DIM)
    return weights, np.linalg.inv(total / (len(mean) + 1))


def numpy_fit(log, start, rounds, l2):
    center = float(log.weights.mean())
    noise = np.mean((log.weights.astype(np.float64) - center) ** 2)
    goods = start, np.zeros((ITEMS, DIM, DIM))
    user_prior = item_prior = np.zeros(DIM), np.eye(DIM)
    for _ in range(rounds):
        expected = np.tile(user_prior[0], (USERS, 1))
        people = numpy_side(log, log.user_rows, log.item_rows, USERS, *goods, expected, user_prior[1], noise, center)
        user_prior = numpy_prior(*people, l2)
        expected = np.tile(item_prior[0], (ITEMS, 1))
        goods = numpy_side(log, log.item_rows, log.user_rows, ITEMS, *people, expected, item_prior[1], noise, center)
        item_prior = numpy_prior(*goods, l2)
        total = 0.0
        for u, i, rating in zip(log.user_rows, log.item_rows, log.weights.astype(np.float64), strict=True):
            # E[(r - center - b_u - b_i - p q)^2], with the vectors widened to (b_u, 1, p) and (1, b_i, q)
            ours, theirs = np.insert(people[0][u], 1, 1.0), np.insert(goods[0][i], 0, 1.0)
            mine, yours = np.zeros((DIM + 1,) * 2), np.zeros((DIM + 1,) * 2)
            mine[np.ix_([0, 2, 3], [0, 2, 3])] = people[1][u]
            yours[1:, 1:] = goods[1][i]
            mine, yours = mine + np.outer(ours, ours), yours + np.outer(theirs, theirs)
            apart = rating - center
            total += apart**2 - 2 * apart * (ours @ theirs) + (mine * yours).sum()
        noise = total / len(log)
    return people, goods, noise


@pytest.fixture(scope="module")
def fitted():
    nothing = jnp.zeros((USERS, 0)), jnp.zeros((ITEMS, 0))
    rows = chunked(LOG, USERS, ITEMS)[1]
    return fit(rows, *nothing, jax.random.key(0), 4, 1.0, 5.0, factors=DIM - 1, implicit=False)


def test_the_fit_is_the_closed_form_in_float64(fitted):
    start = np.asarray(SPREAD * jax.random.normal(jax.random.key(0), (ITEMS, DIM)).at[:, 0].set(0.0), np.float64)
    people, goods, noise = numpy_fit(LOG, start, 4, 5.0)
    np.testing.assert_allclose(fitted.users.mean, people[0], atol=2e-3)
    np.testing.assert_allclose(fitted.users.covariance, people[1], atol=2e-3)
    np.testing.assert_allclose(fitted.items.mean, goods[0], atol=2e-3)
    np.testing.assert_allclose(fitted.items.covariance, goods[1], atol=2e-3)
    assert fitted.noise == pytest.approx(noise, rel=1e-3)


def test_a_user_is_the_posterior_given_the_history():
    method = RatingFactors(factors=DIM - 1, iterations=4, features=False)
    ranker = method.fit(TrainingData(data_of(), LOG))
    shared, items = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tuple(ranker.arrays))
    lengths = np.maximum(SEEN.sum(1, keepdims=True), 1)
    expected = shared["user_weights"][-1] + SEEN @ items["implicit"] / np.sqrt(lengths)
    people, _ = numpy_side(
        LOG,
        LOG.user_rows,
        LOG.item_rows,
        USERS,
        items["mean"],
        items["covariance"],
        expected,
        shared["user_precision"],
        shared["noise"],
        shared["mean"],
    )
    wanted = shared["mean"] + people[:, :1] + items["mean"][:, 0] + people[:, 1:] @ items["mean"][:, 1:].T
    np.testing.assert_allclose(predictions(ranker, data_of()), wanted, atol=1e-3)


def test_planted_ratings_are_found_to_little_more_than_their_noise():
    found = predictions(RatingFactors(factors=DIM - 1, features=False).fit(TrainingData(data_of(), LOG)), data_of())
    unseen = ~SEEN
    unseen[-1], unseen[:, -1] = False, False
    apart = np.sqrt(np.mean((found - TRUTH)[unseen] ** 2))
    assert apart < 0.6 * NOISE and TRUTH[unseen].std() > 0.9


def test_folding_in_loses_nothing_against_the_users_of_the_fit():
    rows, nothing = chunked(LOG, USERS, ITEMS)[1], (jnp.zeros((USERS, 0)), jnp.zeros((ITEMS, 0)))
    told = fit(rows, *nothing, jax.random.key(0), 20, 1.0, 10.0, factors=DIM - 1, implicit=True)
    method = RatingFactors(factors=DIM - 1, iterations=20, features=False)
    folded = predictions(method.fit(TrainingData(data_of(), LOG)), data_of())
    people, goods = told.users.mean, told.items.mean
    table = LOG.weights.mean() + people[:, :1] + goods[None, :, 0] + people[:, 1:] @ goods[:, 1:].T
    unseen = ~SEEN[:-1, :-1]
    errors = [np.sqrt(np.mean((np.asarray(p)[:-1, :-1] - TRUTH[:-1, :-1])[unseen] ** 2)) for p in (folded, table)]
    assert errors[0] == pytest.approx(errors[1], abs=0.002)


def test_rows_in_another_order_give_the_same_ratings():
    method = RatingFactors(factors=DIM - 1, iterations=5, features=False)
    mixed = LOG.take(np.random.default_rng(2).permutation(len(LOG)))
    first, second = (predictions(method.fit(TrainingData(data_of(), log)), data_of()) for log in (LOG, mixed))
    np.testing.assert_allclose(first, second, atol=2e-3)


def test_features_tell_of_users_and_items_that_nobody_knows():
    data = data_of(PEOPLE, GOODS)
    ranker = RatingFactors(factors=DIM - 1, feature_l2=0.1).fit(TrainingData(data, LOG))
    found = predictions(ranker, data, features=PEOPLE.astype(np.float32))
    for part in (np.s_[-1, :-1], np.s_[:-1, -1]):
        assert np.corrcoef(found[part], TRUTH[part])[0, 1] > 0.97
    blind = RatingFactors(factors=DIM - 1, features=False).fit(TrainingData(data, LOG))
    assert np.ptp(predictions(blind, data)[:-1, -1] - predictions(blind, data)[:-1, :-1].mean(1)) < 2
    placed = ranker.embed_items(ranker.arrays.shared, jnp.zeros((ITEMS, 4)), jnp.asarray(GOODS, jnp.float32))
    kinds = jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), (placed, ranker.arrays.items))
    assert kinds[0] == kinds[1]
    np.testing.assert_allclose(placed["mean"][-1], ranker.arrays.items["mean"][-1], atol=0.02)


def test_what_was_rated_at_all_says_what_is_liked():
    """Two halves of users choose two halves of items, mostly, and like what they choose; a new user has one rating."""
    draw = np.random.default_rng(3)
    alike = (np.arange(USERS)[:, None] % 2) == (np.arange(ITEMS)[None, :] % 2)
    ratings = np.where(alike, 4.0, 2.0) + 0.3 * draw.normal(size=alike.shape)
    seen = draw.random(alike.shape) < np.where(alike, 0.4, 0.04)
    seen[-1], ratings[-1, 1] = False, 3.0
    seen[-1, 1] = True
    log = log_of(seen, ratings)
    lean = {}
    for implicit in (True, False):
        method = RatingFactors(factors=2, implicit=implicit, features=False, implicit_l2=0.3)
        ranker = method.fit(TrainingData(data_of(), log))
        found = predictions(ranker, data_of(), log)[-1]
        lean[implicit] = found[1::2].mean() - found[::2].mean()
    assert lean[True] > 0.2 > 0.0 > lean[False]


@pytest.mark.parametrize(
    ("method", "log", "words"),
    [
        (RatingFactors(), replace(LOG, weights=np.ones(len(LOG), np.float32)), "one rating only, 1"),
        (RatingFactors(), LOG.take(np.zeros(0, int)), "no rows"),
        (RatingFactors(factors=0), LOG, "factors above 0"),
        (RatingFactors(implicit_l2=-1.0), LOG, "implicit_l2 above 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused(method, log, words):
    with pytest.raises(UserError, match=words):
        method.fit(TrainingData(data_of(), log))
