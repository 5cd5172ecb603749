"""Content ridge and content profile against their formulas in numpy, and how they place new items."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.classic.content_kernel import ContentKernel, content_of, split_content
from jaxrec.classic.content_profile import ContentProfile
from jaxrec.classic.content_ridge import ContentRidge
from jaxrec.classic.ease import Ease
from jaxrec.data.cleaning import clean
from jaxrec.data.dataset import index_ids
from jaxrec.data.holdout import ColdItems
from jaxrec.data.interactions import Histories
from jaxrec.data.queries import gather_queries
from jaxrec.data.sources.synthetic import Synthetic
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.evaluate.evaluator import evaluate
from jaxrec.item_axis import BY_HISTORY, take_items
from jaxrec.ranker import Query, score_all
from jaxrec.serve.export import export
from jaxrec.serve.recommender import Recommender

USERS = 120


@pytest.fixture(scope="module")
def data():
    dataset = index_ids(clean(Synthetic(users=USERS, items=60).load())[0])
    draw = np.random.default_rng(0)
    told = dataset.catalog.tags.matrix() @ draw.normal(size=(len(dataset.catalog.tags.names), 12))
    vectors = told + 0.3 * draw.normal(size=told.shape)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    holdout = ColdItems()(dataset).refit()
    return TrainingData(dataset, holdout.train, vectors.astype(np.float32), holdout=holdout)


def query(data, ranker):
    histories = Histories.of(data.train, data.dataset.num_users)
    return Query(*jax.tree.map(jnp.asarray, gather_queries(histories, np.arange(USERS), ranker.history_length, 0)))


def held(data):
    matrix = np.zeros((data.dataset.num_users, data.dataset.num_items))
    matrix[data.train.user_rows, data.train.item_rows] = 1
    return matrix


def test_the_kernel_is_a_sum_over_text_tags_and_numbers():
    text, features = np.array([[1.0, 0.0], [0.6, 0.8]]), np.array([[0.5, 1, 1, 0], [-1.0, 0, 1, 0]])
    content = split_content(jnp.asarray(text, jnp.float32), jnp.asarray(features, jnp.float32), 1)
    found = ContentKernel(text_power=3.0, tags=0.4, numbers=0.2, length=0.5)(content, content)
    other = 0.6**3 + 0.4 / np.sqrt(2) + 0.2 * np.exp(-1.5 / 0.5)
    np.testing.assert_allclose(found, [[1.6, other], [other, 1.6]], rtol=1e-6)


def test_the_closed_form(data):
    method = ContentRidge(ease_l2=30.0, l2=2.0, popularity=0.1, damping=0.5, neighbours=0.4, neighbour_power=5.0)
    ranker = method.fit(data)
    x, warm = held(data), np.bincount(data.train.item_rows, minlength=data.dataset.num_items) > 0
    ease = np.asarray(Ease(30.0).fit(data).arrays.items[BY_HISTORY], np.float64).T
    content, _ = content_of(data, "test")
    kernel = np.asarray(method.kernel(content, content), np.float64)
    thought = x @ (ease + method.signal * np.eye(len(ease))).T  # of each item, for each user
    mean = thought[:, warm].mean(axis=1, keepdims=True)
    solve = np.linalg.inv(kernel[np.ix_(warm, warm)] + 2.0 * np.eye(warm.sum()))
    smooth = mean + (thought[:, warm] - mean) @ solve @ kernel[:, warm].T
    near = np.where(warm, np.maximum(data.text.astype(np.float64) @ data.text.T, 0) ** 5.0, 0)
    near /= near.sum(axis=1, keepdims=True)
    passed = x @ (method.neighbour_signal * ease + np.eye(len(ease))).T @ near.T
    fame = np.log1p(x.sum(axis=0))
    fame = (fame - fame[warm].mean()) / fame[warm].std()
    personal = (smooth + 0.4 * passed) / np.maximum(x.sum(axis=1, keepdims=True), 1) ** 0.5
    expected = personal + 0.1 * (kernel[:, warm] @ solve @ fame[warm])
    np.testing.assert_allclose(score_all(ranker, ranker.arrays, query(data, ranker)), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("method", [ContentRidge(), ContentProfile(), ContentProfile("euclidean")], ids=repr)
def test_new_items_are_placed_as_training_places_them(data, method, tmp_path):
    ranker = method.fit(data)
    cold = np.flatnonzero(data.holdout.test_candidates)[:7]
    features = data.dataset.catalog.features.values[cold]
    placed = ranker.embed_items(ranker.arrays.shared, jnp.asarray(data.text[cold]), jnp.asarray(features))
    for name, leaf in placed.items():
        np.testing.assert_allclose(leaf, np.asarray(take_items(ranker.arrays.items, cold)[name]), atol=2e-5)
    export(ranker, data.dataset, tmp_path / "a", item_text=data.text.shape[1])
    ids = data.dataset.item_map.take(np.array([3, 8, 1])).tolist()
    found = Recommender.load(tmp_path / "a").recommend(history=ids, k=5)
    own = Query(jnp.array([[3, 8, 1]]), jnp.ones((1, 3)), jnp.zeros((1, 3)), jnp.zeros((1, 0)), jnp.zeros((1, 0)))
    scores = np.array(score_all(ranker, ranker.arrays, own))[0]
    scores[[3, 8, 1]] = -np.inf
    assert [item.score for item in found] == pytest.approx(np.sort(scores)[::-1][:5], rel=1e-4, abs=1e-5)


def test_cold_items_are_ranked_by_what_their_text_says(data):
    method = ContentRidge(ContentKernel(tags=0.0, numbers=0.0), ease_l2=30.0)
    wrong = replace(data, text=np.random.default_rng(1).permutation(data.text))  # an item says what any other is
    ndcg = [evaluate(method.fit(d), d.dataset, d.holdout, "test", ks=(5,))["ndcg@5"] for d in (data, wrong)]
    assert ndcg[0] > ndcg[1] + 0.05


def test_profile_is_the_cosine_with_the_mean_vector(data):
    ranker = ContentProfile().fit(data)
    x = held(data)
    mean = x @ data.text.astype(np.float64)
    expected = (mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)) @ data.text.T
    np.testing.assert_allclose(score_all(ranker, ranker.arrays, query(data, ranker)), expected, atol=1e-5)
    apart = ContentProfile("euclidean").fit(data)
    mean = mean / np.maximum(x.sum(axis=1, keepdims=True), 1)
    expected = -np.linalg.norm(mean[:, None, :] - data.text[None], axis=-1)
    np.testing.assert_allclose(score_all(apart, apart.arrays, query(data, apart)), expected, atol=1e-4)


def test_what_cannot_be_is_refused(data):
    blind = replace(data, text=None)
    for method in (ContentRidge(), ContentProfile()):
        with pytest.raises(UserError, match="needs item text vectors"):
            method.fit(blind)
    with pytest.raises(UserError, match="needs l2 above 0"):
        ContentRidge(l2=0.0).fit(data)
    with pytest.raises(UserError, match="distance 'taxi'"):
        ContentProfile("taxi").fit(data)
