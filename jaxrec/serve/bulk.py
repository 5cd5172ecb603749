"""Tables of histories in, a table of answers out."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.ids import IdMap
from jaxrec.data.interactions import Histories, Interactions
from jaxrec.errors import DataError
from jaxrec.serve.asking import known_rows


def read_askers(table: pa.Table, items: IdMap, default_weight: float, now: int) -> tuple[pa.Array, Histories]:
    """(user ids in order of first appearance, their histories).

    table: user_id and item_id, with optional timestamp (UTC seconds) and weight, one row per event; or user_id and one
    list column of item ids (item_id, item_ids, items or history), one row per user. Unknown item ids are ignored and
    named in a warning; a user of whom nothing is known keeps an empty history. Raises DataError for a missing
    column and for a row without a user_id.
    """
    lists = [f.name for f in table.schema if _is_list(f.type) and f.name != "user_id"]
    if "user_id" not in table.column_names or not ("item_id" in table.column_names or lists):
        raise DataError(
            f"histories: the columns are {table.column_names}; expected user_id and item_id (with optional "
            "timestamp and weight), or user_id and a list of item ids"
        )
    nameless = pc.fill_null(pc.equal(_strings(table["user_id"]), ""), True).to_numpy(zero_copy_only=False)
    if nameless.any():
        raise DataError(
            f"histories: {nameless.sum():,} rows have no user_id, first row {int(nameless.argmax()) + 1}; "
            "fill it in or leave these rows out"
        )
    if lists:
        named = [n for n in ("item_id", "item_ids", "items", "history") if n in lists] or lists
        column = table[named[0]].combine_chunks()
        users = table["user_id"].combine_chunks().cast(pa.string())
        ids = IdMap.of(users, "user")
        where = pc.list_parent_indices(column)
        table = pa.table({"user_id": users.take(where), "item_id": column.flatten()})
    else:
        ids = IdMap.of(_strings(table["user_id"]), "user")
    rows, known = known_rows(items, _strings(table["item_id"]), "histories")
    log = Interactions(
        ids.rows(_strings(table["user_id"]))[known],
        rows,
        _numbers(table, "timestamp", np.int64, now)[known],
        _numbers(table, "weight", np.float32, default_weight)[known],
    )
    return ids.ids, Histories.of(log, len(ids))


def answer_table(answers: Sequence[tuple[np.ndarray, np.ndarray]], users: pa.Array, items: pa.Array) -> pa.Table:
    """user_id, item_id, score, rank from blocks of (scores, rows) [users, k] in order; rows of -1 are left out."""
    scores = np.concatenate(
        [np.empty((0, 0), np.float32) if not answers else answers[0][0][:0], *(s for s, _ in answers)]
    )
    rows = np.concatenate([np.empty((0, 0), np.int32) if not answers else answers[0][1][:0], *(r for _, r in answers)])
    user, place = np.nonzero(rows >= 0)
    return pa.table(
        {
            "user_id": users.take(pa.array(user)),
            "item_id": items.take(pa.array(rows[user, place])),
            "score": pa.array(scores[user, place], pa.float32()),
            "rank": pa.array(place + 1, pa.int32()),
        }
    )


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _strings(column: pa.ChunkedArray) -> pa.Array:
    try:
        return column.combine_chunks().cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(f"histories: a column of ids is of type {column.type}; expected strings") from None


def _numbers(table: pa.Table, name: str, dtype: type, missing: float) -> np.ndarray:
    if name not in table.column_names:
        return np.full(table.num_rows, missing, dtype)
    try:
        values = table[name].combine_chunks().cast(pa.from_numpy_dtype(dtype))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        meaning = "UTC seconds" if name == "timestamp" else "a number"
        raise DataError(f"histories: column {name!r} is to be {meaning} ({error})") from None
    values = pc.fill_null(values, missing).to_numpy(zero_copy_only=False)
    if not np.isfinite(values).all():
        raise DataError(
            f"histories: column {name!r} holds a value that is not finite, in row {int(np.argmin(np.isfinite(values)))}"
        )
    return values
