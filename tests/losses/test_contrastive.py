"""InfoNCE is its formula, and what is not there or the same thing again is no negative."""

import jax
import jax.numpy as jnp
import numpy as np
from beartype import beartype
from jaxtyping import jaxtyped

from jaxrec.losses import contrastive

info_nce = jaxtyped(typechecker=beartype)(contrastive.info_nce)
DRAW = np.random.default_rng(0)
VIEWS, OTHERS = (jnp.asarray(DRAW.normal(size=(4, 3)), jnp.float32) for _ in range(2))
ALL = jnp.ones(4, bool)


def by_hand(views, others, there, temperature):
    views, others = (np.asarray(x, np.float64) / np.linalg.norm(x, axis=1, keepdims=True) for x in (views, others))
    odds = np.exp(views @ others.T / temperature)
    return [-np.log(odds[i, i] / sum(odds[i, j] for j in range(len(odds)) if there[j])) for i in range(len(odds))]


def test_it_is_the_formula():
    np.testing.assert_allclose(info_nce(VIEWS, OTHERS, ALL, 0.5), by_hand(VIEWS, OTHERS, [1] * 4, 0.5), rtol=1e-5)


def test_what_is_not_there_costs_nothing_and_is_no_negative():
    there = jnp.array([True, True, False, True])
    expected = np.where(np.asarray(there), by_hand(VIEWS, OTHERS, [1, 1, 0, 1], 0.5), 0.0)
    np.testing.assert_allclose(info_nce(VIEWS, OTHERS, there, 0.5), expected, rtol=1e-5)


def test_the_same_thing_again_is_no_negative():
    twice = jnp.concatenate([OTHERS, OTHERS[:1]])
    views = jnp.concatenate([VIEWS, VIEWS[:1]])
    found = info_nce(views, twice, jnp.ones(5, bool), 0.5)
    np.testing.assert_allclose(found[0], info_nce(VIEWS, OTHERS, ALL, 0.5)[0], rtol=1e-5)
    np.testing.assert_allclose(found[4], found[0], rtol=1e-6)


def test_its_slope_brings_the_views_together():
    slope = jax.grad(lambda views: info_nce(views, OTHERS, ALL, 0.5).sum())(VIEWS)
    nearer = VIEWS - 0.05 * slope
    assert info_nce(nearer, OTHERS, ALL, 0.5).sum() < info_nce(VIEWS, OTHERS, ALL, 0.5).sum()
    assert np.isfinite(jax.grad(lambda views: info_nce(views, OTHERS, ALL, 0.5).sum())(jnp.zeros((4, 3)))).all()
