"""Pooling by hand-worked numbers; and the bag of words."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.models.encoders.bag_of_words import bag_of_words
from jaxrec.models.encoders.pooling import pool, unit

HIDDEN = jnp.array([[[3.0, 4.0], [5.0, 0.0], [100.0, 100.0]], [[-1.0, -2.0], [9.0, 9.0], [9.0, 9.0]]])
MASK = jnp.array([[True, True, False], [True, False, False]])


@pytest.mark.parametrize(
    ("how", "expected"),
    [("mean", [[4, 2], [-1, -2]]), ("cls", [[3, 4], [-1, -2]]), ("max", [[5, 4], [-1, -2]])],
)
def test_pools_read_real_tokens_only(how, expected):
    np.testing.assert_array_equal(pool(HIDDEN, MASK, how), np.array(expected, np.float32))


def test_normalized_vectors_have_length_one():
    np.testing.assert_allclose(pool(HIDDEN, MASK, "cls", normalize=True)[0], [0.6, 0.8], atol=1e-7)


@pytest.mark.parametrize("how", ["mean", "max"])
def test_no_tokens_give_zeros_and_a_finite_gradient(how):
    empty = jnp.zeros_like(MASK)
    np.testing.assert_array_equal(pool(HIDDEN, empty, how, normalize=True), np.zeros((2, 2)))
    assert np.isfinite(jax.grad(lambda h: pool(h, empty, how, normalize=True).sum())(HIDDEN)).all()
    assert np.isfinite(jax.grad(lambda v: unit(v).sum())(jnp.zeros((1, 2)))).all()


def test_pools_are_float32_from_bfloat16():
    assert pool(HIDDEN.astype(jnp.bfloat16), MASK).dtype == jnp.float32


def test_an_unknown_pool_is_named():
    with pytest.raises(ValueError, match="pool='median'; it is one of mean, cls, max"):
        pool(HIDDEN, MASK, "median")


def test_bag_of_words_cosine_is_the_share_of_common_words():
    """Four words each, two in common: the cosine of counts is 2/4; other words are orthogonal within 1/sqrt(dim)."""
    ids = jnp.array([[11, 12, 13, 14, 7], [14, 11, 21, 22, 8], [31, 32, 33, 34, 9]], jnp.int32)
    mask = jnp.array([[True] * 4 + [False]] * 3)
    vectors = np.asarray(bag_of_words(ids, mask, dim=4_096))
    np.testing.assert_allclose(vectors @ vectors.T, [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]], atol=0.06)


def test_bag_of_words_signs_are_fair_and_pinned():
    ids = jnp.arange(2_000, dtype=jnp.int32)[:, None]
    vectors = np.asarray(bag_of_words(ids, jnp.ones_like(ids, bool), dim=64)) * 8
    assert np.abs(vectors).max() == np.abs(vectors).min() == 1
    assert abs(vectors.mean()) < 4 / np.sqrt(vectors.size)
    assert np.abs(vectors.mean(0)).max() < 5 / np.sqrt(2_000)
    # stored vectors are compared with new ones: the signs of word 1 must never change
    assert "".join("+" if v > 0 else "-" for v in vectors[1][:16]) == "----+-+-+-+--+++"
