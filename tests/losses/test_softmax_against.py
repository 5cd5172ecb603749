import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.losses import next_item
from jaxrec.losses.next_item import softmax_against

BATCH, POSITIONS, DIM, ITEMS = 6, 5, 4, 11


def values(columns):
    rng = np.random.default_rng(0)
    states = rng.normal(size=(BATCH, POSITIONS, DIM)).astype(np.float32)
    table = rng.normal(size=(ITEMS, DIM)).astype(np.float32)
    bias = rng.normal(size=ITEMS).astype(np.float32)
    targets = rng.integers(0, ITEMS, (BATCH, POSITIONS)).astype(np.int32)
    weights = rng.uniform(0, 2, (BATCH, POSITIONS)).astype(np.float32) * (rng.random((BATCH, POSITIONS)) > 0.3)
    return states, table, bias, targets, weights, np.asarray(columns, np.int32)


def fused(states, table, bias, targets, weights, rows):
    return softmax_against(states, table[targets], bias[targets], table[rows], bias[rows], rows, targets, weights)


def spelt_out(states, table, bias, targets, weights, rows):
    """Every target against itself and the columns that are other items."""
    total = 0.0
    for b in range(BATCH):
        for t in range(POSITIONS):
            target = int(targets[b, t])
            others = jnp.array([target, *(int(r) for r in rows if r != target)])
            scores = table[others] @ states[b, t] + bias[others]
            total += weights[b, t] * (jax.nn.logsumexp(scores) - scores[0])
    return total


@pytest.mark.parametrize("columns", [range(ITEMS), [3, 3, 7, 1]], ids=["all", "some"])
@pytest.mark.parametrize("largest", [1 << 23, 2 * POSITIONS * ITEMS, 1], ids=["whole", "chunks", "singly"])
def test_value_and_gradients(columns, largest, monkeypatch):
    monkeypatch.setattr(next_item, "LARGEST", largest)
    states, table, bias, targets, weights, rows = values(columns)

    def of(function):
        return jax.value_and_grad(lambda *a: 3 * function(*a, targets, weights, rows), (0, 1, 2))(states, table, bias)

    (found, grads), (expected, expected_grads) = of(fused), of(spelt_out)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    for a, b in zip(grads, expected_grads, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_large_scores_stay_finite():
    states, table, bias, targets, weights, rows = values(range(ITEMS))
    loss, grads = jax.value_and_grad(fused)(1e4 * states, table, bias, targets, weights, rows)
    assert np.isfinite(loss) and np.isfinite(grads).all()
