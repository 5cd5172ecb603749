"""Another source and what happened since: the events and items that a service kept."""

from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jaxrec.data.events import WEIGHTS, Done, liked, read_log, standing
from jaxrec.data.features import as_numbers
from jaxrec.data.tables import Tables
from jaxrec.errors import DataError


@dataclass(frozen=True)
class WithEvents:
    """source, with the log of a service behind it. events: the path of the log.

    What speaks for an item becomes a row of the interactions, its weight in units of the median rating where there are
    ratings; dislikes do not. What an event says of where it was goes to the log's columns; a value that does not fit
    one is left out. Items that were described become rows of the catalog.
    """

    source: Any = None
    events: str = ""

    def load(self) -> Tables:
        """Raises as the source does, and DataError for a log that cannot be read or does not fit its catalog."""
        tables = self.source.load()
        events, items = read_log(Path(self.events))
        log, rated = tables.interactions, "rating" in tables.interactions.column_names
        ordinary = float(np.nanmedian(as_numbers(log["rating"])[0])) if rated and len(log) else 1.0
        kept: list[Done] = []
        for _, own in groupby(sorted(events, key=lambda event: event.user), key=lambda event: event.user):
            kept += (event for event in standing(own) if event.kind in WEIGHTS)
        values = {field.name: _told(kept, field) for field in log.schema} | {
            "user_id": [event.user for event in kept],
            "item_id": [event.item_id for event in kept],
            "rating": [weight for _, weight, _ in liked(kept, ordinary)],
            "timestamp": [event.at for event in kept],
        }
        known = set(() if tables.catalog is None else tables.catalog["item_id"].to_pylist())
        fresh = {item: columns for item, columns in items.items() if item not in known}
        catalog = tables.catalog
        if catalog is not None and fresh:
            described = {"item_id": list(fresh)} | {
                name: [columns.get(name) for columns in fresh.values()]
                for name in catalog.column_names
                if name != "item_id"
            }
            catalog = _joined(catalog, described, self.events)
        return replace(
            tables,
            interactions=_joined(log, {n: v for n, v in values.items() if n in log.column_names}, self.events),
            catalog=catalog,
            origin=f"{tables.origin}, and {len(kept):,} events and {len(fresh):,} items since",
        )


def _told(events: list[Done], field: pa.Field) -> list[Any]:
    """What each event says of a column; None for nothing, and for what is not of the column's type."""

    def fitting(value: str | None) -> Any:
        try:
            return None if value is None else pa.scalar(value, pa.string()).cast(field.type).as_py()
        except pa.ArrowException:
            return None

    return [fitting((event.context or {}).get(field.name)) for event in events]


def _joined(table: pa.Table, columns: dict[str, list], where: str) -> pa.Table:
    """The rows of a table followed by others, in its own types; a column that is not given is empty."""
    count = len(next(iter(columns.values())))
    arrays = []
    for field in table.schema:
        values = columns.get(field.name, [None] * count)
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            values = [None if value is None else str(value) for value in values]
        try:
            if pa.types.is_nested(field.type):
                values = [[value] if isinstance(value, str) else value for value in values]
            elif pa.types.is_integer(field.type):
                values = [None if value is None else int(float(value)) for value in values]
            elif pa.types.is_floating(field.type):
                values = [None if value is None else float(value) for value in values]
            arrays.append(pa.array(values, field.type))
        except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError) as error:
            raise DataError(f"{where}: {field.name!r} does not fit the catalog: {error}") from None
    return pa.concat_tables([table, pa.Table.from_arrays(arrays, schema=table.schema)])
