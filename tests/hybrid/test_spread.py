"""Few sums of items tell how scores are spread over all of a probe."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.hybrid.spread import REST, TOP, moments, probe_items
from jaxrec.item_axis import BY_HISTORY, count_items, take_items

DRAW = np.random.default_rng(5)
KNOWN, ITEMS = 700, 1_500
ASKERS = (DRAW.random((40, KNOWN)) < 0.03).astype(np.float32)


def some_items():
    """Rows whose spectrum falls slowly, as those of item by item models do, and a bias of each item."""
    spectrum = np.diag(1 / np.sqrt(1 + np.arange(KNOWN)))
    matrix = DRAW.normal(size=(KNOWN, KNOWN)) @ spectrum @ DRAW.normal(size=(KNOWN, ITEMS)) + DRAW.normal(size=ITEMS)
    return {BY_HISTORY: jnp.asarray(matrix, jnp.float32), "bias": jnp.asarray(DRAW.normal(size=ITEMS), jnp.float32)}


def scores(items):
    return jnp.matmul(ASKERS, items[BY_HISTORY], precision="highest") + items["bias"][None, :]


@pytest.mark.parametrize(("probe", "near"), [(1_200, 0.04), (TOP + 9, 0.02), (TOP, 1e-4), (30, 1e-4), (1, 1e-4)])
def test_of_a_ranker_that_is_linear_in_its_items_some_sums_tell_the_spread(probe, near):
    items, rows = some_items(), np.sort(DRAW.permutation(ITEMS)[:probe])
    asked = probe_items(items, rows)
    assert count_items(asked) == 1 + min(probe, TOP) + REST
    mean, std = moments(asked, scores(asked))
    expected = np.asarray(scores(take_items(items, rows)), np.float64)
    np.testing.assert_allclose(mean, expected.mean(axis=1), atol=1e-3)
    np.testing.assert_allclose(std, expected.std(axis=1), rtol=near, atol=1e-3)
    apart = np.log(np.asarray(std) + 1e-3) - np.log(expected.std(axis=1) + 1e-3)
    assert abs(apart.mean()) < near / 4  # it is not biased


def test_others_are_asked_after_the_probe_itself():
    items, rows = {"vector": jnp.asarray(DRAW.normal(size=(50, 4)), jnp.float32)}, np.array([3, 8, 30])
    asked = probe_items(items, rows)
    np.testing.assert_array_equal(asked["vector"], items["vector"][rows])
    found = jnp.asarray(DRAW.normal(size=(2, 3)), jnp.float32)
    mean, std = moments(asked, found)
    np.testing.assert_allclose(mean, np.mean(found, axis=1), rtol=1e-5)
    np.testing.assert_allclose(std, np.std(found, axis=1), rtol=1e-5)
