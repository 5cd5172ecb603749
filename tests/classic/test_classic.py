"""Each classic ranker against its closed form in numpy, in float64."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.classic import neighbours as neighbours_module
from jaxrec.classic.content import ContentNeighbours
from jaxrec.classic.ease import Ease
from jaxrec.classic.interaction_matrix import cooccurrence
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.classic.popularity import Popular, RecentPopular
from jaxrec.data.interactions import Histories, Interactions, distinct_pairs
from jaxrec.data.queries import gather_queries
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.history_matrix import history_matrix
from jaxrec.item_axis import BY_HISTORY, item_axis
from jaxrec.ranker import Query, num_items, score_all

USERS, ITEMS = 60, 25
DATA = SimpleNamespace(num_users=USERS, num_items=ITEMS)
DAY = 86_400


def make_log(seed=0):
    """Random pairs, a tenth of them twice, in random order; the last item is nobody's."""
    draw = np.random.default_rng(seed)
    pairs = np.argwhere(draw.random((USERS, ITEMS)) < np.linspace(0.6, 0.05, ITEMS))
    pairs = pairs[pairs[:, 1] < ITEMS - 1]
    pairs = draw.permutation(np.concatenate([pairs, pairs[draw.random(len(pairs)) < 0.1]]))
    times = draw.integers(0, 60 * DAY, len(pairs))
    return Interactions(
        pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int32), times, draw.random(len(pairs)).astype(np.float32)
    )


LOG = make_log()
X = np.zeros((USERS, ITEMS))
X[LOG.user_rows, LOG.item_rows] = 1


def scores_of(ranker, log=LOG):
    histories = Histories.of(log, USERS)
    query = Query(*jax.tree.map(jnp.asarray, gather_queries(histories, np.arange(USERS), ranker.history_length, 0)))
    return np.asarray(score_all(ranker, ranker.arrays, query))


@pytest.mark.parametrize("slower", [1e9, 0], ids=["by matrix products", "pair by pair"])
def test_cooccurrence_is_x_transposed_x_whole_or_in_parts(monkeypatch, slower):
    monkeypatch.setattr("jaxrec.classic.interaction_matrix.USERS_TIMES_ITEMS", 7 * ITEMS)
    monkeypatch.setattr("jaxrec.classic.interaction_matrix.PAIRS_AT_ONCE", 1_000)
    monkeypatch.setattr("jaxrec.classic.interaction_matrix.SLOWER", slower)
    pairs = distinct_pairs(LOG, ITEMS)
    np.testing.assert_array_equal(cooccurrence(pairs, USERS, ITEMS), X.T @ X)
    np.testing.assert_array_equal(cooccurrence(pairs, USERS, ITEMS, 10, 5), (X.T @ X)[10:15])


def test_history_matrix_takes_the_larger_weight_and_leaves_out_later_items():
    history = jnp.array([[3, 1, 3, 9, -1]])
    weights = jnp.array([[1.0, 2.0, 4.0, 8.0, 16.0]])
    np.testing.assert_array_equal(history_matrix(history, 5, weights), [[0, 2, 0, 4, 0]])


def test_popular_counts_users_not_events():
    np.testing.assert_array_equal(scores_of(Popular().fit(TrainingData(DATA, LOG))), np.tile(X.sum(0), (USERS, 1)))


def test_recent_popular_counts_the_last_days_and_breaks_ties_by_popularity_ever():
    score = scores_of(RecentPopular(days=5).fit(TrainingData(DATA, LOG)))[0]
    recent = np.zeros((USERS, ITEMS))
    late = LOG.timestamps > LOG.timestamps.max() - 5 * DAY
    recent[LOG.user_rows[late], LOG.item_rows[late]] = 1
    keys = list(zip(recent.sum(0), X.sum(0), strict=True))
    for i in range(ITEMS):
        for j in range(ITEMS):
            assert (score[i] > score[j]) == (keys[i] > keys[j])


def test_recent_popular_without_times_is_popular():
    timeless = Interactions(LOG.user_rows, LOG.item_rows, np.zeros(len(LOG), np.int64), LOG.weights)
    recent, ever = (scores_of(kind.fit(TrainingData(DATA, timeless)))[0] for kind in (RecentPopular(), Popular()))
    np.testing.assert_array_equal(np.argsort(-recent, kind="stable"), np.argsort(-ever, kind="stable"))


def nearest_only(similar, k):
    kept = np.zeros_like(similar)
    for i, row in enumerate(similar):
        top = np.argsort(-row, kind="stable")[:k]
        kept[i, top] = row[top]
    return kept


@pytest.mark.parametrize("max_cells", [2**26, 1, 7 * ITEMS])
@pytest.mark.parametrize("similarity", ["cosine", "jaccard"])
def test_item_neighbours_are_the_formula(similarity, max_cells, monkeypatch):
    monkeypatch.setattr(neighbours_module, "MAX_CELLS", max_cells)
    gram = X.T @ X
    having = np.diag(gram)
    below = np.sqrt(np.outer(having, having)) if similarity == "cosine" else having[:, None] + having - gram
    similar = np.where(gram > 0, gram / np.maximum(below + 3, 1e-9), 0)
    np.fill_diagonal(similar, 0)
    expected = X @ nearest_only(similar, 6).T
    ranker = ItemNeighbours(k=6, similarity=similarity, shrink=3).fit(TrainingData(DATA, LOG))
    np.testing.assert_allclose(scores_of(ranker), expected, atol=1e-5)


def test_more_neighbours_than_items_takes_all():
    assert ItemNeighbours(k=1_000).fit(TrainingData(DATA, LOG)).arrays.items[BY_HISTORY].shape == (ITEMS, ITEMS)


def ease_by_hand(l2):
    inverse = np.linalg.inv(X.T @ X + l2 * np.eye(ITEMS))
    weights = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0)
    return weights


@pytest.mark.parametrize("l2", [1.0, 50.0])
def test_ease_is_its_closed_form(l2):
    np.testing.assert_allclose(scores_of(Ease(l2=l2).fit(TrainingData(DATA, LOG))), X @ ease_by_hand(l2), atol=2e-5)


def test_ease_solves_its_least_squares():
    """At the constrained minimum the gradient X^T(XB - X) + l2 B is zero off the diagonal."""
    weights = np.asarray(Ease(l2=10.0).fit(TrainingData(DATA, LOG)).arrays.items[BY_HISTORY])
    gradient = X.T @ (X @ weights - X) + 10.0 * weights
    np.fill_diagonal(gradient, 0)
    assert np.abs(gradient).max() < 1e-3 and not np.diag(weights).any()


def test_ease_recency_weighs_the_latest_event_most():
    ranker = Ease(l2=5.0, tau=2.0, base=0.25).fit(TrainingData(DATA, LOG))
    histories = Histories.of(LOG, USERS)
    weighed = np.zeros((USERS, ITEMS))
    for user in range(USERS):
        mine = histories.item_rows[histories.offsets[user] : histories.offsets[user + 1]][::-1]
        for rank, item in enumerate(mine):
            weighed[user, item] = max(weighed[user, item], 0.25 + np.exp(-rank / 2.0))
    np.testing.assert_allclose(scores_of(ranker), weighed @ ease_by_hand(5.0), atol=2e-5)
    assert ranker.tau == 2.0 and Ease(tau=2.0).name == "EASE-recency" and Ease().name == "EASE"


def test_ease_refuses_a_catalog_that_does_not_fit_and_says_how_much_it_needs():
    huge = SimpleNamespace(num_users=1, num_items=1_000_000)
    with pytest.raises(UserError, match="1,000,000 items needs 16,000.0 GB.*max_gigabytes is 8"):
        Ease().fit(TrainingData(huge, LOG))
    with pytest.raises(UserError, match="l2 above 0, not 0"):
        Ease(l2=0).fit(TrainingData(DATA, LOG))


def text_vectors():
    return np.random.default_rng(5).normal(size=(ITEMS, 8)).astype(np.float32) * 3


def content_by_hand(vectors, count, power):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = np.maximum(unit @ unit.T, 0) ** power
    np.fill_diagonal(similar, 0)
    kept = nearest_only(similar, count)
    return kept / kept.sum(1, keepdims=True)


def test_content_neighbours_are_the_formula():
    ranker = ContentNeighbours(neighbours=4, power=3).fit(TrainingData(DATA, LOG, text_vectors()))
    np.testing.assert_allclose(scores_of(ranker), X @ content_by_hand(text_vectors(), 4, 3).T, atol=1e-5)


@pytest.mark.parametrize("small", [4_096, 0], ids=["as a matrix", "as lists"])
def test_a_new_item_scores_as_if_it_had_been_in_the_catalog(monkeypatch, small):
    monkeypatch.setattr("jaxrec.classic.neighbours.SMALL_CATALOG", small)
    vectors = text_vectors()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    ranker = ContentNeighbours(neighbours=ITEMS, power=3).fit(TrainingData(DATA, LOG, vectors))
    twin = ranker.embed_items(ranker.arrays.shared, jnp.asarray(unit[:2]))
    grown = {name: jnp.concatenate([leaf, twin[name]], item_axis(name)) for name, leaf in ranker.arrays.items.items()}
    arrays = ranker.arrays._replace(items=grown)
    assert num_items(arrays) == ITEMS + 2
    query = Query(*jax.tree.map(jnp.asarray, gather_queries(Histories.of(LOG, USERS), np.arange(USERS), 64, 0)))
    scores = np.asarray(score_all(ranker, arrays, query))
    np.testing.assert_allclose(scores[:, :ITEMS], scores_of(ranker), atol=1e-6)
    # the new copy of item 0 has item 0 itself among its neighbours, and weighs it most
    weights = np.maximum(unit[0] @ unit.T, 0) ** 3
    np.testing.assert_allclose(scores[:, ITEMS], X @ (weights / weights.sum()), atol=1e-5)


def test_an_item_without_text_has_no_score_and_no_nan():
    vectors = text_vectors()
    vectors[3] = 0
    scores = scores_of(ContentNeighbours(neighbours=4).fit(TrainingData(DATA, LOG, vectors)))
    assert np.isfinite(scores).all() and not scores[:, 3].any()


def test_content_needs_text():
    with pytest.raises(UserError, match="need item text vectors"):
        ContentNeighbours().fit(TrainingData(DATA, LOG, None))


@pytest.mark.parametrize("kind", [Popular(), RecentPopular(), ItemNeighbours(k=30), Ease(), ContentNeighbours()])
def test_permuted_items_give_permuted_scores(kind):
    order = np.random.default_rng(9).permutation(ITEMS)
    renamed = Interactions(
        LOG.user_rows, np.argsort(order)[LOG.item_rows].astype(np.int32), LOG.timestamps, LOG.weights
    )
    before = scores_of(kind.fit(TrainingData(DATA, LOG, text_vectors())))
    after = scores_of(kind.fit(TrainingData(DATA, renamed, text_vectors()[order])), renamed)
    np.testing.assert_allclose(after, before[:, order], atol=1e-5)


@pytest.mark.parametrize("kind", [ItemNeighbours(), Ease(), ContentNeighbours()])
def test_two_tastes_are_found(kind):
    """Two groups of users, each with its own half of the items; each user lacks one item of the own half."""
    users, items = np.meshgrid(np.arange(40), np.arange(20), indexing="ij")
    kept = ((users % 2) == (items % 2)) & (items // 2 != users // 2 % 10)
    log = Interactions(
        users[kept].astype(np.int32), items[kept].astype(np.int32), np.arange(kept.sum()), np.ones(kept.sum())
    )
    draw = np.random.default_rng(0)
    vectors = np.eye(2)[np.arange(20) % 2] + draw.normal(0, 0.1, (20, 2))
    data = SimpleNamespace(num_users=40, num_items=20)
    ranker = kind.fit(TrainingData(data, log, vectors))
    query = Query(*jax.tree.map(jnp.asarray, gather_queries(Histories.of(log, 40), np.arange(40), 16, 0)))
    scores = np.array(score_all(ranker, ranker.arrays, query))
    scores[log.user_rows, log.item_rows] = -np.inf
    np.testing.assert_array_equal(scores.argmax(1), np.arange(40) // 2 % 10 * 2 + np.arange(40) % 2)
