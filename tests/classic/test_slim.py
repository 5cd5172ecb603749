"""SLIM at its optimality conditions, and against EASE where the two are the same."""

import numpy as np
import pytest
from test_classic import DATA, ITEMS, LOG, X, ease_by_hand, scores_of

from jaxrec.classic.slim import Slim
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.item_axis import BY_HISTORY

OFF = ~np.eye(ITEMS, dtype=bool)


def weights_of(**options):
    ranker = Slim(iterations=2_000, rho=20.0, **options).fit(TrainingData(DATA, LOG))
    weights = np.asarray(ranker.arrays.items[BY_HISTORY], np.float64)
    np.testing.assert_allclose(scores_of(ranker), X @ weights, atol=1e-5)
    return weights


@pytest.mark.parametrize("non_negative", [True, False])
def test_no_weight_can_be_moved_for_the_better(non_negative):
    """Karush-Kuhn-Tucker: the gradient of the smooth part is -l1 sign(b) where b is not 0, within l1 where it is."""
    weights = weights_of(l1=1.0, l2=4.0, non_negative=non_negative)
    gradient = X.T @ (X @ weights - X) + 4.0 * weights
    used, unused = OFF & (np.abs(weights) > 1e-6), OFF & (np.abs(weights) <= 1e-6)
    assert used.sum() > 20 and unused.sum() > 20 and not np.diag(weights).any()
    np.testing.assert_allclose(gradient[used], -np.sign(weights[used]), atol=0.02)
    assert gradient[unused].min() > -1.02 and (non_negative or gradient[unused].max() < 1.02)
    assert (weights.min() >= 0) == non_negative


def test_without_l1_and_sign_it_is_ease():
    np.testing.assert_allclose(weights_of(l1=0.0, l2=5.0, non_negative=False), ease_by_hand(5.0), atol=1e-4)


@pytest.mark.parametrize("bad", [{"l1": -1.0}, {"rho": 0.0}, {"iterations": 0}])
def test_bad_options_are_refused(bad):
    with pytest.raises(UserError, match="Slim needs l1 and l2"):
        Slim(**bad).fit(TrainingData(DATA, LOG))
    with pytest.raises(UserError, match="SLIM over 25 items needs .*max_gigabytes is 1e-06"):
        Slim(max_gigabytes=1e-6).fit(TrainingData(DATA, LOG))
