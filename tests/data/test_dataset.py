"""Rows follow the tables first and the log after."""

import pyarrow as pa

from jaxrec.data.cleaning import clean
from jaxrec.data.dataset import index_ids
from jaxrec.data.tables import Tables


def build(catalog=None, users=None):
    log = pa.table(
        {
            "user_id": ["v", "u", "w", "u"],
            "item_id": ["q", "b", "q", "z"],
            "timestamp": [880_000_000, 880_000_002, 880_000_003, 880_000_001],
        }
    )
    return index_ids(clean(Tables(log, catalog, users, "log"))[0])


def test_catalog_order_first_then_the_log_by_first_appearance():
    catalog = pa.table({"item_id": ["a", "b", "c"], "title": ["A", "B", "C"], "genres": [["x"], [], ["x", "y"]]})
    users = pa.table({"user_id": ["w", "quiet"], "age": [30, 50]})
    data = build(catalog, users)
    assert data.item_map.ids.to_pylist() == ["a", "b", "c", "q", "z"]
    assert data.user_map.ids.to_pylist() == ["w", "quiet", "v", "u"]
    assert data.interactions.item_rows.tolist() == [3, 1, 3, 4]
    assert data.interactions.user_rows.tolist() == [2, 3, 0, 3]
    assert data.interactions.timestamps.tolist() == [880_000_000, 880_000_002, 880_000_003, 880_000_001]
    assert data.catalog.titles.to_pylist() == ["A", "B", "C", "q", "z"]
    assert data.catalog.texts.to_pylist() == ["A. x", "B", "C. x, y", "", ""]
    assert [data.catalog.tags.of(row) for row in range(5)] == [["x"], [], ["x", "y"], [], []]
    assert data.users.features.values.tolist() == [[-1], [1], [0], [0]]  # users of the log alone get the mean
    assert len(data.catalog) == data.num_items == 5 and len(data.users) == data.num_users == 4


def test_a_log_alone():
    data = build()
    assert data.item_map.ids.to_pylist() == ["q", "b", "z"]
    assert data.catalog.titles.to_pylist() == ["q", "b", "z"]
    assert data.catalog.texts.to_pylist() == ["", "", ""]
    assert data.catalog.features.values.shape == (3, 0) and data.users.features.values.shape == (3, 0)
    assert data.users.texts is None and data.catalog.tags.of(0) == []


def test_users_own_words():
    users = pa.table({"user_id": ["u", "v"], "about": ["I like space and rain", ""]})
    assert build(users=users).users.texts.to_pylist() == ["I like space and rain", "", ""]
