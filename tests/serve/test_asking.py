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
    with pytest.warns(ArtifactWarning, match="histories: 1 ids are not in the catalog and are ignored: 'x'"):
        table = recommender.recommend_many(pa.table({"user_id": ["a", "b"], "item_id": ["i1", "x"]}), k=2)
    assert table["user_id"].to_pylist() == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"user": "nobody"}, "unknown user 'nobody': not among this artifact's 40 users. Ask with a history."),
        ({"k": 21}, r"k=21: this artifact answers with 1 to 20 items \(its k_max\).*--k-max"),
        ({"k": 0}, "k=0"),
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
