"""Asking an artifact from the command line: ids and files in, lines or a table out."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from jaxrec.data.features import as_numbers
from jaxrec.data.sources.tabular import IDS, read_table, with_ids
from jaxrec.data.tables import rename_columns, require_columns
from jaxrec.data.text_vectors import says_anything
from jaxrec.data.timestamps import read_times
from jaxrec.embed import progress_bar, read_texts
from jaxrec.errors import DataError, UserError
from jaxrec.files import write_atomically
from jaxrec.serve.recommender import Recommender
from jaxrec.summary import print_recommendations


@dataclass(frozen=True)
class Files:
    """What else is read when an artifact is asked: candidates, one id a line; new items, a table; the user's own names
    of columns, as (ours, theirs), and the encoding of the tables."""

    candidates: Path | None = None
    new_items: Path | None = None
    columns: Sequence[tuple[str, str]] = ()
    encoding: str = "utf-8"

    def table(self, path: Path) -> pa.Table:
        """A file with our column names, ids as strings. Raises DataError where it cannot be read or has no rows."""
        try:
            read = read_table(path, self.encoding, columns=self.columns)
        except DataError as error:  # written for training, where the encoding is an option of the config
            raise DataError(str(error).replace("--set source.encoding=", "--encoding ")) from error
        table = rename_columns(read, self.columns)
        if not table.num_rows:
            raise DataError(f"{path} has a header but no rows")
        if "item_id" in table.column_names and pa.types.is_nested(table["item_id"].type):  # a list for each user
            table = table.rename_columns(["items" if name == "item_id" else name for name in table.column_names])
        table = with_ids(table, path)
        for name in IDS:  # as in training
            if name in table.column_names:
                trimmed = pc.utf8_trim_whitespace(table[name])
                table = table.set_column(table.column_names.index(name), name, trimmed)
        return table

    def ids(self) -> list[str] | None:
        """The candidates."""
        if self.candidates is None:
            return None
        if self.candidates.is_dir():
            raise UserError(f"{self.candidates} is a folder; --candidates is a file of one item id a line")
        empty = self.candidates.is_file() and not self.candidates.stat().st_size
        ids = [] if empty else [line.strip() for line in read_texts(self.candidates) if line.strip()]
        if not ids:
            raise DataError(f"{self.candidates} is empty; --candidates is a file of one item id a line")
        return ids


def ask(
    artifact: Path,
    user: str | None,
    history: str | None,
    text: str | None,
    context: Mapping[str, str],
    files: Files,
    *,
    k: int,
    as_json: bool,
) -> None:
    """Print the k best items for one asker. Raises UserError where nobody asks."""
    if user is None and history is None and text is None and not context:
        raise UserError("who asks? Give --user ID, --history 'id1,id2', --text 'words', or --histories FILE")
    recommender = _load(artifact, files)
    answer = recommender.recommend(user, _ids(history), k=k, candidates=files.ids(), text=text, context=context)
    if as_json:
        print(json.dumps([item.to_json() for item in answer], ensure_ascii=False, indent=1))
    else:
        said = (
            user and f"user {user}",
            _ids(history) and "this history",
            says_anything(text) and "these words",
            context and "this context",
        )
        print_recommendations(" and ".join(filter(None, said)), [], answer)


def ask_many(artifact: Path, histories: Path, out: Path, files: Files, *, k: int) -> None:
    """Write user_id, item_id, score, rank of the k best items of every user in a file.

    out: .csv or .parquet. Raises UserError where it is neither, or cannot be written.
    """
    if out.suffix not in (".csv", ".parquet"):
        raise UserError(f"--out {out}: the name must end in .csv or .parquet")
    if out.is_dir():
        raise UserError(f"--out {out} is a folder; name a file in it")
    recommender = _load(artifact, files)
    asked = _events(files.table(histories), histories)
    with progress_bar("ranking") as progress:
        answers = recommender.recommend_many(asked, k=k, candidates=files.ids(), progress=progress)
    try:
        write_atomically(out, partial(pacsv.write_csv if out.suffix == ".csv" else pq.write_table, answers))
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror or error}") from error
    print(f"{answers.num_rows:,} rows for {len(pc.unique(answers['user_id'])):,} users: {out}")


def show_profile(artifact: Path, user: str | None, item: str | None, history: str | None, *, as_json: bool) -> None:
    found = Recommender.load(artifact).profile(user, item, _ids(history))
    print(json.dumps(found.to_json(), ensure_ascii=False, indent=1) if as_json else "\n".join(found.lines()))


def _load(artifact: Path, files: Files) -> Recommender:
    recommender = Recommender.load(artifact)
    if files.new_items is None:
        return recommender
    return recommender.with_new_items(files.table(files.new_items))


def _events(table: pa.Table, path: Path) -> pa.Table:
    """Timestamps of any kind as seconds, a rating as the weight, as training reads them; null where empty."""
    lists = any(pa.types.is_nested(field.type) for field in table.schema)
    require_columns(table, ("user_id",) if lists else ("user_id", "item_id"), str(path))
    if "rating" in table.column_names and "weight" not in table.column_names:
        table = table.rename_columns(["weight" if name == "rating" else name for name in table.column_names])
    if "timestamp" in table.column_names:
        times = read_times(table["timestamp"])
        table = _replaced(table, "timestamp", times.seconds, times.empty, times.unreadable, path)
    if "weight" in table.column_names:
        values, unreadable = as_numbers(table["weight"])
        bad = unreadable | np.isinf(values)
        table = _replaced(table, "weight", values.astype(np.float32), np.isnan(values), bad, path)
    return table


def _replaced(table: pa.Table, name: str, values: np.ndarray, empty: np.ndarray, bad: np.ndarray, path: Path):
    if bad.any():
        first = table[name][int(bad.argmax())].as_py()
        raise DataError(f"{path}: {bad.sum():,} values of {name!r} cannot be used, first {first!r}; mend them")
    return table.set_column(table.column_names.index(name), name, pa.array(values, mask=empty))


def _ids(line: str | None) -> list[str] | None:
    """Ids between commas and line ends, as in CSV, so that an id with a comma can be quoted."""
    if line is None:
        return None
    rows = csv.reader(line.splitlines(), skipinitialspace=True)
    return [item.strip() for row in rows for item in row if item.strip()]
