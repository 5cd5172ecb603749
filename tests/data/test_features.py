"""Columns are typed by their values, imputed by the stated rule, and encoded the same way after a JSON round trip."""

import json

import numpy as np
import pyarrow as pa
import pytest

from jaxrec.data.columns import Columns, fit_features, read_columns
from jaxrec.data.features import FeatureEncoder, as_numbers
from jaxrec.errors import DataError

ITEMS = pa.table(
    {
        "item_id": ["1", "2", "3", "4"],
        "title": ["Toy Story", "Heat (1995)", "", None],
        "year": ["1995", "1995", "1997.0", ""],
        "genres": ["Animation|Children's|Comedy", "Crime", "(no genres listed)", "Crime|Comedy"],
        "price": ["1", "", "3", "8"],
        "kind": ["film", "film", "", "series"],
        "description": ["A toy\n wakes up.", "", "Two men talk over coffee.", "Nothing much, and rain."],
        "sku": ["A1", "B2", "C3", "D4"],
        "poster": ["http://x/1.jpg", "http://x/2.jpg", "", "http://x/4.jpg"],
        "isbn": ["0071", "0072", "0073", "0074"],
    }
)


def column(encoder, name, table=ITEMS):
    return encoder.encode(table)[:, encoder.names.index(name)]


def test_columns_are_typed_by_their_values():
    kinds = {r.name: r.kind for r in read_columns(ITEMS, Columns(max_categories=2), id_name="item_id")}
    assert kinds == {
        "title": "text",
        "year": "number",
        "genres": "tags",
        "price": "number",
        "kind": "left out",  # 2 values in 3 rows: too few repeats to learn from
        "description": "text",
        "sku": "left out",
        "poster": "left out",
        "isbn": "left out",
    }


def test_many_rows_make_categories_and_zip_codes_are_left_out():
    n = 300
    users = pa.table(
        {
            "user_id": [str(i) for i in range(n)],
            "gender": ["F", "M", "F"] * (n // 3),
            "zip_code": [f"{90000 + i}" if i % 9 else "T8H1N" for i in range(n)],
            "hash": [str(10**17 + i) for i in range(n)],
            "about": [f"I like films of kind {i}" for i in range(n)],
            "region_id": [str(i % 7) for i in range(n)],
            "accountId": [str(i) for i in range(n)],
            "age": [str(20 + i % 50) for i in range(n)],
        }
    )
    encoder = fit_features(users, id_name="user_id")
    assert encoder.names == ("age", "gender=F", "gender=M", *(f"region_id={k}" for k in range(7)))
    assert encoder.texts == ("about",)
    assert [name for name, _ in encoder.left_out] == ["zip_code", "hash", "accountId"]


@pytest.mark.parametrize("separator", ["|", ", ", ";"])
def test_tags_by_any_separator_and_from_lists(separator):
    values = [["a", "b"], ["b"], [], ["c", "a"]] * 3
    ids = [str(i) for i in range(len(values))]
    text = fit_features(pa.table({"item_id": ids, "themes": [separator.join(v) for v in values]}))
    lists = fit_features(pa.table({"item_id": ids, "themes": values}))
    shown = fit_features(pa.table({"item_id": ids, "themes": [str(v) for v in values]}))
    assert text.names == lists.names == shown.names == ("themes=a", "themes=b", "themes=c")
    table = pa.table({"item_id": ids, "themes": values})
    np.testing.assert_array_equal(lists.encode(table)[:4], [[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 1]])
    tags = lists.read_tags(table)
    assert [tags.of(row) for row in range(4)] == [["a", "b"], ["b"], [], ["c", "a"]]
    np.testing.assert_array_equal(tags.matrix(), lists.encode(table))


@pytest.mark.parametrize("fill, expected", [("mean", 4.0), ("median", 3.0), ("most_frequent", 1.0)])
def test_numbers_are_imputed_then_standardised(fill, expected):
    encoder = fit_features(ITEMS, Columns(number_fill=fill))
    filled = np.array([1, expected, 3, 8])
    np.testing.assert_allclose(column(encoder, "price"), (filled - filled.mean()) / filled.std(), rtol=1e-6)
    assert next(c for c in encoder.numbers if c.name == "price").missing == 1


def test_categories_are_imputed_by_the_most_frequent_and_unknown_ones_are_zeros():
    encoder = fit_features(ITEMS, Columns(categories=("kind",)))
    assert column(encoder, "kind=film").tolist() == [1, 1, 1, 0]
    assert column(encoder, "kind=series").tolist() == [0, 0, 0, 1]
    new = pa.table({"item_id": ["9", "10"], "kind": ["opera", None]})
    assert column(encoder, "kind=film", new).tolist() == [0, 1]
    none = fit_features(ITEMS, Columns(categories=("kind",), category_fill="none"))
    assert column(none, "kind=film").tolist() == [1, 1, 0, 0]


def test_a_constant_number_is_zero():
    encoder = fit_features(pa.table({"item_id": ["1", "2"], "n": [7, 7]}))
    assert encoder.encode(pa.table({"item_id": ["1"], "n": [7]})).tolist() == [[0]]


def test_a_number_far_from_the_others_counts_as_ten_standard_deviations_and_one_too_large_as_missing():
    prices = [1.0, 2.0] * 200 + [1e9, -1e300, float("inf"), None]
    table = pa.table({"item_id": [str(i) for i in range(len(prices))], "price": prices})
    encoder = fit_features(table)
    found = encoder.encode(table)[:, 0]
    assert encoder.numbers[0].missing == 3 and np.isfinite(found).all()
    assert found[400] == 10 and (found[401:] == found[403]).all()
    new = pa.table({"item_id": ["new", "newer", "newest"], "price": [-1e30, 1e30, 1e300]})
    assert encoder.encode(new)[:, 0].tolist() == [-10, 10, found[403]]


def test_what_is_nested_deeper_than_a_list_says_nothing():
    ids = [str(i) for i in range(4)]
    structs = [{"en": "x"}] * 4
    table = pa.table(
        {"item_id": ids, "title": structs, "year": structs, "genres": [[{"n": "Comedy"}]] * 4, "n": structs}
    )
    encoder = fit_features(table)
    assert encoder.encode(table).shape == (4, 0) and set(encoder.describe(table)[0].to_pylist()) == set(ids)
    usual = fit_features(ITEMS)
    told = usual.describe(table.slice(0, 1).set_column(0, "item_id", pa.array(["new"])))
    assert told[0].to_pylist() == ["new"] and np.isfinite(usual.encode(table)).all()


def test_titles_and_texts():
    encoder = fit_features(ITEMS, Columns(categories=("kind",)))
    titles, texts = encoder.describe(ITEMS)
    assert titles.to_pylist() == ["Toy Story (1995)", "Heat (1995)", "3", "4"]
    assert texts.to_pylist() == [
        "Toy Story (1995). Animation, Children's, Comedy. film. A toy wakes up.",
        "Heat (1995). Crime. film",
        "Two men talk over coffee.",
        "Crime, Comedy. series. Nothing much, and rain.",
    ]


def test_new_rows_go_through_the_same_code_after_json():
    encoder = fit_features(ITEMS, Columns(categories=("kind",)))
    again = FeatureEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
    np.testing.assert_array_equal(again.encode(ITEMS), encoder.encode(ITEMS))
    new = pa.table({"title": ["Ronin"], "year": [1998], "genres": ["Crime|Opera"], "item_id": ["n1"]})
    assert again.describe(new)[1].to_pylist() == ["Ronin (1998). Crime, Opera"]
    assert column(again, "genres=Crime", new).tolist() == [1]
    assert column(again, "price", new).tolist() == pytest.approx([0])  # missing: the mean


def test_stated_columns_win_and_wrong_names_are_told():
    encoder = fit_features(ITEMS, Columns(texts=("sku",), ignore=("year", "price"), title="description"))
    assert encoder.texts == ("title", "sku") and encoder.title == "description" and not encoder.numbers
    with pytest.raises(DataError, match="no column 'brnd'.*'item_id', 'title'"):
        fit_features(ITEMS, Columns(texts=("brnd",)))


def test_chinese_text_is_text_without_spaces():
    table = pa.table({"item_id": ["1", "2", "3"], "简介": ["太阳即将毁灭", "一个关于京剧的故事", "雨"]})
    encoder = fit_features(table)
    assert encoder.describe(table)[1].to_pylist() == ["太阳即将毁灭", "一个关于京剧的故事", "雨"]


def test_tags_fall_back_to_categories():
    table = pa.table({"item_id": [str(i) for i in range(6)], "kind": ["a", "b"] * 3})
    tags = fit_features(table).read_tags(table)
    assert tags.names == ("a", "b") and tags.of(3) == ["b"]


def test_frequent_tags_are_kept():
    table = pa.table({"item_id": ["1", "2", "3"], "tags": [["a", "z"], ["b", "z"], ["c", "z", "b"]]})
    assert fit_features(table, Columns(max_tags=2)).names == ("tags=z", "tags=b")


def test_numbers_of_all_writings():
    values, unreadable = as_numbers(pa.array(["1", " -2.5e1 ", "nan", "inf", "", None, "1,5", "x"]))
    np.testing.assert_array_equal(values, [1, -25, np.nan, np.inf, np.nan, np.nan, np.nan, np.nan])
    assert unreadable.tolist() == [False] * 6 + [True] * 2


def test_lines_say_how_each_column_is_read():
    lines = fit_features(ITEMS, Columns(categories=("kind",))).lines()
    assert "price: number, 1 empty filled with 4" in lines
    assert "kind: 2 categories, 1 empty filled with 'film'" in lines
    assert "genres: 4 tags" in lines and "title: title" in lines and "description: text" in lines
    assert "poster: left out (addresses or paths)" in lines


def test_new_items_may_write_as_text_what_the_catalog_held_as_lists():
    catalog = pa.table({"item_id": ["a", "b"], "genres": [["Action", "Sci-Fi"], ["Romance"]]})
    encoder = fit_features(catalog)
    new = pa.table({"item_id": ["c", "d", "e"], "genres": ["Action|Sci-Fi", "Romance, Action", "Romance"]})
    tags = encoder.read_tags(new)
    assert [sorted(tags.of(row)) for row in range(3)] == [["Action", "Sci-Fi"], ["Action", "Romance"], ["Romance"]]


def test_nobody_in_particular_is_the_mean_row():
    """Of an asker of whom nothing is known, the most frequent value of each column would make up a person."""
    table = pa.table(
        {
            "user_id": ["a", "b", "c", "d"],
            "age": [20, None, 40, 60],
            "work": ["nurse", "nurse", "driver", None],
            "likes": [["x", "x", "y"], ["y"], [], None],
        }
    )
    encoder = fit_features(table, Columns(categories=("work",)), id_name="user_id")
    np.testing.assert_allclose(encoder.average(), encoder.encode(table).mean(axis=0), atol=1e-6)
    again = FeatureEncoder.from_json(json.loads(json.dumps(encoder.to_json())))
    assert again == encoder
    assert encoder.places() == {"age": slice(0, 1), "work": slice(1, 3), "likes": slice(3, 5)}
