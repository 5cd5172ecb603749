"""Histories times an item by item matrix, in each of the ways it is done."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.classic import linear
from jaxrec.history_matrix import Held, history_matrix
from jaxrec.item_axis import BY_HISTORY, count_items, map_items, take_items

KNOWN = 40


@pytest.mark.parametrize("few", [0.0, 0.5, 100.0])
@pytest.mark.parametrize("used", [0, 1, 5, 20, 40])
@pytest.mark.parametrize("askers", [1, 7])
def test_few_items_and_many_give_the_same_products(monkeypatch, few, used, askers):
    monkeypatch.setattr(linear, "FEW", few)
    draw = np.random.default_rng(used)
    history = np.where(draw.random((askers, 40)) < used / 40, draw.integers(0, KNOWN + 5, (askers, 40)), -1)
    histories = Held.of(
        history, history_matrix(history, KNOWN, draw.normal(size=history.shape).astype(np.float32) ** 2)
    )
    matrix = draw.normal(size=(KNOWN, 11)).astype(np.float32)
    found = jax.jit(linear.history_products)(histories, matrix)
    np.testing.assert_allclose(found, np.asarray(histories.matrix, np.float64) @ matrix, atol=1e-4)


@pytest.mark.parametrize("count", [1, 10, 20, 21])
def test_of_few_items_no_other_row_is_read(count):
    history = np.arange(10, 10 + count)[None]
    histories = Held.of(history, history_matrix(history, KNOWN))
    spoilt = np.full((KNOWN, 4), np.nan, np.float32)
    spoilt[history] = 1
    found = np.asarray(linear.history_products(histories, jnp.asarray(spoilt)))
    assert np.array_equal(found, np.full((1, 4), count)) if count <= 20 else np.isnan(found).all()


def test_what_stands_twice_is_held_once():
    history = np.array([[3, 1, 3, -1, 7, 1], [0, -1, -1, -1, -1, -1]])
    histories = Held.of(history, history_matrix(history, 5))
    np.testing.assert_array_equal(histories.rows, [[3, 1, -1, -1, -1, -1], [0, -1, -1, -1, -1, -1]])


def test_items_are_counted_and_taken_along_their_axis():
    items = {"a": {BY_HISTORY: np.arange(6.0).reshape(2, 3)}, "vector": np.arange(12).reshape(3, 4)}
    some = take_items(items, np.array([2, 0]))
    assert count_items(items) == 3 and count_items(some) == 2
    np.testing.assert_array_equal(some["a"][BY_HISTORY], [[2, 0], [5, 3]])
    np.testing.assert_array_equal(some["vector"], items["vector"][[2, 0]])
    assert map_items(lambda axis, leaf: axis, items) == {"a": {BY_HISTORY: 1}, "vector": 0}
