"""TF-IDF, BM25, user neighbours and the random walk against the formulas in float64."""

import numpy as np
import pytest
from test_classic import DATA, ITEMS, LOG, USERS, X, nearest_only, scores_of

from jaxrec.classic.ease import Ease
from jaxrec.classic.interaction_matrix import cooccurrence
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.classic.next_visit import NextVisit
from jaxrec.classic.random_walk import RandomWalk
from jaxrec.classic.slim import Slim
from jaxrec.classic.slist import Slist
from jaxrec.classic.user_neighbours import UserNeighbours
from jaxrec.data.interactions import Histories, Interactions, distinct_pairs
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.item_axis import BY_HISTORY

LENGTHS, HAVING = X.sum(1), X.sum(0)


def bm25(counts, k1, b):
    return (k1 + 1) / (k1 * (1 - b + b * counts / counts.mean()) + 1)


def cosine(weighed, shrink):
    gram = weighed @ weighed.T
    norms = np.sqrt(np.diag(gram))
    return gram / np.maximum(np.outer(norms, norms) + shrink, 1e-9)


@pytest.fixture(params=[4_096, 0], ids=["as a matrix", "as lists"])
def kept(request, monkeypatch):
    """How the neighbours of an item are kept."""
    monkeypatch.setattr("jaxrec.classic.neighbours.SMALL_CATALOG", request.param)


@pytest.mark.parametrize("slower", [1e9, 0], ids=["by matrix products", "pair by pair"])
def test_weighed_users_count_for_what_they_weigh(monkeypatch, slower):
    monkeypatch.setattr("jaxrec.classic.interaction_matrix.USERS_TIMES_ITEMS", 7 * ITEMS)
    monkeypatch.setattr("jaxrec.classic.interaction_matrix.PAIRS_AT_ONCE", 1_000)
    monkeypatch.setattr("jaxrec.classic.interaction_matrix.SLOWER", slower)
    weights = np.random.default_rng(3).random(USERS)
    found = cooccurrence(distinct_pairs(LOG, ITEMS), USERS, ITEMS, 10, 5, weights)
    np.testing.assert_allclose(found, (X.T @ (weights[:, None] * X))[10:15], rtol=1e-5)


def test_tfidf_and_bm25_of_items(kept):
    rare = np.log(ITEMS / (1 + LENGTHS))
    tfidf = cosine(X.T * rare, 2.0)
    weighed = X.T * rare * bm25(HAVING, 10.0, 0.7)[:, None]
    for similarity, similar in (("tfidf", tfidf), ("bm25", weighed @ weighed.T)):
        np.fill_diagonal(similar, 0)
        ranker = ItemNeighbours(k=6, similarity=similarity, shrink=2.0, k1=10.0, b=0.7).fit(TrainingData(DATA, LOG))
        np.testing.assert_allclose(scores_of(ranker), X @ nearest_only(similar, 6).T, atol=1e-4)


@pytest.mark.parametrize("few", [0, 1], ids=["in one product", "a row at a time"])
def test_user_neighbours_are_the_formula(monkeypatch, few):
    monkeypatch.setattr("jaxrec.classic.user_neighbours.FEW", few)
    rare = np.log(USERS / (1 + HAVING))
    by_bm25 = (X * rare**2) @ (X * bm25(LENGTHS, 10.0, 0.7)[:, None]).T
    similars = {"cosine": cosine(X, 2.0), "tfidf": cosine(X * rare, 2.0), "bm25": by_bm25}
    for similarity, similar in similars.items():
        ranker = UserNeighbours(k=6, similarity=similarity, shrink=2.0, k1=10.0, b=0.7).fit(TrainingData(DATA, LOG))
        # two users may be equally near: then either may be taken, so compare where the sixth is clearly apart
        edge = -np.sort(-similar, axis=1)
        clear = edge[:, 5] - edge[:, 6] > 1e-4
        assert clear.sum() > 25
        np.testing.assert_allclose(scores_of(ranker)[clear], (nearest_only(similar, 6) @ X)[clear], atol=1e-3)


def test_user_neighbours_refuse_a_matrix_that_is_too_large():
    with pytest.raises(UserError, match="UserNeighbours over 25 items needs .*60 users.*max_gigabytes is 1e-06"):
        UserNeighbours(max_gigabytes=1e-6).fit(TrainingData(DATA, LOG))


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (ItemNeighbours(k=-1), "ItemNeighbours needs k of at least 1, not -1"),
        (UserNeighbours(k=0), "UserNeighbours needs k of at least 1, not 0"),
        (RandomWalk(k=-1), "RandomWalk needs k of at least 1"),
        (RandomWalk(tau=-1.0), "RandomWalk needs tau of at least 0.001, not -1"),
        (Ease(history_length=-5), "Ease needs history_length of at least 1, not -5"),
    ],
)
def test_options_that_cannot_be_are_refused(method, said):
    with pytest.raises(UserError, match=said):
        method.fit(TrainingData(DATA, LOG))


def test_whole_powers_of_a_walk_are_powers():
    whole, same = (RandomWalk(alpha=a, beta=b).fit(TrainingData(DATA, LOG)) for a, b in ((1, 1), (1.0, 1.0)))
    np.testing.assert_array_equal(scores_of(whole), scores_of(same))


@pytest.mark.parametrize("normalize", [False, True])
def test_the_walk_is_the_product_of_its_steps(normalize, kept):
    out_of_item = (X / np.maximum(HAVING, 1)).T ** 0.8
    out_of_user = (X / LENGTHS[:, None]) ** 0.8
    walk = (out_of_item @ out_of_user) / np.maximum(HAVING, 1)[None, :] ** 0.6
    np.fill_diagonal(walk, 0)
    nearest = nearest_only(walk.T, 6)
    nearest = nearest / np.maximum(nearest.sum(1, keepdims=True), 1e-20) if normalize else nearest
    ranker = RandomWalk(k=6, alpha=0.8, beta=0.6, normalize=normalize).fit(TrainingData(DATA, LOG))
    np.testing.assert_allclose(scores_of(ranker), X @ nearest.T, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [ItemNeighbours, RandomWalk, Slim])
def test_recency_weighs_the_history_and_nothing_else(kind):
    histories = Histories.of(LOG, USERS)
    weighed = np.zeros((USERS, ITEMS))
    for user in range(USERS):
        mine = histories.item_rows[histories.offsets[user] : histories.offsets[user + 1]][::-1]
        for rank, item in enumerate(mine):
            weighed[user, item] = max(weighed[user, item], 0.3 + np.exp(-rank / 2.0))
    ranker = kind(tau=2.0, base=0.3).fit(TrainingData(DATA, LOG))
    items = {k: np.asarray(v, np.float64) for k, v in kind().fit(TrainingData(DATA, LOG)).arrays.items.items()}
    np.testing.assert_allclose(scores_of(ranker), weighed @ items[BY_HISTORY], rtol=1e-4, atol=1e-5)
    assert "recency" in kind(tau=2.0).name and "recency" not in kind().name


@pytest.mark.parametrize(
    "kind",
    [
        RandomWalk(k=30),
        Slim(),
        Slist(),
        NextVisit(l2=1.0),
        ItemNeighbours(k=30, similarity="bm25"),
        UserNeighbours(k=60),
    ],
)
def test_permuted_items_give_permuted_scores(kind):
    order = np.random.default_rng(9).permutation(ITEMS)
    renamed = Interactions(
        LOG.user_rows, np.argsort(order)[LOG.item_rows].astype(np.int32), LOG.timestamps, LOG.weights
    )
    before = scores_of(kind.fit(TrainingData(DATA, LOG)))
    after = scores_of(kind.fit(TrainingData(DATA, renamed)), renamed)
    np.testing.assert_allclose(after, before[:, order], rtol=1e-4, atol=1e-4)
