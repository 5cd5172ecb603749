"""Histories times an item by item matrix, in each of the ways it is done."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.classic import linear
from jaxrec.item_axis import BY_HISTORY, count_items, map_items, take_items

KNOWN = 40


@pytest.mark.parametrize("used", [0, 1, 2, 3, 5, 6, KNOWN])
@pytest.mark.parametrize("askers", [1, 7])
def test_few_items_and_many_give_the_same_products(monkeypatch, used, askers):
    monkeypatch.setattr(linear, "FEW", (2, 5, KNOWN))
    draw = np.random.default_rng(used)
    histories = np.zeros((askers, KNOWN), np.float32)
    histories[:, draw.permutation(KNOWN)[:used]] = draw.normal(size=(askers, used))
    matrix = draw.normal(size=(KNOWN, 11)).astype(np.float32)
    found = jax.jit(linear.history_products)(histories, matrix)
    np.testing.assert_allclose(found, histories.astype(np.float64) @ matrix, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_of_few_items_no_other_row_is_read(monkeypatch, count):
    monkeypatch.setattr(linear, "FEW", (2, 4))
    used = np.arange(10, 10 + count)
    histories = np.zeros((1, KNOWN), np.float32)
    histories[:, used] = 1
    spoilt = np.full((KNOWN, 4), np.nan, np.float32)
    spoilt[used] = 1
    spoilt[0] = 0  # the first of those that nobody has fills up what is looked up
    found = np.asarray(linear.history_products(jnp.asarray(histories), jnp.asarray(spoilt)))
    assert np.array_equal(found, np.full((1, 4), count)) if count <= 4 else np.isnan(found).all()


def test_items_are_counted_and_taken_along_their_axis():
    items = {"a": {BY_HISTORY: np.arange(6.0).reshape(2, 3)}, "vector": np.arange(12).reshape(3, 4)}
    some = take_items(items, np.array([2, 0]))
    assert count_items(items) == 3 and count_items(some) == 2
    np.testing.assert_array_equal(some["a"][BY_HISTORY], [[2, 0], [5, 3]])
    np.testing.assert_array_equal(some["vector"], items["vector"][[2, 0]])
    assert map_items(lambda axis, leaf: axis, items) == {"a": {BY_HISTORY: 1}, "vector": 0}
