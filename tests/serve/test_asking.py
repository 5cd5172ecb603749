"""What may be asked, and how a wrong question is answered."""

import warnings

import pyarrow as pa
import pytest

from jaxrec.errors import DataError, UserError
from jaxrec.serve.functions import ArtifactWarning


def test_unknown_items_are_named_and_ignored(recommender):
    with pytest.warns(ArtifactWarning, match="history: 2 ids are not in the catalog and are ignored: 'x', 'y'"):
        answer = recommender.recommend(history=["x", "i1", "y", "x"], k=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert answer == recommender.recommend(history=["i1"], k=5)
    with (
        pytest.warns(ArtifactWarning, match="candidates: 1 ids are not in the catalog"),
        pytest.raises(UserError, match="none of these ids is in the catalog"),
    ):
        recommender.recommend(history=["i1"], candidates=["nothing"])


def test_an_asker_of_whom_nothing_is_known_gets_no_answer(recommender):
    for question in ({}, {"history": []}, {"history": (), "text": " "}, {"features": {"age": None}}):
        with pytest.raises(UserError, match="nothing is known of the asker: give a user, a history"):
            recommender.recommend(**question)
    with (
        pytest.warns(ArtifactWarning),
        pytest.raises(UserError, match="history: none of these ids is in the catalog.*item_id column, such as 'i0'"),
    ):
        recommender.recommend(history=["The Matrix"])
    assert recommender.recommend(text="funny") and recommender.recommend(features={"age": 3})


def test_in_bulk_such_askers_are_left_out_and_counted(recommender):
    asked = pa.table({"user_id": ["x", "b", "u1", "a"], "item_id": ["?", "i1", "?", "i3"]})
    with pytest.warns(ArtifactWarning) as said:
        table = recommender.recommend_many(asked, k=2)
    assert [str(w.message) for w in said] == [
        "histories: 1 ids are not in the catalog and are ignored: '?'",
        "histories: 1 of 4 askers have no item of the catalog and are left out, first 'x'",
    ]
    assert table["user_id"].to_pylist() == ["b", "b", "u1", "u1", "a", "a"], "features of u1 are stored"
    one = recommender.recommend(history=["i3"], k=2)
    assert table["item_id"].to_pylist()[-2:] == [r.item_id for r in one]
    with pytest.warns(ArtifactWarning), pytest.raises(UserError, match="nothing is known of any of these askers"):
        recommender.recommend_many(asked.slice(0, 1))


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"user": "nobody"}, "unknown user 'nobody': not among this artifact's 40 users. Ask with a history."),
        ({"k": 21}, r"k=21: this artifact answers with 1 to 20 items \(its k_max\).*--k-max"),
        ({"k": 0}, "k=0: k must be at least 1"),
        ({"k": -3}, "k=-3: k must be at least 1"),
        ({"k": 2.5}, "k: a whole number is expected, not 2.5"),
        ({"user": 1}, "user: ids are strings, and 1 is a int; write '1'"),
        ({"history": [("i1", "much")]}, "the weight of 'i1' is 'much', a number is expected"),
        ({"history": [("i1", 1, "soon")]}, "the time of 'i1' is 'soon', a number is expected"),
        ({"history": [()]}, r"\(\) is neither an id nor \(id, weight\)"),
        ({"history": "i1,i2"}, r"a list of item ids is expected, not the text 'i1,i2'"),
        ({"history": [50]}, r"history: ids are strings, and 50 is a int; write '50'"),
        ({"history": [("i1", float("nan"))]}, "the weight of 'i1' is not finite"),
        ({"features": {"agee": 3}}, "reads no user feature 'agee'; those it reads: 'age'"),
    ],
)
def test_wrong_questions(recommender, question, said):
    with pytest.raises(UserError, match=said):
        recommender.recommend(**question)


def test_wrong_profiles_and_items(recommender):
    for question in ({}, {"user": "u1", "item": "i1"}):
        with pytest.raises(UserError, match="profile: name a user"):
            recommender.profile(**question)
    with pytest.raises(UserError, match="unknown item 'i99'"):
        recommender.similar("i99")


def test_wrong_tables(recommender):
    with pytest.raises(DataError, match="expected user_id and item_id"):
        recommender.recommend_many(pa.table({"user": ["a"], "item_id": ["i1"]}))
    bad = {"user_id": ["a"], "item_id": ["i1"]}
    with pytest.raises(DataError, match="column 'timestamp' is to be UTC seconds"):
        recommender.recommend_many(pa.table(bad | {"timestamp": ["yesterday"]}))
    with pytest.raises(DataError, match="histories: 2 rows have no user_id, first row 2"):
        recommender.recommend_many(pa.table({"user_id": ["a", "", None], "item_id": ["i1", "i2", "i3"]}))
    with pytest.raises(DataError, match="column 'weight' holds a value that is not finite, in row 0"):
        recommender.recommend_many(pa.table(bad | {"weight": [float("inf")]}))


def test_an_empty_table_has_an_empty_answer(recommender):
    empty = pa.table({"user_id": pa.array([], pa.string()), "item_id": pa.array([], pa.string())})
    table = recommender.recommend_many(empty)
    assert table.num_rows == 0 and table.column_names == ["user_id", "item_id", "score", "rank"]


def test_string_timestamps_and_times_order_events(recommender):
    log = {"user_id": ["a", "a"], "item_id": ["i1", "i14"]}
    told = recommender.recommend_many(
        pa.table(log | {"timestamp": ["1000000000", "1003000000"], "weight": ["1", "2"]}), k=3
    )
    given = recommender.recommend(history=[("i1", 1.0, 1_000_000_000), ("i14", 2.0, 1_003_000_000)], k=3)
    assert told["item_id"].to_pylist() == [r.item_id for r in given]
