"""Ranking losses against their formulas in numpy, float64 where it matters."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from beartype import beartype
from beartype.roar import BeartypeException
from jaxtyping import TypeCheckError, jaxtyped

from jaxrec.losses import ranking

full_softmax, in_batch_softmax, bpr, binary_cross_entropy, holds = (
    jaxtyped(typechecker=beartype)(getattr(ranking, name))
    for name in ("full_softmax", "in_batch_softmax", "bpr", "binary_cross_entropy", "holds")
)


def array(values, dtype=np.float32):
    return jnp.asarray(values, dtype)


SCORES = np.array([[0.5, -1.0, 2.0, 0.0, 1.0], [1.0, 1.0, -2.0, 0.3, 0.0]])


def log_sigmoid(x):
    return -np.log1p(np.exp(-np.asarray(x, np.float64)))


def test_full_softmax_is_the_weighted_mean_over_targets_and_leaves_out_what_is_excluded():
    excluded = np.zeros((2, 5), bool)
    excluded[0, 1] = excluded[1, [0, 4]] = True
    loss = full_softmax(
        array(SCORES),
        array([[2, 4], [3, -1]], np.int32),
        array([[1.0, 0.25], [2.0, 0.0]]),
        array(excluded, bool),
    )
    first = np.log(np.exp(SCORES[0][[0, 2, 3, 4]]).sum())
    second = np.log(np.exp(SCORES[1][[1, 2, 3]]).sum())
    expected = [(1.0 * (first - 2.0) + 0.25 * (first - 1.0)) / 1.25, second - 0.3]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_full_softmax_with_equal_weights_is_the_multinomial_likelihood_per_event():
    from jaxrec.losses.reconstruction import multinomial

    targets, nobody = array([[0, 3], [1, 2]], np.int32), jnp.zeros((2, 5), bool)
    counts = np.zeros((2, 5), np.float32)
    counts[[0, 0, 1, 1], [0, 3, 1, 2]] = 1
    ours = full_softmax(array(SCORES), targets, jnp.ones((2, 2)), nobody)
    np.testing.assert_allclose(ours, multinomial(array(SCORES), array(counts)), rtol=1e-6)


def test_holds_finds_every_copy_and_padding_holds_nothing():
    own = array([[3, -1, 7], [-1, -1, -1], [9, 9, 0]], np.int32)
    rows = array([7, 3, 3, -1, 0, 8], np.int32)
    expected = [[1, 1, 1, 0, 0, 0], [0] * 6, [0, 0, 0, 0, 1, 0]]
    np.testing.assert_array_equal(holds(own, rows), np.array(expected, bool))


@pytest.mark.parametrize("seed", range(3))
def test_holds_equals_comparing_all_with_all(seed):
    rng = np.random.default_rng(seed)
    own, rows = rng.integers(-1, 12, (5, 7)), rng.integers(-1, 12, 9)
    expected = ((rows[None, None, :] == own[:, :, None]) & (own[:, :, None] >= 0)).any(axis=1)
    np.testing.assert_array_equal(holds(array(own, np.int32), array(rows, np.int32)), expected)


def test_in_batch_softmax_is_a_softmax_over_own_target_and_negatives():
    is_negative = np.array([[0, 1, 0, 1, 1], [1, 0, 1, 0, 0]], bool)
    log_count = np.log([[1, 2, 1, 0.5, 3], [0.1, 1, 4, 1, 1]])
    loss = in_batch_softmax(
        array(SCORES),
        array([[2, 0], [1, 0]], np.int32),
        array([[1, 3], [1, 0]]),
        array(is_negative, bool),
        array(log_count),
    )
    corrected = np.exp(SCORES) / np.exp(log_count)
    against = (corrected * is_negative).sum(1)
    first = [np.log(1 + against[0] / np.exp(s)) for s in (2.0, 0.5)]
    np.testing.assert_allclose(loss, [(first[0] + 3 * first[1]) / 4, np.log(1 + against[1] / np.exp(1.0))], rtol=1e-6)


def in_batch_of_one(scores, target, drawn, share):
    """The loss of one asker whose target stands beside other askers' targets, as the task puts it together."""
    rows = array([target, *drawn], np.int32)
    log_count = np.log(share)[np.asarray(rows)] + np.log(len(drawn))
    is_negative = ~holds(array([[target]], np.int32), rows)
    own, weight = jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1))
    return float(in_batch_softmax(array(scores)[rows][None], own, weight, is_negative, array(log_count)[None])[0])


def full_of_one(scores, target):
    return np.log(np.exp(scores).sum()) - scores[target]


def test_with_every_item_drawn_as_often_as_its_share_it_equals_the_full_softmax():
    scores, share = np.array([0.3, -0.7, 1.2, 0.1]), np.array([4, 1, 2, 3]) / 10
    drawn = np.repeat(np.arange(4), (4, 1, 2, 3))
    for target in range(4):
        assert in_batch_of_one(scores, target, drawn, share) == pytest.approx(full_of_one(scores, target), rel=1e-6)


def test_in_expectation_over_the_draws_the_denominator_is_that_of_the_full_softmax():
    """exp(loss) = 1 + sum over negatives of exp(s_j - s) / count_j is linear in the draws: all of them, by chance."""
    scores, share, target = np.array([0.3, -0.7, 1.2]), np.array([0.6, 0.1, 0.3]), 0
    mean = sum(
        np.prod(share[list(drawn)]) * np.exp(in_batch_of_one(scores, target, drawn, share))
        for drawn in itertools.product(range(3), repeat=4)
    )
    assert mean == pytest.approx(np.exp(full_of_one(scores, target)), rel=1e-5)


def test_bpr_and_bce_are_means_over_targets_and_true_negatives():
    positive, negative = np.array([[2.0, 0.5], [1.0, 9.0]]), np.array([[0.0, 3.0, -1.0], [0.2, 0.4, 5.0]])
    weights, real = np.array([[1.0, 2.0], [0.5, 0.0]]), np.array([[1, 1, 0], [1, 0, 1]], bool)
    of_bpr = bpr(array(positive), array(negative), array(weights), array(real, bool))
    of_bce = binary_cross_entropy(array(positive), array(negative), array(weights), array(real, bool))

    def pairs(row, target):
        return -log_sigmoid(positive[row, target] - negative[row][real[row]]).mean()

    np.testing.assert_allclose(of_bpr, [(pairs(0, 0) + 2 * pairs(0, 1)) / 3, pairs(1, 0)], rtol=1e-6)
    against = [-log_sigmoid(-negative[row][real[row]]).mean() for row in range(2)]
    yes = [-(log_sigmoid(2.0) + 2 * log_sigmoid(0.5)) / 3, -log_sigmoid(1.0)]
    np.testing.assert_allclose(of_bce, np.add(yes, against), rtol=1e-6)


def test_bpr_knows_differences_only():
    args = array([[2.0, 0.5]]), array([[0.0, 3.0]]), jnp.ones((1, 2)), jnp.ones((1, 2), bool)
    shifted = args[0] + 5, args[1] + 5, *args[2:]
    np.testing.assert_allclose(bpr(*args), bpr(*shifted), rtol=1e-5)


NOTHING_LEFT = {
    "full": lambda s: full_softmax(s, jnp.full((2, 1), -1), jnp.zeros((2, 1)), jnp.ones((2, 5), bool)),
    "in-batch": lambda s: in_batch_softmax(
        s, jnp.zeros((2, 1), jnp.int32), jnp.ones((2, 1)), jnp.zeros((2, 5), bool), jnp.zeros((2, 5))
    ),
    "bpr": lambda s: bpr(s[:, :2], s, jnp.zeros((2, 2)), jnp.zeros((2, 5), bool)),
    "bce": lambda s: binary_cross_entropy(s[:, :2], s, jnp.zeros((2, 2)), jnp.zeros((2, 5), bool)),
}


@pytest.mark.parametrize("name", NOTHING_LEFT)
def test_with_nothing_left_loss_and_gradient_are_zero(name):
    loss, gradient = jax.value_and_grad(lambda s: NOTHING_LEFT[name](s).sum())(array(SCORES))
    assert float(loss) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_an_excluded_item_gets_no_gradient():
    excluded = jnp.zeros((2, 5), bool).at[0, 1].set(True)
    targets = array([[2], [3]], np.int32)
    gradient = jax.grad(lambda s: full_softmax(s, targets, jnp.ones((2, 1)), excluded).sum())(array(SCORES))
    soft = np.exp(SCORES[0]) * [1, 0, 1, 1, 1]
    np.testing.assert_allclose(gradient[0], soft / soft.sum() - [0, 0, 1, 0, 0], atol=1e-6)


def test_shapes_and_types_are_checked():
    with pytest.raises((TypeCheckError, BeartypeException)):
        full_softmax(array(SCORES), jnp.zeros((3, 1), jnp.int32), jnp.ones((2, 1)), jnp.zeros((2, 5), bool))
    with pytest.raises((TypeCheckError, BeartypeException)):
        bpr(array(SCORES), array(SCORES), jnp.ones((2, 5)), jnp.ones((2, 5)))
