import numpy as np

from jaxrec.data.interactions import Interactions
from jaxrec.similarity import all_nearest, spelt_out
from jaxrec.tasks import item_table as module
from jaxrec.tasks.item_table import MAX_LINKS, Neighbourhood, item_table

ITEMS = 10
RNG = np.random.default_rng(0)
TEXT = RNG.normal(size=(ITEMS, 4))
TEXT = (TEXT / np.linalg.norm(TEXT, axis=1, keepdims=True)).astype(np.float32)
FEATURES = RNG.normal(size=(ITEMS, 2)).astype(np.float32)
ROWS = np.array([0, 3, 3, 5, 9, 1, 2, 6], np.int32)
TRAIN = Interactions(np.zeros(8, np.int32), ROWS, np.arange(8), np.ones(8, np.float32))
FEW = Neighbourhood(count=3, power=2.0)


def test_warm_is_what_has_a_training_event_and_only_that_is_a_neighbour():
    table = item_table(TRAIN, TEXT, FEATURES, FEW)
    assert np.flatnonzero(table.warm).tolist() == [0, 1, 2, 3, 5, 6, 9]
    near = all_nearest(TEXT, table.warm, count=3, power=2.0)
    np.testing.assert_array_equal(table.neighbour_weights, spelt_out(near, ITEMS))
    assert table.neighbour_weights[:, [4, 7, 8]].max() == 0
    assert table.neighbours.shape == table.tokens.shape == (ITEMS, 0)


def test_a_large_catalog_keeps_neighbours_as_rows(monkeypatch):
    small = item_table(TRAIN, TEXT, FEATURES, FEW)
    monkeypatch.setattr(module, "SMALL_CATALOG", ITEMS - 1)
    table = item_table(TRAIN, TEXT, FEATURES, FEW)
    assert table.neighbours.shape == table.neighbour_weights.shape == (ITEMS, 3)
    spelt = np.zeros((ITEMS, ITEMS), np.float32)
    np.put_along_axis(spelt, table.neighbours, table.neighbour_weights, axis=1)
    np.testing.assert_array_equal(spelt, small.neighbour_weights)


def test_without_text_or_count_there_are_no_neighbours():
    for text, neighbourhood in ((TEXT[:, :0], FEW), (TEXT, Neighbourhood(count=0))):
        table = item_table(TRAIN, text, FEATURES, neighbourhood)
        assert table.neighbours.shape == table.neighbour_weights.shape == (ITEMS, 0)


def test_counts_shrink_with_the_catalog_and_in_a_very_large_one():
    assert Neighbourhood(300).count_for(40) == 40
    assert Neighbourhood(300).count_for(5_000) == 300
    assert Neighbourhood(300).count_for(100_000) == MAX_LINKS // 100_000
    assert Neighbourhood(300).count_for(10**8) == 8
    assert Neighbourhood(0).count_for(10) == 0


def test_every_column_has_a_row_per_item_and_its_type():
    tokens = np.arange(2 * ITEMS, dtype=np.int32).reshape(ITEMS, 2)
    table = item_table(TRAIN, TEXT.astype(np.float64), FEATURES.astype(np.float64), FEW, tokens)
    assert {len(column) for column in table} == {ITEMS}
    kinds = ["float32", "float32", "bool", "int32", "float32", "int32"]
    assert [str(column.dtype) for column in table] == kinds
    np.testing.assert_array_equal(table.tokens, tokens)
