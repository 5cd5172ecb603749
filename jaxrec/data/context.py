"""What a request comes with beside its asker: the hour, the weekday, and columns of the log such as device or place."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.features import as_strings
from jaxrec.errors import DataError, UserError

HOUR, WEEKDAY = "hour", "weekday"
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
BY_TIME = {HOUR: tuple(map(str, range(24))), WEEKDAY: DAYS}
MOST = 64  # values of a column, the most frequent; others count as unknown
THURSDAY = 3  # 1 January 1970
OWN = ("user_id", "item_id", "weight", "timestamp")  # of every log: the first two are what is asked and answered


@dataclass(frozen=True)
class ContextColumn:
    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Contexts:
    """The columns that are read, each one-hot over its values. utc_offset: hours that are added to UTC for the hour and
    the weekday, which are read from the time of an event or a request unless it names them."""

    columns: tuple[ContextColumn, ...] = ()
    utc_offset: float = 0.0

    @classmethod
    def fit(cls, log: pa.Table, names: Sequence[str], utc_offset: float = 0.0) -> "Contexts":
        """Raises DataError for a column that the log has not, that is empty or no context, and for hours without times;
        UserError for an offset of more than a day."""
        if not abs(utc_offset) <= 24:
            raise UserError(f"cleaning.utc_offset={utc_offset:g} is in hours, from -24 to 24")
        columns, there = [], [name for name in log.column_names if name not in OWN]
        for name in dict.fromkeys(names):
            if name in there:
                counts = pc.value_counts(as_strings(log[name]).drop_null()).to_pylist()
                if not counts:
                    raise DataError(f"cleaning.context: {name!r} of the log is empty throughout; leave it out")
                frequent = sorted(counts, key=lambda entry: (-entry["counts"], entry["values"]))[:MOST]
                columns.append(ContextColumn(name, tuple(sorted(entry["values"] for entry in frequent))))
            elif name in BY_TIME and "timestamp" in log.column_names:
                columns.append(ContextColumn(name, BY_TIME[name]))
            else:
                could = [*there, *(BY_TIME if "timestamp" in log.column_names else ())]
                raise DataError(
                    f"cleaning.context: {name!r} is no column of the log that can be context; "
                    f"it could be {', '.join(could) or 'none'}"
                )
        return cls(tuple(columns), utc_offset)

    @property
    def width(self) -> int:
        return sum(len(column.values) for column in self.columns)

    def codes(self, log: pa.Table) -> np.ndarray:
        """int32 [rows, columns], places among the values, -1 for unknown ones."""
        found = np.full((log.num_rows, len(self.columns)), -1, np.int32)
        by_time = self._by_time(log["timestamp"].to_numpy()) if "timestamp" in log.column_names else {}
        for place, column in enumerate(self.columns):
            if column.name in log.column_names:
                codes = pc.index_in(as_strings(log[column.name]), value_set=pa.array(column.values, pa.string()))
                found[:, place] = pc.fill_null(codes, -1).to_numpy(zero_copy_only=False)
            elif column.name in by_time:
                found[:, place] = by_time[column.name]
        return found

    def hot(self, codes: np.ndarray) -> np.ndarray:
        """float32 [rows, width]: each column one-hot, zeros for what is unknown. codes: int32 [rows, columns]."""
        parts = [np.zeros((len(codes), 0), np.float32)]
        for place, column in enumerate(self.columns):
            parts.append((codes[:, place, None] == np.arange(len(column.values))).astype(np.float32))
        return np.concatenate(parts, axis=1)

    def of(self, given: Mapping[str, str], at: int) -> np.ndarray:
        """One request's, float32 [1, width]; at: UTC seconds. A value that training never saw counts as unknown.

        Raises UserError for a column that is not read."""
        _refuse_odd(given, [column.name for column in self.columns], "")
        table = {name: pa.array([str(value)], pa.string()) for name, value in given.items()}
        return self.hot(self.codes(pa.table({**table, "timestamp": pa.array([at], pa.int64())})))

    def check_event(self, given: Iterable[str]) -> None:
        """Raises UserError for a column that is not read of an event; hour and weekday are those of its time."""
        _refuse_odd(given, self.told, " of an event")

    @property
    def told(self) -> tuple[str, ...]:
        """The columns that the log has; the others are read from its times."""
        return tuple(column.name for column in self.columns if column.values != BY_TIME.get(column.name))

    def by_time(self, at: int) -> dict[str, str]:
        """The hour and the weekday of a moment, as they are called."""
        found = self._by_time(np.array([at], np.int64))
        return {name: BY_TIME[name][int(codes[0])] for name, codes in found.items()}

    def _by_time(self, seconds: np.ndarray) -> dict[str, np.ndarray]:
        hours = (seconds + round(self.utc_offset * 3_600)) // 3_600
        return {HOUR: hours % 24, WEEKDAY: (hours // 24 + THURSDAY) % 7}

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "Contexts":
        columns = tuple(ContextColumn(c["name"], tuple(c["values"])) for c in found["columns"])
        return cls(columns, found["utc_offset"])


def _refuse_odd(given: Iterable[str], names: Sequence[str], where: str) -> None:
    odd = next((name for name in given if name not in names), None)
    if odd is not None:
        read = ", ".join(map(repr, names)) or "none"
        raise UserError(f"context: this artifact reads no {odd!r}{where}; what it reads: {read}")
