"""Seconds, milliseconds, microseconds and ISO 8601 all give the same UTC seconds."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from jaxrec.data.timestamps import read_times, show

WHEN = np.array([881_250_949, 1_700_000_000])


def read(values, kind=None):
    return read_times(pa.chunked_array([pa.array(values, kind)]))


@pytest.mark.parametrize("factor, unit", [(1, "seconds"), (10**3, "milliseconds"), (10**6, "microseconds")])
@pytest.mark.parametrize("form", ["int", "float", "text"])
def test_numbers_by_magnitude(factor, unit, form):
    values = WHEN * factor
    values = values.astype(float) if form == "float" else values.astype(str) if form == "text" else values
    times = read(values)
    np.testing.assert_array_equal(times.seconds, WHEN)
    assert times.unit == unit


@pytest.mark.parametrize(
    "texts",
    [
        ["1997-12-04T15:55:49Z", "2023-11-14T22:13:20Z"],
        ["1997-12-04 15:55:49", "2023-11-14 22:13:20"],
        ["1997-12-04T16:55:49+01:00", "2023-11-14T22:13:20Z"],
        ["1997-12-04T15:55:49.731", "2023/11/14 22:13:20"],
    ],
)
def test_iso_text(texts):
    times = read(texts)
    np.testing.assert_array_equal(times.seconds, WHEN)
    assert times.unit == "ISO 8601 text"


def test_dates_alone():
    assert read(["1997-12-04", "1970-01-02"]).seconds.tolist() == [881_193_600, 86_400]


def test_arrow_timestamps_with_and_without_zone():
    when = [datetime.datetime.fromtimestamp(int(w), datetime.UTC) for w in WHEN]
    for kind in (pa.timestamp("us", "UTC"), pa.timestamp("ns"), pa.timestamp("ms", "Asia/Shanghai")):
        plain = [w.replace(tzinfo=None) for w in when] if kind.tz is None else when
        np.testing.assert_array_equal(read(plain, kind).seconds, WHEN)


def test_empty_and_unreadable_are_told_apart():
    times = read(["881250949", "", "yesterday", None])
    assert times.empty.tolist() == [False, True, False, True]
    assert times.unreadable.tolist() == [False, False, True, False]
    times = read(["1997-12-04", "", "yesterday"])
    assert times.empty.tolist() == [False, True, False]
    assert times.unreadable.tolist() == [False, False, True]


def test_show():
    assert show(881_250_949) == "1997-12-04 15:55:49"
    assert show(10**17) == "100000000000000000 s"


def test_nested_times_cannot_be_read():
    times = read_times(pa.chunked_array([[{"$date": "2024-05-01"}, {"$date": "2024-05-02"}]]))
    assert times.unreadable.all() and not times.empty.any()
