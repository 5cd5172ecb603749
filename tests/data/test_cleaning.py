"""Every rule of cleaning, with its count, and every refusal, with its message."""

import time

import pyarrow as pa
import pytest

from jaxrec.data.cleaning import Cleaning, clean
from jaxrec.data.tables import Tables
from jaxrec.errors import DataError

T = 880_000_000


def tables(users, items, catalog=None, people=None, **columns):
    log = pa.table({"user_id": pa.array(users, pa.string()), "item_id": pa.array(items, pa.string()), **columns})
    return Tables(log, catalog, people, "log.csv")


def counted(report, words):
    return sum(c.rows for c in report.counts if words in c.rule)


def rows(cleaned):
    return list(
        zip(*(cleaned.interactions[name].to_pylist() for name in ("user_id", "item_id", "weight")), strict=True)
    )


def test_a_clean_log_stays_as_it_is():
    cleaned, report = clean(tables("ab", "xy", rating=["1", "2.5"], timestamp=[str(T), str(T + 1)]))
    assert rows(cleaned) == [("a", "x", 1.0), ("b", "y", 2.5)]
    assert cleaned.interactions["timestamp"].to_pylist() == [T, T + 1]
    assert report.lines() == [
        "interactions: 2 rows read, 2 kept",
        "interactions: from 1997-11-20 04:26:40 to 1997-11-20 04:26:41 UTC, read as seconds",
    ]


def test_the_last_rating_must_reach_the_least():
    """Who changed 5 to 1 did not like it; the rating before the last must not come back."""
    log = tables("aabbcd", "xxyyzx", rating=["5", "1", "1", "5", "4", "3.9"])
    cleaned, report = clean(log, Cleaning(min_rating=4))
    assert rows(cleaned) == [("b", "y", 5.0), ("c", "z", 4.0)]
    assert counted(report, "the last rating counts") == 2 and counted(report, "rating is below 4") == 2


def test_a_rating_equal_to_the_least_is_kept():
    """4.1 is not a float32: it must not be dropped for being rounded."""
    cleaned, _ = clean(tables("abc", "xyx", rating=["4.1", "4.1", "5"]), Cleaning(min_rating=4.1))
    assert len(rows(cleaned)) == 3


def test_ratings_that_pass_count_as_events_where_so_stated():
    log = tables("aabbcd", "xxyyzx", rating=["5", "1", "1", "5", "4", "3.9"])
    cleaned, report = clean(log, Cleaning(min_rating=4, ratings="implicit"))
    assert rows(cleaned) == [("b", "y", 1.0), ("c", "z", 1.0)] and counted(report, "rating is below 4") == 2
    cleaned, _ = clean(log, Cleaning(rating_range=(0, 4), ratings="implicit"))
    assert rows(cleaned) == [("a", "x", 1.0), ("b", "y", 1.0), ("c", "z", 1.0), ("d", "x", 1.0)]
    cleaned, _ = clean(tables("abc", "xyx", rating=["5", "5", "1"]), Cleaning(min_rating=5))  # equal, as was asked for
    assert rows(cleaned) == [("a", "x", 5.0), ("b", "y", 5.0)]
    with pytest.raises(DataError, match="no column 'rating'"):
        clean(tables("ab", "xy"), Cleaning(min_rating=4))


def test_ids_are_trimmed_and_empty_ones_dropped():
    cleaned, report = clean(tables([" 007", "b", "", None, "c"], ["x", "y", "z", "z", "  "]))
    assert rows(cleaned) == [("007", "x", 1.0), ("b", "y", 1.0)]
    assert counted(report, "spaces around user_id") == 1
    assert counted(report, "user_id is empty") == 2
    assert counted(report, "item_id is empty") == 1


def test_ratings_that_are_none():
    ratings = ["5", "", "good", "nan", "inf", "-inf", "9", "1"]
    rules = Cleaning(rating_range=(1, 5), min_rating=2)
    cleaned, report = clean(tables("aabcdefghb", "xyxxxxxxxy", rating=["4", *ratings, "3"]), rules)
    assert rows(cleaned) == [("a", "x", 4.0), ("a", "y", 5.0), ("b", "y", 3.0)]
    assert counted(report, "rating is empty") == 1
    assert counted(report, "rating is no number") == 1
    assert counted(report, "rating is not finite") == 3
    assert counted(report, "rating is outside 1 to 5") == 1
    assert counted(report, "rating is below 2") == 1
    assert report.rows_before == 10 and report.rows_after == 3


def test_the_last_rating_of_a_pair_counts_by_time_and_then_by_place():
    times = pa.array([T + 5, T, T + 5, T])
    cleaned, report = clean(tables("aaab", "xxxy", rating=[1, 2, 3, 4], timestamp=times))
    assert rows(cleaned) == [("a", "x", 3.0), ("b", "y", 4.0)]
    assert counted(report, "the last rating counts") == 2


def test_implicit_events_are_summed_at_the_last_one():
    cleaned, report = clean(tables("abaa", "xyxz", timestamp=[T + 9, T, T + 5, T]))
    assert rows(cleaned) == [("a", "x", 2.0), ("b", "y", 1.0), ("a", "z", 1.0)]
    assert cleaned.interactions["timestamp"].to_pylist() == [T + 9, T, T]
    assert counted(report, "events are summed") == 1


def test_duplicates_can_be_kept():
    cleaned, _ = clean(tables("aab", "xxy"), Cleaning(duplicates="keep"))
    assert cleaned.interactions.num_rows == 3


def test_unknown_items_are_counted_and_dropped_only_if_so_stated():
    catalog = pa.table({"item_id": ["x", "y"]})
    log = tables("aab", "xyq", catalog)
    cleaned, report = clean(log)
    assert cleaned.interactions.num_rows == 3 and counted(report, "not in the catalog") == 1
    cleaned, _ = clean(tables("aabb", "xyqy", catalog), Cleaning(unknown_items="drop"))
    assert cleaned.interactions["item_id"].to_pylist() == ["x", "y", "y"]


def test_one_row_per_item_and_damaged_text_is_named():
    catalog = pa.table({"item_id": ["x", "x", None, "y"], "title": ["old", "new", "none", "CafÃ©"]})
    cleaned, report = clean(tables("ab", "xy", catalog))
    assert cleaned.catalog["title"].to_pylist() == ["new", "CafÃ©"]
    assert counted(report, "item_id stands more than once") == 1
    assert any("1 values of 'title' hold damaged characters" in line for line in report.lines())


def test_cores_are_taken_again_and_again():
    # y has two rows only through c, and c falls for having one
    cleaned, report = clean(tables("aaabbbc", "xyzxzwy"), Cleaning(min_per_user=2, min_per_item=2))
    assert sorted(rows(cleaned)) == [("a", "x", 1), ("a", "z", 1), ("b", "x", 1), ("b", "z", 1)]
    assert counted(report, "fewer than 2") == 3


@pytest.mark.parametrize(
    "bad, said",
    [(100, "before 1990 or in the future"), (int(time.time()) + 10**7, "in the future")],
    ids=["early", "future"],  # not the time, by which two processes would collect different tests
)
def test_impossible_times_are_refused_with_value_range_and_options(bad, said):
    log = tables("abc", "xyz", timestamp=[T, bad, T + 1])
    with pytest.raises(DataError, match=said) as error:
        clean(log)
    assert f"1 timestamps, read as seconds, lie before 1990 or in the future, first {bad} = " in str(error.value)
    assert "--set cleaning.timestamps=drop" in str(error.value)
    cleaned, report = clean(log, Cleaning(timestamps="drop"))
    assert cleaned.interactions.num_rows == 2 and counted(report, "timestamp before 1990") == 1
    cleaned, _ = clean(log, Cleaning(timestamps="ignore"))
    assert cleaned.interactions.num_rows == 3 and "timestamp" not in cleaned.interactions.column_names


def test_empty_and_unreadable_times_are_dropped_and_counted():
    _, report = clean(tables("abcde", "xyzxy", timestamp=[str(T)] * 3 + ["", "soon"]))
    assert counted(report, "timestamp is empty") == 1 and counted(report, "timestamp cannot be read") == 1
    with pytest.raises(DataError, match="most timestamps cannot be read, first 'soon'"):
        clean(tables("ab", "xy", timestamp=["soon", "later"]))


def test_all_same_rating_is_refused_unless_taken_as_events():
    log = tables("abc", "xyz", rating=["4", "4.0", "4"])
    with pytest.raises(DataError) as error:
        clean(log)
    assert str(error.value) == (
        "log.csv: all 3 ratings are 4, so they say nothing. To take each row as one event (a view, a purchase), "
        "say --set cleaning.ratings=implicit"
    )
    assert error.value.exit_code == 4
    cleaned, _ = clean(log, Cleaning(ratings="implicit"))
    assert cleaned.interactions["weight"].to_pylist() == [1, 1, 1]


def test_one_user_one_item_no_rows():
    with pytest.raises(DataError, match="one user only, 'a'; a recommender learns from several users.*--map user_id="):
        clean(tables("aaa", "xyz"))
    with pytest.raises(DataError, match="one item only, 'x'"):
        clean(tables("abc", "xxx"))
    with pytest.raises(DataError, match="has a header but no rows"):
        clean(tables([], []))
    with pytest.raises(DataError, match=r"no row is left of 2 \(2 dropped: user_id is empty\)"):
        clean(tables(["", ""], ["x", "y"]))


def test_ratings_that_are_words():
    with pytest.raises(DataError, match="most ratings are no numbers, first 'good'"):
        clean(tables("ab", "xy", rating=["good", "bad"]))


def test_the_report_goes_through_json():
    _, report = clean(tables("aab", "xxy"))
    data = report.to_json()
    assert data["rows_before"] == 3 and data["rows_after"] == 2
    assert {
        "table": "interactions",
        "rule": "same user and item, events are summed",
        "action": "merged",
        "rows": 1,
    } in (data["counts"])
