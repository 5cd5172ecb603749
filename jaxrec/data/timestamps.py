"""Timestamps of any common kind to UTC seconds."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.features import as_numbers

EARLIEST = 631_152_000  # 1990-01-01
# Below 1e11 a number of seconds is before the year 5138, while one of milliseconds is before 1973; and so on by 1000.
UNITS = (("seconds", 1e11, 1), ("milliseconds", 1e14, 1_000), ("microseconds", 1e17, 1_000_000))


@dataclass(frozen=True, eq=False)
class Times:
    """seconds: int64 [n], 0 where missing. empty, unreadable: bool [n]. unit: how the column was read, in words."""

    seconds: np.ndarray
    empty: np.ndarray
    unreadable: np.ndarray
    unit: str


def read_times(column: pa.ChunkedArray) -> Times:
    """Numbers by the magnitude of their median (s, ms, us or ns), text as ISO 8601; without a zone it is UTC."""
    column = column.combine_chunks()
    if pa.types.is_temporal(column.type):
        empty = column.is_null().to_numpy(zero_copy_only=False)
        seconds = pc.fill_null(column.cast(pa.timestamp("s"), safe=False).cast(pa.int64()), 0)
        return Times(seconds.to_numpy(), empty, np.zeros(len(empty), bool), "timestamps")
    values, unreadable = as_numbers(column)
    if pa.types.is_nested(column.type):
        nothing = np.zeros(len(values), bool)
        return Times(np.zeros(len(values), np.int64), nothing, ~nothing, "nested values")
    if unreadable.mean() > 0.5 if len(values) else False:
        return _read_iso(column.cast(pa.string()))
    finite = np.isfinite(values)
    typical = float(np.median(np.abs(values[finite]))) if finite.any() else 0.0
    unit, _, divisor = next((u for u in UNITS if typical < u[1]), ("nanoseconds", np.inf, 1_000_000_000))
    if pa.types.is_integer(column.type):  # exact also beyond 2**53
        seconds = pc.fill_null(column, 0).cast(pa.int64()).to_numpy() // divisor
    else:
        seconds = np.floor(np.where(finite, values, 0) / divisor).clip(-(2**62), 2**62).astype(np.int64)
    return Times(seconds, ~finite & ~unreadable, unreadable, unit)


def show(seconds: int) -> str:
    """ "1997-09-20 03:05:10", UTC; a number that is no date stays a number."""
    try:
        return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return f"{seconds} s"


def _read_iso(text: pa.Array) -> Times:
    text = pc.fill_null(pc.utf8_trim_whitespace(text), "")
    empty = pc.equal(text, "")
    distinct = pc.unique(text)
    try:
        zoned = pc.match_substring_regex(distinct, r"(Z|[+-]\d\d:?\d\d)$")
        if pc.any(pc.and_(zoned, pc.match_substring(distinct, ":"))).as_py():
            known = distinct.filter(pc.not_equal(distinct, "")).cast(pa.timestamp("s", "UTC"))
        else:
            known = distinct.filter(pc.not_equal(distinct, "")).cast(pa.timestamp("s"))
        values = np.zeros(len(distinct), np.int64)
        bad = np.zeros(len(distinct), bool)
        values[pc.not_equal(distinct, "").to_numpy(zero_copy_only=False)] = known.cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:  # fractions, mixed zones or unreadable text: one distinct value at a time
        parsed = [_parse_iso(value) for value in distinct.to_pylist()]
        bad = np.array([value is None for value in parsed])
        values = np.array([value or 0 for value in parsed], np.int64)
    where = pc.index_in(text, value_set=distinct).to_numpy(zero_copy_only=False)
    empty = empty.to_numpy(zero_copy_only=False)
    return Times(values[where], empty, bad[where] & ~empty, "ISO 8601 text")


def _parse_iso(text: str) -> int | None:
    try:
        when = datetime.fromisoformat(text.replace("/", "-"))
    except ValueError:
        return None
    return int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() // 1)
