"""The trained model as a ranker: the same numbers as the model, for old items and for new ones."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import planted_tastes as planted
import pytest

from jaxrec.models.profiles.autoencoder import Autoencoder
from jaxrec.models.profiles.gan import Gan
from jaxrec.models.profiles.transformer import Transformer
from jaxrec.models.scorers.cosine import Cosine
from jaxrec.models.scorers.mlp import Mlp
from jaxrec.ranker import rank, score_all
from jaxrec.tasks.item_table import Neighbourhood, item_table
from jaxrec.tasks.ranker import two_tower_ranker
from jaxrec.tasks.retrieval import Retrieval

pytestmark = pytest.mark.usefixtures("quick_compile")
D = planted.DIM
MODELS = {
    "identity": planted.model(),
    "autoencoder": planted.model(Autoencoder(D, 4), Autoencoder(D, 4, "interactions"), scorer=Cosine()),
    "gan": planted.model(Gan(D, 8), Gan(D, 8), scorer=Mlp(6)),
    "transformer": planted.model(Transformer(D, 1, causal=False), Transformer(D, 1)),
}
JOB = planted.job()
QUERY = JOB.queries()


def made(model, near=planted.NEAR):
    table = item_table(JOB.log, JOB.text, JOB.features, near)
    shapes = jax.eval_shape(Retrieval(model).init, jax.random.key(0), table, JOB.source.gather(np.arange(4), RNG))
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda p: jnp.asarray(0.5 * rng.normal(size=p.shape), p.dtype), shapes)
    return two_tower_ranker(model, params, table, near, 2 * planted.EACH), params, table


RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", MODELS)
def test_arrays_score_as_the_model(name):
    ranker, params, table = made(MODELS[name])
    ours = jax.jit(partial(score_all, ranker))(ranker.arrays, QUERY)
    expected, losses = jax.jit(MODELS[name].apply)({"params": params}, table, QUERY)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
    assert ours.shape == (planted.USERS, planted.ITEMS) and losses == {}


@pytest.mark.parametrize("name", MODELS)
def test_a_new_item_gets_the_row_of_the_cold_item_that_is_the_same(name):
    ranker, _, _ = made(MODELS[name])
    new = jax.jit(ranker.embed_items)(ranker.arrays.shared, JOB.text[planted.NEW], JOB.features[planted.NEW])
    old = jax.tree.map(lambda rows: rows[planted.NEW], ranker.arrays.items)
    assert jax.tree.structure(new) == jax.tree.structure(old)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), new, old)


def test_a_ranker_without_neighbours_embeds_new_items_too():
    ranker, _, _ = made(MODELS["identity"], Neighbourhood(count=0))
    new = ranker.embed_items(ranker.arrays.shared, JOB.text[planted.NEW], JOB.features[planted.NEW])
    np.testing.assert_allclose(new["vector"], ranker.arrays.items["vector"][planted.NEW], rtol=1e-4, atol=1e-5)


def test_blocks_of_items_score_as_the_whole_and_profiles_are_what_is_scored():
    ranker, _, _ = made(MODELS["identity"])
    arrays = ranker.arrays
    user = ranker.user(arrays, QUERY)
    block = jax.tree.map(lambda rows: rows[5:9], arrays.items)
    whole = ranker.score(arrays.shared, arrays.items, user)
    np.testing.assert_allclose(ranker.score(arrays.shared, block, user), whole[:, 5:9], rtol=1e-5, atol=1e-6)
    profile, items = ranker.user_profile(arrays, QUERY), ranker.item_profile(arrays.shared, arrays.items)
    np.testing.assert_allclose(profile @ items.T, whole, rtol=1e-4, atol=1e-5)


def test_permuted_items_give_permuted_answers():
    ranker, _, _ = made(MODELS["identity"])
    order = np.random.default_rng(3).permutation(planted.ITEMS)
    place = np.argsort(order)  # where an old row has gone
    arrays = ranker.arrays._replace(items=jax.tree.map(lambda rows: rows[order], ranker.arrays.items))
    moved = np.where(QUERY.history < 0, -1, place[QUERY.history]).astype(np.int32)
    allowed = jnp.ones(planted.ITEMS, bool)
    asked = type(QUERY)(moved, QUERY.weights, QUERY.ages, QUERY.features, QUERY.text)
    before = rank(ranker, ranker.arrays, QUERY, QUERY.history, allowed, k=3)
    after = rank(ranker, arrays, asked, moved, allowed, k=3)
    np.testing.assert_array_equal(order[after.rows], before.rows)
