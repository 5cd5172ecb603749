import subprocess
import sys

import numpy as np

from jaxrec.data.interactions import Histories, Interactions
from jaxrec.data.queries import asking_times, gather_queries

DAY = 86_400


def log(users, items, days, weights=None):
    weights = np.ones(len(users)) if weights is None else weights
    return Interactions(
        np.array(users, np.int32), np.array(items, np.int32), np.array(days, np.int64) * DAY, np.float32(weights)
    )


LOG = log([0, 0, 0, 2], [5, 6, 7, 8], [1, 3, 2, 4], [1, 2, 3, 4])
HISTORIES = Histories.of(LOG, 4)


def test_a_query_holds_the_latest_events_oldest_first_and_padding_at_the_end():
    query = gather_queries(HISTORIES, np.array([0, 2, 3, -1]), 2, np.array([5, 6, 7, 8]) * DAY)
    np.testing.assert_array_equal(query.history, [[7, 6], [8, -1], [-1, -1], [-1, -1]])
    np.testing.assert_array_equal(query.weights, [[3, 2], [4, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(query.ages, [[3, 2], [2, 0], [0, 0], [0, 0]])
    assert query.features.shape == query.text.shape == (4, 0)
    assert [leaf.dtype for leaf in query.named().values()] == [np.int32] + [np.float32] * 4


def test_nobody_has_no_features_and_no_text():
    table = np.arange(8, dtype=np.float32).reshape(4, 2)
    query = gather_queries(HISTORIES, np.array([3, -1]), 1, 0, features=table, text=table + 1)
    np.testing.assert_array_equal(query.features, [[6, 7], [0, 0]])
    np.testing.assert_array_equal(query.text, [[7, 8], [0, 0]])


def test_an_event_after_the_asking_has_age_0():
    assert (gather_queries(HISTORIES, np.array([0]), 3, 2 * DAY).ages == [[1, 0, 0]]).all()


def test_an_empty_log_gives_empty_queries():
    query = gather_queries(Histories.of(LOG.take(slice(0, 0)), 2), np.array([0, 1]), 3, 0)
    assert (query.history == -1).all() and not query.ages.any()


def test_after_a_global_cut_all_ask_at_the_end_of_what_is_known():
    later = log([0, 2], [1, 1], [4, 9])
    np.testing.assert_array_equal(asking_times(LOG, later, HISTORIES), [4 * DAY] * 4)


def test_without_a_global_cut_each_user_asks_at_their_own_last_known_event():
    mixed = log([0, 2], [1, 1], [2, 9])
    np.testing.assert_array_equal(asking_times(LOG, mixed, HISTORIES), np.array([3, 4, 4, 4]) * DAY)


def test_no_moment_of_a_held_out_event_is_used():
    for days in ([2, 9], [0, 300]):
        held = log([0, 2], [1, 1], days)
        np.testing.assert_array_equal(asking_times(LOG, held, HISTORIES), np.array([3, 4, 4, 4]) * DAY)


def test_queries_import_without_jax():
    code = "import sys; import jaxrec.data.queries; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
