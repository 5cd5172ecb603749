"""Cleaned tables to dense rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.catalog import Catalog
from jaxrec.data.columns import Columns
from jaxrec.data.context import Contexts
from jaxrec.data.ids import NO_ROW, IdMap
from jaxrec.data.interactions import Interactions
from jaxrec.data.knowledge import Knowledge, index_knowledge
from jaxrec.data.tables import Tables, require_columns
from jaxrec.data.users import Users


@dataclass(frozen=True, eq=False)
class Dataset:
    """Interactions as rows, and what the rows are.

    Item rows: the catalog's order first, items without interactions included, then items that only the log names, by
    first appearance. User rows: the user table's order, then the log's. knowledge: None where none was asked for.
    contexts: what is read of where events come from.
    """

    interactions: Interactions
    catalog: Catalog
    users: Users
    item_map: IdMap
    user_map: IdMap
    knowledge: Knowledge | None = None
    contexts: Contexts = Contexts()

    @property
    def num_items(self) -> int:
        return len(self.item_map)

    @property
    def num_users(self) -> int:
        return len(self.user_map)


def index_ids(
    tables: Tables,
    items: Columns | None = None,
    users: Columns | None = None,
    context: Sequence[str] = (),
    utc_offset: float = 0.0,
) -> Dataset:
    """Dense rows for cleaned tables. `items` and `users` say how their columns are read; None: by their values.
    context, utc_offset: see `Cleaning`.

    Timestamps of a log that has none are 0; weights are `weight` (from cleaning), else 1.
    Raises DataError for a column of context that is not there.
    """
    log = tables.interactions
    require_columns(log, ("user_id", "item_id"), tables.origin)
    item_map, catalog, item_rows = _align(tables.catalog, log["item_id"], "item")
    user_map, people, user_rows = _align(tables.users, log["user_id"], "user")
    empty = np.zeros(log.num_rows, np.int64)
    contexts = Contexts.fit(log, context, utc_offset)
    interactions = Interactions(
        user_map.rows(_plain(log["user_id"])),
        item_map.rows(_plain(log["item_id"])),
        _plain(log["timestamp"]).to_numpy().astype(np.int64) if "timestamp" in log.column_names else empty,
        (_plain(log["weight"]).to_numpy() if "weight" in log.column_names else empty + 1).astype(np.float32),
        contexts.codes(log),
    )
    knowledge = None if tables.knowledge is None else index_knowledge(tables.knowledge, item_map)
    whole_catalog, everybody = Catalog.of(catalog, item_rows, items), Users.of(people, user_rows, users)
    return Dataset(interactions, whole_catalog, everybody, item_map, user_map, knowledge, contexts)


def _align(table: pa.Table | None, logged: pa.ChunkedArray, name: str) -> tuple[IdMap, pa.Table, pa.Table]:
    """The id map, the table as given, and the table with one row per id (nulls for ids that only the log names)."""
    key = f"{name}_id"
    if table is None:
        table = pa.table({key: pa.array([], pa.string())})
    ids = IdMap.of(pa.concat_arrays([_plain(table[key]), _plain(logged)]), name)
    where = IdMap(_plain(table[key]), name).find(ids.ids)
    rows = table.take(pa.array(where, mask=where == NO_ROW))
    return ids, table, rows.set_column(rows.column_names.index(key), key, ids.ids)


def _plain(column: pa.ChunkedArray) -> pa.Array:
    column = column.combine_chunks()
    return pc.cast(column, pa.string()) if pa.types.is_large_string(column.type) else column
