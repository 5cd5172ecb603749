"""SLIST against its least squares, written out row by row in float64."""

import numpy as np
import pytest
from test_classic import DATA, ITEMS, LOG, USERS, X, scores_of

from jaxrec.classic.slist import Slist
from jaxrec.data.interactions import Interactions
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.item_axis import BY_HISTORY


def rows_by_hand(log, window):
    """(S, Y): of each event, what came before it and what came from it on."""
    before, onward = [], []
    for user in range(USERS):
        mine = np.flatnonzero(log.user_rows == user)
        items = log.item_rows[mine[np.argsort(log.timestamps[mine], kind="stable")]]
        for at in range(len(items)):
            s, y = np.zeros(ITEMS), np.zeros(ITEMS)
            for k in range(1, min(window, len(items)) + 1):
                if at - k >= 0:
                    s[items[at - k]] += 1 / k
                if at + k - 1 < len(items):
                    y[items[at + k - 1]] += 1 / k
            before.append(s)
            onward.append(y)
    return np.array(before), np.array(onward)


@pytest.mark.parametrize(("window", "whole"), [(1, 0.0), (3, 0.0), (3, 0.5), (40, 0.5), (10**9, 0.5)])
@pytest.mark.parametrize("log", [LOG, LOG.take(np.flatnonzero(LOG.user_rows == 3)[:4])], ids=["all", "4 events"])
def test_no_weight_can_be_moved_for_the_better(log, window, whole):
    """Off the diagonal the gradient is 0; window 40 is longer than any history, and a longer one costs no more."""
    ranker = Slist(l2=4.0, whole=whole, window=window, tau=None).fit(TrainingData(DATA, log))
    weights = np.asarray(ranker.arrays.items[BY_HISTORY], np.float64)
    s, y = rows_by_hand(log, window)
    x = np.zeros_like(X)
    x[log.user_rows, log.item_rows] = 1
    gradient = s.T @ (s @ weights - y) + whole * x.T @ (x @ weights - x) + 4.0 * weights
    assert not np.diag(weights).any() and np.abs(weights).max() > 0.05
    np.testing.assert_allclose(gradient[~np.eye(ITEMS, dtype=bool)], 0, atol=1e-4)
    np.testing.assert_allclose(scores_of(ranker, log), x @ weights, atol=1e-5)


def test_what_comes_after_is_not_what_came_before():
    """All have the items in the order of their rows: what follows an item is the next, not the one before."""
    rows = np.tile(np.arange(ITEMS, dtype=np.int32), USERS)
    log = Interactions(
        np.repeat(np.arange(USERS, dtype=np.int32), ITEMS),
        rows,
        rows.astype(np.int64),
        LOG.weights[:1].repeat(len(rows)),
    )
    ranker = Slist(l2=1.0, whole=0.0, tau=1.0, base=0.0).fit(TrainingData(DATA, log))
    weights = np.asarray(ranker.arrays.items[BY_HISTORY])
    forward, backward = (weights[np.arange(5, 20), np.arange(5, 20) + step] for step in (1, -1))
    assert forward.min() > 0.4 and backward.max() < 0


@pytest.mark.parametrize("bad", [{"l2": 0.0}, {"whole": -1.0}, {"window": 0}])
def test_bad_options_are_refused(bad):
    with pytest.raises(UserError, match="Slist needs l2 above 0"):
        Slist(**bad).fit(TrainingData(DATA, LOG))
    with pytest.raises(UserError, match="SLIST over 25 items needs .*max_gigabytes is 1e-06"):
        Slist(max_gigabytes=1e-6).fit(TrainingData(DATA, LOG))
