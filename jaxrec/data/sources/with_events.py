"""Another source and what happened since: the events and items that a service kept."""

from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.events import WEIGHTS, Done, liked, read_log, standing
from jaxrec.data.features import as_numbers
from jaxrec.data.tables import Tables
from jaxrec.data.timestamps import read_times
from jaxrec.errors import DataError


@dataclass(frozen=True)
class WithEvents:
    """source, with the log of a service behind it. events: the path of the log.

    What speaks for an item becomes a row of the interactions, its weight in units of the median rating where there are
    ratings; dislikes do not, nor does a view, a click or a like of what the user has rated: the rating stands. What an
    event says of where it was goes to the log's columns, and items that were described become rows of the catalog;
    values that do not fit their column are left out, those of items counted.
    """

    source: Any = None
    events: str = ""

    def load(self) -> Tables:
        """Raises as the source does, and DataError for a log that cannot be read, or whose events do not fit the
        columns of the interactions."""
        tables = self.source.load()
        events, items = read_log(Path(self.events))
        log = _counted_in_seconds(tables.interactions) if events else tables.interactions
        rated = "rating" in log.column_names
        ordinary = float(np.nanmedian(as_numbers(log["rating"])[0])) if rated and len(log) else 1.0
        kept: list[Done] = []
        for _, own in groupby(sorted(events, key=lambda event: event.user), key=lambda event: event.user):
            kept += (event for event in standing(own) if event.kind in WEIGHTS)
        if rated:
            judged = _pairs_of(log, {event.user for event in kept})
            kept = [event for event in kept if event.kind == "rate" or (event.user, event.item_id) not in judged]
        contexts = [event.context or {} for event in kept]
        values = {f.name: [_fitting(told.get(f.name), f.type) for told in contexts] for f in log.schema} | {
            "user_id": [event.user for event in kept],
            "item_id": [event.item_id for event in kept],
            "rating": [weight for _, weight, _ in liked(kept, ordinary)],
            "timestamp": [event.at for event in kept],
        }
        known = set(() if tables.catalog is None else tables.catalog["item_id"].to_pylist())
        fresh = {item: columns for item, columns in items.items() if item not in known}
        catalog, left = tables.catalog, ""
        if catalog is not None and fresh:
            described, left = _described(fresh, catalog.schema)
            catalog = _joined(catalog, described, self.events)
        return replace(
            tables,
            interactions=_joined(log, {n: v for n, v in values.items() if n in log.column_names}, self.events),
            catalog=catalog,
            origin=f"{tables.origin}, and {len(kept):,} events and {len(fresh):,} items since{left}",
        )


def _counted_in_seconds(log: pa.Table) -> pa.Table:
    """The same with timestamps as events have them, empty where one cannot be read, and ratings that need not be whole:
    columns to which events can be added."""
    columns = {}
    if "timestamp" in log.column_names:
        times = read_times(log["timestamp"])
        columns["timestamp"] = pa.array(times.seconds, mask=times.empty | times.unreadable)
    if "rating" in log.column_names and pa.types.is_integer(log["rating"].type):
        columns["rating"] = log["rating"].cast(pa.float64())
    for name, column in columns.items():
        log = log.set_column(log.column_names.index(name), name, column)
    return log


def _pairs_of(log: pa.Table, users: set[str]) -> set[tuple[str, str]]:
    own = log.filter(pc.is_in(log["user_id"].cast(pa.string()), value_set=pa.array(users, pa.string())))
    return set(zip(own["user_id"].to_pylist(), own["item_id"].to_pylist(), strict=True))


def _described(items: dict[str, dict[str, Any]], schema: pa.Schema) -> tuple[dict[str, list], str]:
    """(the catalog's columns of the items, how many of their values do not fit and are left out, in words)."""
    columns: dict[str, list] = {}
    left = []
    for field in schema:
        said = [told.get(field.name) for told in items.values()]
        columns[field.name] = [_fitting(value, field.type) for value in said]
        misfits = sum(value is not None for value in said) - sum(value is not None for value in columns[field.name])
        if misfits:
            left.append(f"{misfits:,} of {field.name!r}")
    words = f" (left out, of another kind than their column: {', '.join(left)})" if left else ""
    return columns | {"item_id": list(items)}, words


def _fitting(value: Any, of: pa.DataType) -> Any:
    """The value as one of a column's type; None for nothing, and for what cannot be one."""
    if value is None:
        return None
    if pa.types.is_string(of) or pa.types.is_large_string(of):
        return str(value)
    if pa.types.is_nested(of) and isinstance(value, str):
        value = [value]
    try:
        return pa.scalar(value).cast(of).as_py()
    except (pa.ArrowException, OverflowError):
        return None


def _joined(table: pa.Table, columns: dict[str, list], where: str) -> pa.Table:
    """The rows of a table followed by others, in its own types; a column that is not given is empty."""
    count = len(next(iter(columns.values())))
    arrays = []
    for field in table.schema:
        values = columns.get(field.name, [None] * count)
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            values = [None if value is None else str(value) for value in values]
        try:
            if pa.types.is_integer(field.type):
                values = [None if value is None else int(float(value)) for value in values]
            elif pa.types.is_floating(field.type):
                values = [None if value is None else float(value) for value in values]
            arrays.append(pa.array(values, field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError) as error:
            raise DataError(f"{where}: {field.name!r} does not fit its column: {error}") from None
    return pa.concat_tables([table, pa.Table.from_arrays(arrays, schema=table.schema)])
