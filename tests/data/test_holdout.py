"""Each holdout keeps its leak rule, and divides MovieLens into exactly the published counts."""

from functools import cache

import numpy as np
import pyarrow as pa
import pytest

from jaxrec.data.cleaning import clean
from jaxrec.data.dataset import index_ids
from jaxrec.data.holdout import (
    ColdItems,
    ColdUsers,
    LeaveLastOut,
    RandomPerUser,
    TimeCutoff,
    TimeLastOut,
    TimePerUser,
    holdout_of,
)
from jaxrec.data.leaks import (
    check_cold_items,
    check_cold_users,
    check_disjoint,
    check_periods,
    check_time_order,
    check_user_time_order,
    pairs_of,
)
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.data.tables import Tables
from jaxrec.errors import DataError, UserError

T = 880_000_000
ML_100K = [
    (TimeCutoff(), (80000, 10000, 10000, 1616, 66, 1344)),
    (TimePerUser(), (80808, 9596, 9596, 1682, 943, 9596)),
    (LeaveLastOut(), (98114, 943, 943, 1682, 943, 943)),
    (RandomPerUser(), (80808, 9596, 9596, 1682, 943, 9596)),
    (ColdItems(), (63831, 11983, 24186, 336, 942, 24186)),
    (ColdItems(candidates="all"), (51921, 17938, 30141, 1682, 943, 30141)),
]
ML_1M = [
    (TimeCutoff(), (800167, 100021, 100021, 3662, 1008, 80608)),
    (TimePerUser(), (805443, 97383, 97383, 3706, 6040, 97383)),
    (LeaveLastOut(), (988129, 6040, 6040, 3706, 6040, 6040)),
    (RandomPerUser(), (805443, 97383, 97383, 3706, 6040, 97383)),
    (ColdItems(), (673360, 103847, 223002, 741, 6038, 223002)),
    (ColdItems(candidates="all"), (544154, 168450, 287605, 3706, 6040, 287605)),
]


@cache
def movielens(variant):
    return index_ids(clean(MovieLens(variant).load())[0])


def dataset(events):
    """events: (user, item, time) triples in file order."""
    users, items, times = zip(*events, strict=True)
    log = pa.table({"user_id": list(users), "item_id": list(items), "timestamp": [T + t for t in times]})
    return index_ids(clean(Tables(log, None, None, "log"))[0])


def events_of(part, data):
    return list(zip(data.user_map.take(part.user_rows), data.item_map.take(part.item_rows), strict=True))


@pytest.mark.parametrize("rule, expected", ML_100K, ids=str)
def test_movielens_100k_is_divided_as_published(rule, expected):
    assert list(rule(movielens("100k")).counts().values()) == list(expected)


@pytest.mark.slow
@pytest.mark.parametrize("rule, expected", ML_1M, ids=str)
def test_movielens_1m_is_divided_as_published(rule, expected):
    assert list(rule(movielens("1m")).counts().values()) == list(expected)


@pytest.mark.parametrize("rule", [row[0] for row in ML_100K], ids=lambda rule: type(rule).__name__)
def test_nothing_is_lost_and_refit_keeps_what_is_judged(rule):
    data = movielens("100k")
    holdout = rule(data)
    together = np.sort(np.concatenate([pairs_of(p) for p in (holdout.train, holdout.valid, holdout.test)]))
    np.testing.assert_array_equal(together, np.sort(pairs_of(data.interactions)))
    again = holdout.refit()
    assert len(again.train) == len(holdout.train) + len(holdout.valid) and not len(again.valid)
    np.testing.assert_array_equal(again.judged(), holdout.judged())
    assert set(pairs_of(again.history())) == set(pairs_of(holdout.history()))
    assert not set(pairs_of(holdout.positives())) & set(pairs_of(holdout.history()))


def test_ties_in_time_keep_file_order_whatever_the_ids():
    events = [("u", "z", 5), ("u", "m", 5), ("u", "a", 5), ("v", "k", 1), ("v", "b", 1), ("v", "c", 1)]
    data = dataset(events)
    holdout = LeaveLastOut()(data)
    assert sorted(events_of(holdout.test, data)) == [("u", "a"), ("v", "c")]
    assert sorted(events_of(holdout.valid, data)) == [("u", "m"), ("v", "b")]
    renamed = dataset([(u, {"z": "a", "a": "z"}.get(i, i), t) for u, i, t in events])
    assert sorted(events_of(LeaveLastOut()(renamed).test, renamed)) == [("u", "z"), ("v", "c")]


def test_time_cutoff_by_hand():
    late_first = [("u", "c", 8), ("v", "c", 9), *zip("uvuvuvuv", "aabbccdd", range(8), strict=True)]
    data = dataset([e for e in late_first if e not in (("u", "c", 4), ("v", "c", 5))] + [("w", "a", 4), ("w", "c", 5)])
    holdout = TimeCutoff(valid_fraction=0.2, test_fraction=0.2)(data)
    assert events_of(holdout.train, data) == [("u", "a"), ("v", "a"), ("u", "b"), ("v", "b"), ("w", "a"), ("w", "c")]
    assert events_of(holdout.valid, data) == [("u", "d"), ("v", "d")]
    assert events_of(holdout.test, data) == [("u", "c"), ("v", "c")]
    assert data.item_map.take(np.flatnonzero(holdout.test_candidates)).tolist() == ["c", "a", "b"]


def test_random_per_user_is_the_same_for_any_order_of_users_and_differs_by_seed():
    events = [(f"u{u}", f"i{i}", i) for u in range(12) for i in range(20)]
    by_user = [e for u in reversed(range(12)) for e in events if e[0] == f"u{u}"]
    one, two = dataset(events), dataset(by_user)
    assert set(events_of(RandomPerUser()(one).test, one)) == set(events_of(RandomPerUser()(two).test, two))
    other = RandomPerUser(seed=1)(one)
    assert set(events_of(other.test, one)) != set(events_of(RandomPerUser()(one).test, one))


@pytest.mark.parametrize(
    "rows, expected", [(1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (9, (7, 1, 1)), (30, (24, 3, 3))]
)
def test_recboles_rule_of_counts(rows, expected):
    busy = [("busy", f"i{i}", i) for i in range(40)]
    data = dataset([*busy, *(("u", f"i{i}", i) for i in range(rows))])
    holdout = RandomPerUser()(data)
    user = data.user_map.rows(["u"])[0]
    assert tuple(int((p.user_rows == user).sum()) for p in (holdout.train, holdout.valid, holdout.test)) == expected


def test_users_judged_have_a_training_row_and_a_candidate():
    events = [("a", "x", 0), ("a", "y", 1), ("b", "x", 2), ("b", "y", 3), ("c", "x", 4), ("a", "z", 5)]
    data = dataset([*events, ("c", "y", 6), ("a", "new", 7), ("b", "new", 8), ("late", "x", 9)])
    parts = [data.interactions.take(np.arange(*cut)) for cut in ((0, 5), (5, 6), (6, 10))]
    warm = np.bincount(parts[0].item_rows, minlength=data.num_items) > 0
    holdout = holdout_of(parts, warm, warm, data, "by hand")
    assert data.user_map.take(holdout.judged()).tolist() == ["c"]
    assert events_of(holdout.positives(), data) == [("c", "y")]


def test_leaks_are_named_with_both_sides():
    data = dataset([("u", "a", 0), ("u", "b", 10), ("v", "a", 20), ("v", "c", 30)])
    log = data.interactions
    early, late = log.take(np.array([0, 2])), log.take(np.array([1, 3]))
    none = log.take(np.zeros(0, np.int64))
    with pytest.raises(DataError) as error:
        check_time_order((early, none, late))
    assert str(error.value) == (
        "the holdout leaks: train ends at 1997-11-20 04:27:00, after test begins at 1997-11-20 04:26:50"
    )
    with pytest.raises(
        DataError, match="user 'u' has a row at 1997-11-20 04:26:50 before the cut and one at .*04:26:40"
    ):
        check_user_time_order((log.take(np.array([1])), none, log.take(np.array([0]))), data)
    with pytest.raises(
        DataError, match="1 pairs of user and item stand in train and in test, first user 'v' with item 'a'"
    ):
        check_disjoint((early, none, log.take(np.array([2]))), data)
    with pytest.raises(DataError, match="1 of 1 items held out as new stand in train, first 'a'"):
        check_cold_items(early, np.array([True, False, False]), data)


def test_logs_that_cannot_be_divided():
    data = dataset([("u", "a", 0), ("u", "b", 0), ("v", "a", 0)])
    with pytest.raises(DataError, match="TimeCutoff cuts by time, and the log has one timestamp only, 1997-11-20"):
        TimeCutoff()(data)
    log = pa.table({"user_id": ["u", "u", "v"], "item_id": ["a", "b", "a"]})
    with pytest.raises(DataError, match="the log has no timestamps.*--set holdout=RandomPerUser"):
        TimeCutoff()(index_ids(clean(Tables(log, None, None, "log"))[0]))
    with pytest.raises(DataError, match="the validation part of holdout L is empty"):
        LeaveLastOut()(data)
    with pytest.raises(DataError, match="ColdItems needs more than"):
        ColdItems()(data)
    apart = dataset([(f"u{k}", f"i{k}", k) for k in range(20)])
    with pytest.raises(DataError, match="nobody can be judged"):
        TimeCutoff()(apart)


def test_cold_items_are_new_and_c_all_ranks_warm_ones_too():
    data = movielens("100k")
    cold, both = ColdItems()(data), ColdItems(candidates="all")(data)
    assert not set(cold.history().item_rows) & set(np.flatnonzero(cold.test_candidates))
    warm = set(both.test.item_rows) - set(np.flatnonzero(cold.test_candidates))
    assert warm and set(both.test.item_rows) > set(np.flatnonzero(cold.test_candidates))
    assert not set(both.train.item_rows) & set(np.flatnonzero(cold.test_candidates))


def test_new_users_are_known_by_their_first_events_alone():
    events = [(f"u{u}", f"x{i}", 10 * i + u) for u in range(10) for i in range(6)]
    data = dataset([*events, ("short", "x0", 5), ("short", "x1", 6)])
    holdout = ColdUsers(shown=2, valid_fraction=0.2, test_fraction=0.3)(data)
    test, valid = {u for u, _ in events_of(holdout.test, data)}, {u for u, _ in events_of(holdout.valid, data)}
    assert (len(test), len(valid)) == (3, 2) and not test & valid
    trained = {u for u, _ in events_of(holdout.train, data)}
    assert not trained & (test | valid) and "short" in trained  # too short to be new
    assert sorted(events_of(holdout.test_before, data)) == sorted((u, f"x{i}") for u in test for i in (0, 1))
    assert sorted(events_of(holdout.positives(), data)) == sorted((u, f"x{i}") for u in test for i in (2, 3, 4, 5))
    known = set(events_of(holdout.history(), data))
    assert {u for u, _ in known} == trained | valid | test and not known & set(events_of(holdout.test, data))
    refitted = {u for u, _ in events_of(holdout.refit().train, data)}
    assert refitted == trained | valid and len(holdout.refit().positives()) == len(holdout.positives())
    nothing = ColdUsers(shown=0, valid_fraction=0.2, test_fraction=0.3)(data)
    assert len(nothing.test_before) == 0 and len(nothing.judged()) == 3
    with pytest.raises(DataError, match="part of holdout U is empty: too few rows"):
        ColdUsers(shown=6)(data)  # nobody has more
    with pytest.raises(UserError, match="shown=-1"):
        ColdUsers(shown=-1)(data)
    with pytest.raises(DataError, match="3 of 3 users held out as new stand in train"):
        users = np.isin(np.arange(data.num_users), holdout.judged())
        check_cold_users(data.interactions, users, data)


@pytest.mark.parametrize("shown", [0, 1, 10])
def test_new_users_of_movielens(shown):
    holdout = ColdUsers(shown=shown)(movielens("100k"))
    assert holdout.counts()["users"] == 94 and len(holdout.test_before) == 94 * shown
    assert len(holdout.train) + len(holdout.valid) + len(holdout.test) + 2 * 94 * shown == 100_000


def test_the_last_item_after_a_cut_in_time_by_hand():
    events = [(u, i, 0) for u in "abc" for i in ("x1", "x2", "x3", "x4")]  # 12 rows of training
    valid = [("a", "v1", 10), ("b", "v1", 11), ("a", "v2", 11)]
    test = [("b", "t1", 20), ("a", "t1", 20), ("b", "t2", 21), ("new", "t1", 21), ("b", "t3", 21)]
    data = dataset([*events, *valid, *test])
    holdout = TimeLastOut(valid_fraction=3 / 20, test_fraction=5 / 20)(data)
    assert len(holdout.train) == 12
    assert sorted(events_of(holdout.valid, data)) == [("a", "v2"), ("b", "v1")]
    assert events_of(holdout.valid_before, data) == [("a", "v1")]
    assert sorted(events_of(holdout.test, data)) == [("a", "t1"), ("b", "t3"), ("new", "t1")]  # ties keep file order
    assert events_of(holdout.test_before, data) == [("b", "t1"), ("b", "t2")]
    assert sorted(events_of(holdout.positives(), data)) == [("a", "t1"), ("b", "t3")]  # "new" has no training row
    assert holdout.test_candidates.all() and holdout.valid_candidates.all()
    known = {part: set(events_of(holdout.history(part), data)) for part in ("valid", "test")}
    assert known["valid"] == {(u, i) for u, i, _ in events} | {("a", "v1")}
    assert known["test"] == {(u, i) for u, i, _ in [*events, *valid]} | {("b", "t1"), ("b", "t2")}
    again = holdout.refit()
    assert set(events_of(again.train, data)) == {(u, i) for u, i, _ in [*events, *valid]}
    assert set(events_of(again.history(), data)) == known["test"]


def test_no_moment_stands_on_both_sides_of_a_cut():
    data = dataset([(u, f"i{n}", n // 4) for n, u in enumerate("abcd" * 10)])
    holdout = TimeLastOut(valid_fraction=0.3, test_fraction=0.3)(data)
    assert holdout.train.timestamps.max() < holdout.valid.timestamps.min()
    assert holdout.history().timestamps.max() <= holdout.test.timestamps.min()
    log = data.interactions
    parts = log.take(np.arange(6)), log.take(np.arange(6, 20)), log.take(np.arange(20, 40))
    with pytest.raises(DataError, match="train and validation both have rows at 1997-11-20 04:26:41"):
        check_periods(parts)
    late = dataset([("a", "x", 0), ("b", "y", 5)]).interactions
    with pytest.raises(DataError, match="train ends at .*:45, after validation begins at"):
        check_periods((late, late.take(np.array([0])), late))


def test_the_last_item_after_a_cut_of_movielens():
    data = movielens("100k")
    holdout, cut = TimeLastOut()(data), np.sort(data.interactions.timestamps)[90_000]
    late = data.interactions.timestamps >= cut
    users = np.unique(data.interactions.user_rows[late])
    assert holdout.name == "G" and len(holdout.test) == len(users)
    assert len(holdout.test) + len(holdout.test_before) == late.sum()
    parts = (holdout.train, holdout.valid_before, holdout.valid, holdout.test_before, holdout.test)
    together = np.sort(np.concatenate([pairs_of(part) for part in parts]))
    np.testing.assert_array_equal(together, np.sort(pairs_of(data.interactions)))
    expected = np.intersect1d(users, holdout.train.user_rows)
    np.testing.assert_array_equal(holdout.judged(), expected)
    assert list(holdout.counts().values()) == [79_999, 197, 166, 1_682, 69, len(expected)]
