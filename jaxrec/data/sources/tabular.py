"""Tables in files: CSV and TSV (plain or gzip), Parquet, JSON lines. Ids are strings whatever the file holds."""

import gzip
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson
import pyarrow.parquet as pq

from jaxrec.data.sources.delimited import is_utf8, read_delimited, wrong_encoding
from jaxrec.data.tables import Tables, check_mapping, rename_columns, require_columns
from jaxrec.errors import DataError, UserError

IDS = ("user_id", "item_id")


@dataclass(frozen=True)
class Tabular:
    """A log, and if known a catalog and a user table, each a file; the format is told by the name.

    columns: (canonical, theirs) pairs such as ("item_id", "movieId"), applied to every table that has the column.
    encoding, delimiter (None: one of , tab ; | is recognised) and quotes are for CSV and TSV; encoding for JSON too.
    """

    interactions: str = ""
    catalog: str | None = None
    users: str | None = None
    columns: tuple[tuple[str, str], ...] = ()
    encoding: str = "utf-8"
    delimiter: str | None = None
    quotes: bool = True

    def load(self) -> Tables:
        """Raises UserError when no log is named, DataError for what cannot be read."""
        if not self.interactions:
            raise UserError("no interactions: say where the log lies with --set source.interactions=log.csv")
        paths = (self.interactions, self.catalog, self.users)
        raw = [read_table(p, self.encoding, self.delimiter, self.quotes, self.columns) if p else None for p in paths]
        check_mapping(raw, self.columns, " or ".join(path for path in paths if path))
        log, catalog, users = (
            None if table is None else with_ids(rename_columns(table, self.columns), path)
            for table, path in zip(raw, paths, strict=True)
        )
        for table, needed, path in ((log, IDS, paths[0]), (catalog, IDS[1:], paths[1]), (users, IDS[:1], paths[2])):
            if table is not None:
                require_columns(table, needed, path)
                if not table.num_rows:
                    raise DataError(f"{path} has a header but no rows")
        return Tables(log, catalog, users, self.interactions)


def read_table(
    path: str | Path,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    quotes: bool = True,
    columns: Iterable[tuple[str, str]] = (),
) -> pa.Table:
    """One file, told by its name: .parquet, .jsonl (.ndjson, .json), anything else is delimited text; .gz is unpacked.

    Delimited text comes as strings; other formats keep their types. `columns` is used only to know which columns are
    ids, so that JSON keeps all their digits. Raises DataError with file and line.
    """
    path = Path(path)
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    if not path.exists():
        raise DataError(f"{path} is not there")
    if kind in (".parquet", ".pq") or path.is_dir():
        try:
            return pq.read_table(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"{path} is no Parquet file: {error}") from error
    if kind in (".jsonl", ".ndjson", ".json"):
        return _read_json_lines(path, encoding, {*IDS, *(theirs for _, theirs in columns)})
    return read_delimited(path, encoding=encoding, delimiter=delimiter, quotes=quotes)


def with_ids(table: pa.Table, where: str | Path) -> pa.Table:
    """The table with user_id and item_id as strings: integers digit by digit, whole floats below 2**53 as integers.

    Raises DataError for ids that have lost digits as floats, or are no ids at all.
    """
    for name in IDS:
        if name in table.column_names:
            table = table.set_column(table.column_names.index(name), name, _as_ids(table[name], name, where))
    return table


def _as_ids(column: pa.ChunkedArray, name: str, where: str | Path) -> pa.Array:
    column = column.combine_chunks()
    column = column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
    kind = column.type
    if pa.types.is_floating(kind):
        values = pc.fill_null(column, np.nan).to_numpy(zero_copy_only=False).astype(np.float64)
        known = np.isfinite(values)
        wrong = known & ((values != np.floor(values)) | (np.abs(values) >= 2.0**53))
        if wrong.any():
            first = values[wrong][0]
            raise DataError(
                f"{where}: {name} is stored as floats, such as {first!r}, which cannot hold an id exactly; "
                "write the column as strings or integers"
            )
        whole = pa.array(np.where(known, values, 0).astype(np.int64)).cast(pa.string())
        return pc.if_else(pa.array(known), whole, pa.scalar(None, pa.string()))
    try:
        return column.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataError(f"{where}: {name} is of type {kind}, which is no id; expected strings or integers") from error


def _read_json_lines(path: Path, encoding: str, ids: set[str]) -> pa.Table:
    """By pyarrow where ids come out as strings or integers; else line by line, since its guesses would damage ids."""
    if is_utf8(encoding):
        try:
            table = _by_pyarrow(path)
            kinds = {name: table[name].type for name in table.column_names if name in ids}
            if kinds and all(pa.types.is_string(kind) or pa.types.is_integer(kind) for kind in kinds.values()):
                return table
        except pa.ArrowInvalid:
            pass  # mixed types, a broken line or other bytes: read again line by line, to say which
    rows = []
    with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                text = line.decode("utf-8-sig" if is_utf8(encoding) else encoding)
            except UnicodeDecodeError as error:
                raise wrong_encoding(path, encoding) from error
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except ValueError as error:
                raise DataError(f"{path}, line {number}: no JSON object: {error}") from error
            if not isinstance(row, dict):
                raise DataError(f"{path}, line {number}: expected an object such as {{...}}, found {text.strip()[:40]}")
            rows.append(row)
    if not rows:
        raise DataError(f"{path} is empty: expected one JSON object a line")
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in names}
    return pa.table({n: _json_ids(v, n, path) if n in ids else _json_column(v) for n, v in columns.items()})


def _json_ids(values: list, name: str, path: Path) -> pa.Array:
    """Strings; lists of ids stay lists of strings. Raises DataError for what is no id."""
    if any(isinstance(value, list) for value in values):
        lists = [value if isinstance(value, list) else [] if value is None else [value] for value in values]
        return pa.array([[_json_id(v, name, path) for v in found] for found in lists], pa.list_(pa.string()))
    return pa.array([_json_id(value, name, path) for value in values], pa.string())


def _json_id(value: Any, name: str, path: Path) -> str | None:
    if value is None or isinstance(value, str):
        return value
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer() and abs(value) < 2**53)
    if isinstance(value, bool) or not whole:
        raise DataError(f"{path}: {name} is {json.dumps(value)} in a row, which is no id; write strings or integers")
    return str(int(value))


def _json_column(values: list) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if v is None else v if isinstance(v, str) else json.dumps(v) for v in values])


def _by_pyarrow(path: Path) -> pa.Table:
    """pyarrow reads strings such as "2012-12-21" as times, also titles; but for `timestamp` they stay as written."""
    table = _with_schema(path, None)
    texts = [(field.name, _times_as_text(field.type)) for field in table.schema if field.name != "timestamp"]
    texts = [(name, kind) for name, kind in texts if kind != table[name].type]
    return _with_schema(path, pa.schema(texts)).select(table.column_names) if texts else table


def _with_schema(path: Path, schema: pa.Schema | None) -> pa.Table:
    with pa.input_stream(str(path), compression="detect") as stream:
        read, parse = pajson.ReadOptions(block_size=1 << 24), pajson.ParseOptions(explicit_schema=schema)
        return pajson.read_json(stream, read, parse)


def _times_as_text(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_list(kind):
        return pa.list_(_times_as_text(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _times_as_text(field.type)) for field in kind])
    return pa.string() if pa.types.is_timestamp(kind) else kind
