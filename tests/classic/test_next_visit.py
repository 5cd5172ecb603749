"""Next visit against its least squares, written out visit by visit in float64."""

from dataclasses import replace

import numpy as np
import pytest
from test_classic import DATA, DAY, ITEMS, LOG, USERS, X, scores_of

from jaxrec.classic.next_visit import NextVisit, returns_of
from jaxrec.data.interactions import Histories, Interactions
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.item_axis import BY_HISTORY

DAYS = DAY / 60  # minutes


def visits_by_hand(log, gap):
    """(S, Y): of each visit but the first what came before it, and what is in it; gap: in seconds."""
    before, within = [], []
    for user in range(USERS):
        mine = np.flatnonzero(log.user_rows == user)
        mine = mine[np.argsort(log.timestamps[mine], kind="stable")]
        visits = [[]]
        for event, last in zip(mine, [*mine[:1], *mine], strict=False):
            if log.timestamps[event] - log.timestamps[last] > gap:
                visits.append([])
            visits[-1].append(event)
        for number in range(1, len(visits)):
            earlier = [event for visit in visits[:number] for event in visit]
            s, y = np.zeros(ITEMS), np.zeros(ITEMS)
            s[log.item_rows[earlier]] = len(earlier) ** -0.25
            y[log.item_rows[visits[number]]] = len(visits[number]) ** -0.5
            before.append(s)
            within.append(y)
    return np.array(before).reshape(-1, ITEMS), np.array(within).reshape(-1, ITEMS)


def weights_of(method, log=LOG):
    return np.asarray(method.fit(TrainingData(DATA, log)).arrays.items[BY_HISTORY], np.float64)


@pytest.mark.parametrize(("days", "whole"), [(0.5, 0.0), (6.0, 0.3), (1_000.0, 0.3)], ids=["many", "some", "none"])
@pytest.mark.parametrize("cells", [2**25, 7 * ITEMS], ids=["at once", "7 at a time"])
def test_no_weight_can_be_moved_for_the_better(monkeypatch, days, whole, cells):
    """Off the diagonal the gradient is 0, with many visits, some, and where nobody comes back."""
    monkeypatch.setattr("jaxrec.classic.next_visit.USERS_TIMES_ITEMS", cells)
    method = NextVisit(l2=1.0, whole=whole, gap=days * DAYS)
    weights = weights_of(method)
    s, y = visits_by_hand(LOG, days * DAY)
    assert (len(s) > 200) == (days < 1) and (len(s) == 0) == (days > 100)
    gradient = s.T @ (s @ weights - y) + whole * X.T @ (X @ weights - X) + weights
    assert not np.diag(weights).any() and np.abs(weights).max() > 0.01
    np.testing.assert_allclose(gradient[~np.eye(ITEMS, dtype=bool)], 0, atol=1e-4)
    np.testing.assert_allclose(scores_of(method.fit(TrainingData(DATA, LOG))), X @ weights, atol=1e-5)


def test_a_visit_ends_where_the_gap_is_passed():
    """Two users; the second begins where the first ends in the file, long after or long before: no visit spans both."""
    times = np.array([0, 10, 21, 32, 40, 5, 500, 500, 511])
    users = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1], np.int32)
    log = Interactions(users, np.arange(9, dtype=np.int32), times, np.ones(9, np.float32))
    returns = returns_of(Histories.of(log, 3), 10)
    assert [list(map(int, row)) for row in zip(*returns, strict=True)] == [
        [0, 2, 3],
        [0, 3, 5],
        [5, 6, 8],
        [5, 8, 9],
    ]
    assert not len(returns_of(Histories.of(log.take(np.arange(0)), 3), 10).starts)


def test_what_is_chosen_on_a_return_is_not_what_is_chosen_beside():
    """All have two items in one visit, and another on the next day: only that follows."""
    rows = np.tile(np.array([0, 1, 2], np.int32), USERS)
    times = np.tile(np.array([0, 60, DAY]), USERS)
    log = Interactions(np.repeat(np.arange(USERS, dtype=np.int32), 3), rows, times, np.ones(len(rows), np.float32))
    weights = weights_of(NextVisit(l2=1.0, whole=0.0), log)
    assert weights[0, 2] > 0.3 and weights[1, 2] > 0.3
    assert not weights[0, 1] and not weights[1, 0] and not weights[2].any()


def test_without_times_who_has_what_is_all_that_counts():
    log = replace(LOG, timestamps=np.zeros_like(LOG.timestamps))
    weights = weights_of(NextVisit(l2=1.0, whole=0.3), log)
    np.testing.assert_allclose(weights, weights_of(NextVisit(l2=1.0, whole=0.3, gap=1_000 * DAYS)), atol=1e-6)
    assert not weights_of(NextVisit(whole=0.0), log).any()


def test_of_too_many_visits_some_are_drawn():
    everything = weights_of(NextVisit(l2=1.0, whole=0.0, gap=DAYS))
    some = NextVisit(l2=1.0, whole=0.0, gap=DAYS, visits=100)
    assert np.abs(weights_of(some) - everything).max() > 0.01
    assert np.abs(weights_of(some)).max() > 0.01
    np.testing.assert_array_equal(weights_of(some), weights_of(some))


@pytest.mark.parametrize("bad", [{"l2": 0.0}, {"whole": -1.0}, {"gap": 0.0}, {"visits": 0}])
def test_bad_options_are_refused(bad):
    with pytest.raises(UserError, match="NextVisit needs l2 and gap above 0"):
        NextVisit(**bad).fit(TrainingData(DATA, LOG))
    with pytest.raises(UserError, match="Next visit over 25 items needs .*max_gigabytes is 1e-06"):
        NextVisit(max_gigabytes=1e-6).fit(TrainingData(DATA, LOG))
