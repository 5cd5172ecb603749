"""The kernel of content rankers and item towers, against numpy."""

import numpy as np
import pytest

from jaxrec import similarity
from jaxrec.similarity import all_nearest, nearest, spelt_out

ITEMS = 30


def vectors(seed=0, items=ITEMS):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(items, 5))
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    x[4] = 0  # says nothing
    return x.astype(np.float32)


def spelt(x, warm, count, power):
    """Every weight, by the formula."""
    similar = np.maximum(x.astype(np.float64) @ x.T.astype(np.float64), 0) ** power
    similar[:, ~warm] = 0
    np.fill_diagonal(similar, 0)
    least = -np.sort(-similar, axis=1)[:, count - 1 : count]
    similar = np.where(similar >= least, similar, 0)
    return similar / np.maximum(similar.sum(1, keepdims=True), 1e-9)


@pytest.mark.parametrize(("count", "power"), [(3, 1.0), (7, 8.0), (ITEMS, 2.0)])
def test_weights_are_powers_of_the_cosine_over_their_sum(count, power):
    x, warm = vectors(), np.arange(ITEMS) % 4 > 0
    near = all_nearest(x, warm, count=count, power=power)
    assert near.rows.shape == near.weights.shape == (ITEMS, count)
    assert near.rows.dtype == np.int32
    matrix = spelt_out(near, ITEMS)
    np.testing.assert_allclose(matrix, spelt(x, warm, count, power), rtol=1e-4, atol=1e-6)
    assert np.diag(matrix).max() == 0 and matrix[:, ~warm].max() == 0
    sums = matrix.sum(1)
    np.testing.assert_allclose(sums[np.arange(ITEMS) != 4], 1, rtol=1e-5)
    assert sums[4] == 0  # nothing is alike to a text that says nothing


def test_the_most_alike_come_first():
    near = all_nearest(vectors(), np.ones(ITEMS, bool), count=6, power=2.0)
    assert (np.diff(near.weights, axis=1) <= 0).all()


def test_blocks_do_not_change_the_answer(monkeypatch):
    x, warm = vectors(), np.ones(ITEMS, bool)
    whole = all_nearest(x, warm, count=4, power=3.0)
    monkeypatch.setattr(similarity, "MAX_CELLS", 7 * ITEMS)  # blocks of 7, and a last one of 2
    parts = all_nearest(x, warm, count=4, power=3.0)
    np.testing.assert_array_equal(parts.rows, whole.rows)
    np.testing.assert_allclose(parts.weights, whole.weights, rtol=1e-6)


def test_another_text_may_be_its_twin_and_an_own_row_may_not():
    x, warm = vectors(), np.ones(ITEMS, bool)
    stranger = nearest(x[:2], np.array([-1, -1]), x, warm, count=1, power=1.0)
    assert stranger.rows[:, 0].tolist() == [0, 1]
    own = nearest(x[:2], np.array([0, 1]), x, warm, count=1, power=1.0)
    assert (np.asarray(own.rows[:, 0]) != [0, 1]).all()


def test_more_neighbours_than_items_are_the_items():
    assert all_nearest(vectors(), np.ones(ITEMS, bool), count=300, power=8.0).rows.shape == (ITEMS, ITEMS)
