"""BPR's parts against numpy, and planted tastes that it must find."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.classic import bpr
from jaxrec.classic.bpr import BprFactors, Owned
from jaxrec.data.interactions import Histories, Interactions
from jaxrec.data.queries import gather_queries
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.ranker import Query, score_all

USERS, ITEMS = 60, 24
DATA = SimpleNamespace(num_users=USERS, num_items=ITEMS)
DRAW = np.random.default_rng(0)
ALIKE = (np.arange(USERS)[:, None] % 2) == (np.arange(ITEMS)[None, :] % 2)
HAS = ALIKE & (DRAW.random(ALIKE.shape) < 0.6)
METHOD = BprFactors(factors=8, epochs=400, learning_rate=0.02)


def log_of(has):
    pairs = DRAW.permutation(np.argwhere(has)).astype(np.int32)
    return Interactions(pairs[:, 0], pairs[:, 1], np.arange(len(pairs)), np.ones(len(pairs), np.float32))


LOG = log_of(HAS)


def scores_of(ranker, log=LOG):
    query = gather_queries(Histories.of(log, USERS), np.arange(USERS), ranker.history_length, 0)
    return np.asarray(score_all(ranker, ranker.arrays, Query(*jax.tree.map(jnp.asarray, query))))


@pytest.fixture(scope="module")
def ranker():
    return METHOD.fit(TrainingData(DATA, LOG))


def test_what_users_have_is_found_by_bisection():
    users, items = np.nonzero(HAS)
    offsets = np.concatenate([[0], np.cumsum(HAS.sum(1))]).astype(np.int32)
    owned = Owned(*(jnp.asarray(column, jnp.int32) for column in (offsets, users, items)))
    every = np.meshgrid(np.arange(USERS), np.arange(ITEMS), indexing="ij")
    np.testing.assert_array_equal(bpr.has(owned, *map(jnp.asarray, every)), HAS)


def test_the_loss_is_its_formula():
    params = {name: DRAW.normal(size=(ITEMS, 3)) for name in ("factors", "held")} | {"bias": DRAW.normal(size=ITEMS)}
    drawn = np.array([[0, 1, 1, 2], [5, 5, 5, 5]])
    wanted, other = np.array([[1, 2], [5, 5]]), np.array([[7, 8], [9, 10]])
    real, length, l2, alpha = np.array([[1, 1], [1, 0]]), np.array([3, 4]), 0.1, 0.4
    total = 0.0
    for u, p in np.argwhere(real):
        i, j = wanted[u, p], other[u, p]
        rest = [params["held"][k] for k in drawn[u] if k != i]
        user = (np.mean(rest, axis=0) if rest else np.zeros(3)) * (length[u] - 1) ** (1 - alpha)
        apart = user @ (params["factors"][i] - params["factors"][j]) + params["bias"][i] - params["bias"][j]
        squares = sum((params["factors"][k] ** 2).sum() for k in (i, j))
        squares += np.mean([(params["held"][k] ** 2).sum() for k in drawn[u]])
        total += np.log1p(np.exp(-apart)) + l2 * squares
    arrays = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
    found = bpr._loss(
        arrays, *map(jnp.asarray, (drawn, length, wanted, other)), jnp.asarray(real, jnp.float32), l2, alpha
    )
    assert found == pytest.approx(total / 3, rel=1e-5)


def test_planted_tastes_are_found(ranker):
    scores = np.where(HAS, -np.inf, scores_of(ranker))
    best = np.argsort(-scores, axis=1)[:, :2]
    assert np.mean(ALIKE[np.arange(USERS)[:, None], best]) > 0.95


def test_a_score_is_the_sum_of_what_the_user_has(ranker):
    items = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), ranker.arrays.items)
    users = HAS @ items["held"] / np.sqrt(np.maximum(HAS.sum(1, keepdims=True), 1))
    np.testing.assert_allclose(scores_of(ranker), users @ items["factors"].T + items["bias"], rtol=1e-3, atol=1e-3)


def test_rows_in_another_order_give_the_same_scores(ranker):
    mixed = LOG.take(DRAW.permutation(len(LOG)))
    np.testing.assert_array_equal(scores_of(METHOD.fit(TrainingData(DATA, mixed)), LOG), scores_of(ranker))


@pytest.mark.parametrize(
    ("method", "log", "words"),
    [
        (BprFactors(factors=0), LOG, "factors above 0"),
        (BprFactors(learning_rate=0.0), LOG, "learning_rate above 0"),
        (BprFactors(), log_of(np.ones((3, ITEMS), bool)), "no user has both"),
        (BprFactors(), LOG.take(np.zeros(0, int)), "0 pairs"),
    ],
)
def test_what_cannot_be_fitted_is_refused(method, log, words):
    with pytest.raises(UserError, match=words):
        method.fit(TrainingData(DATA, log))
