import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.models.scorers.cosine import Cosine, unit
from jaxrec.models.scorers.dot import Dot
from jaxrec.models.scorers.euclidean import Euclidean
from jaxrec.models.scorers.mlp import Mlp

pytestmark = pytest.mark.usefixtures("quick_compile")
RNG = np.random.default_rng(0)
USERS, ITEMS = RNG.normal(size=(4, 6)).astype(np.float32), RNG.normal(size=(7, 6)).astype(np.float32)
SCORERS = {"dot": Dot(), "cosine": Cosine(0.2), "euclidean": Euclidean(), "mlp": Mlp(5)}


def scores(scorer, users=USERS, items=ITEMS):
    params = scorer.init(jax.random.key(0), USERS, ITEMS)
    return np.asarray(scorer.apply(params, users, items)), params.get("params", {})


def test_each_is_its_formula_pair_by_pair():
    lengths = np.linalg.norm(USERS, axis=1)[:, None] * np.linalg.norm(ITEMS, axis=1)[None, :]
    np.testing.assert_allclose(scores(Dot())[0], USERS @ ITEMS.T, rtol=1e-5)
    np.testing.assert_allclose(scores(Cosine(0.2))[0], USERS @ ITEMS.T / lengths / 0.2, rtol=1e-5)
    apart = np.square(USERS[:, None] - ITEMS[None]).sum(-1)
    np.testing.assert_allclose(scores(Euclidean())[0], -apart, rtol=1e-5)
    ours, params = scores(Mlp(5))
    params = jax.tree.map(np.asarray, params)
    both = np.concatenate([np.repeat(USERS[:, None], 7, 1), np.repeat(ITEMS[None], 4, 0)], axis=-1)
    kernel = np.concatenate([params["user"]["kernel"], params["item"]["kernel"]])
    hidden = np.maximum(both @ kernel + params["user"]["bias"], 0)
    np.testing.assert_allclose(ours, (hidden @ params["out"]["kernel"])[..., 0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SCORERS)
def test_a_block_scores_as_the_whole(name):
    whole, _ = scores(SCORERS[name])
    block, _ = scores(SCORERS[name], USERS[1:3], ITEMS[2:6])
    np.testing.assert_allclose(block, whole[1:3, 2:6], rtol=1e-5, atol=1e-6)


def test_only_the_mlp_has_parameters():
    assert [bool(scores(scorer)[1]) for scorer in SCORERS.values()] == [False, False, False, True]


def test_cosine_knows_no_length_and_lies_within_its_temperature():
    plain, _ = scores(Cosine(0.5))
    longer, _ = scores(Cosine(0.5), 3 * USERS, 0.1 * ITEMS)
    np.testing.assert_allclose(longer, plain, rtol=1e-4)
    assert np.abs(plain).max() <= 2 + 1e-5


def test_a_zero_vector_scores_zero_with_a_finite_gradient():
    zeros = jnp.zeros((2, 6))
    assert np.abs(scores(Cosine(), zeros)[0]).max() == 0
    gradient = jax.grad(lambda users: Cosine().apply({}, users, ITEMS).sum())(zeros)
    assert np.isfinite(gradient).all() and np.abs(gradient).max() < 1e3
    np.testing.assert_allclose(unit(jnp.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]], rtol=1e-6)


def test_the_nearest_item_is_the_best_by_distance():
    ours, _ = scores(Euclidean(), ITEMS)
    assert (ours.argmax(axis=1) == np.arange(7)).all()
    np.testing.assert_allclose(np.diag(ours), 0, atol=1e-5)
