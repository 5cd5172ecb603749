"""Ready splits are read as the source is, and may not leak."""

import pytest

from jaxrec.data.cleaning import Cleaning, clean
from jaxrec.data.dataset import index_ids
from jaxrec.data.given import Given
from jaxrec.data.sources.tabular import Tabular
from jaxrec.errors import DataError, UserError

HEAD = "who;what;when\n"
TRAIN = HEAD + "u;a;880000000\nu;b;880000001\nv;a;880000002\nv;c;880000003\n"


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="gbk")
    return str(path)


def prepared(folder, valid="v;b;880000010\n", test="u;c;880000020\n", **options):
    source = Tabular(
        write(folder, "train.csv", TRAIN), columns=(("user_id", "who"), ("item_id", "what"), ("timestamp", "when")),
        encoding="gbk",
    )  # fmt: skip
    valid, test = write(folder, "valid.csv", HEAD + valid), write(folder, "test.csv", HEAD + test)
    data = index_ids(clean(source.load())[0])
    return data, Given(valid=valid, test=test, **options).like(source, Cleaning())


def test_files_become_the_parts(tmp_path):
    data, rule = prepared(tmp_path)
    holdout = rule(data)
    assert holdout.counts() == {"train": 4, "valid": 1, "test": 1, "candidates": 3, "users": 1, "positives": 1}
    assert data.user_map.take(holdout.test.user_rows).tolist() == ["u"]
    assert data.item_map.take(holdout.test.item_rows).tolist() == ["c"]
    assert holdout.test.timestamps.tolist() == [880_000_020]
    assert not holdout.notes


def test_a_split_that_is_none_by_time_is_told(tmp_path):
    data, rule = prepared(tmp_path, test="u;c;879999999\n")
    assert any("it is no split by time" in note for note in rule(data).notes)


@pytest.mark.parametrize("row, name", [("nobody;c;880000020\n", "user_id"), ("u;none;880000020\n", "item_id")])
def test_unknown_ids_are_refused_or_dropped_and_counted(tmp_path, row, name):
    data, rule = prepared(tmp_path, test="u;c;880000020\n" + row)
    with pytest.raises(DataError, match=f"1 of 2 rows have a {name} .*--set holdout.unknown=drop"):
        rule(data)
    data, rule = prepared(tmp_path, test="u;c;880000020\n" + row, unknown="drop")
    holdout = rule(data)
    assert len(holdout.test) == 1 and any(f"1 rows dropped: {name}" in note for note in holdout.notes)


def test_the_same_pair_in_two_parts_is_a_leak(tmp_path):
    data, rule = prepared(tmp_path, test="u;c;880000020\nv;a;880000021\n")
    with pytest.raises(
        DataError, match="1 pairs of user and item stand in train and in test, first user 'v' with item"
    ):
        rule(data)


def test_both_files_are_needed(tmp_path):
    data, _ = prepared(tmp_path)
    with pytest.raises(UserError, match="--set holdout.valid=FILE"):
        Given(test="x.csv")(data)


def test_own_options_are_kept():
    mine = Given("a", "b", columns=(("item_id", "x"),), delimiter=";")
    taken = mine.like(Tabular("log.csv", columns=(("user_id", "y"),), encoding="gbk"), Cleaning(min_rating=3))
    assert (taken.columns, taken.delimiter, taken.encoding) == ((("item_id", "x"),), ";", "gbk")
    assert taken.cleaning.min_rating == 3
