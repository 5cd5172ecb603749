"""Measures of tags, by hand."""

import numpy as np
import pytest

from jaxrec.evaluate.tags import best_threshold, item_tag_figures, mean_figure, user_tag_figures

SCORES = np.array([[0.9, 0.2, 0.1], [0.8, 0.7, 0.3], [0.4, 0.6, 0.2]])
TRUTH = np.array([[1, 0, 0], [1, 0, 1], [1, 1, 0]], bool)


def test_item_figures_by_hand():
    found = item_tag_figures(SCORES, TRUTH, 0.5, at=1)
    # given: a, a b, b; carried: a, a c, a b; right: a, a, b
    assert found.micro_f1.value == pytest.approx(2 * 3 / (4 + 5))
    assert found.macro_f1.value == pytest.approx((2 * 2 / (2 + 3) + 2 * 1 / (2 + 1) + 0) / 3)
    assert found.precision.value == 1 and found.micro_f1.low <= found.micro_f1.value <= found.micro_f1.high


def test_the_best_threshold_is_the_best_of_all():
    draw = np.random.default_rng(0)
    truth = draw.random((50, 4)) < 0.3
    scores = truth * 0.5 + draw.random((50, 4))
    best = best_threshold(scores, truth)

    def f1(threshold):
        given = scores >= threshold
        return 2 * (given & truth).sum() / (given.sum() + truth.sum())

    assert f1(best) == pytest.approx(max(f1(t) for t in scores.ravel()), abs=0.01)


def test_user_figures_by_hand():
    gains = np.array([[0.0, 2.0, 1.0], [0.0, -1.0, 0.0]])
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    counts = np.array([[0.0, 2.0, 1.0], [1.0, 0.0, 0.0]])
    found = user_tag_figures(scores, gains, counts, np.array([2.0, 1.0]), np.array([0.5, 0.25, 0.25]), k=2)
    discount = 1 / np.log2(3)
    assert found.ndcg[0] == pytest.approx(2 * discount / (2 + discount))
    assert found.f1[0] == pytest.approx(2 * 1 / (2 + 2))
    assert found.lift[0] == pytest.approx((0 + 1.0) / 0.75)
    assert np.isnan(found.ndcg[1]) and np.isnan(found.f1[1]) and np.isnan(found.lift[1])
    assert mean_figure(found.f1).value == pytest.approx(0.5)


def test_permuted_tags_give_the_same():
    draw = np.random.default_rng(1)
    scores, counts = draw.random((20, 8)), draw.integers(0, 5, (20, 8)).astype(float)
    gains, base, order = draw.random((20, 8)), draw.random(8), draw.permutation(8)
    one = user_tag_figures(scores, gains, counts, counts.sum(1), base)
    other = user_tag_figures(scores[:, order], gains[:, order], counts[:, order], counts.sum(1), base[order])
    for name in ("ndcg", "f1", "lift"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name))
