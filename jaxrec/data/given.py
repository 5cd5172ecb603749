"""Ready splits from files."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from jaxrec.data.cleaning import Cleaning, clean_log
from jaxrec.data.dataset import Dataset
from jaxrec.data.holdout import Holdout, holdout_of
from jaxrec.data.ids import NO_ROW
from jaxrec.data.interactions import Interactions
from jaxrec.data.leaks import check_disjoint
from jaxrec.data.sources.tabular import read_table, with_ids
from jaxrec.data.tables import rename_columns, require_columns
from jaxrec.data.timestamps import show
from jaxrec.errors import DataError, UserError


@dataclass(frozen=True)
class Given:
    """The log is train; validation and test are files of the same kind (CSV, TSV, Parquet, JSONL).

    Leak rule: no (user, item) pair stands in two parts. unknown: a user or item that neither the log nor its tables
    have is refused, or dropped and counted. candidates: the items of "train", of the whole "log" (train, validation
    and test), or of the whole "catalog". columns, encoding, delimiter, quotes: as of the `Tabular` source; `like`
    takes them over from it. cleaning: the rules for the rows of the two files.
    """

    valid: str = ""
    test: str = ""
    unknown: Literal["refuse", "drop"] = "refuse"
    candidates: Literal["train", "log", "catalog"] = "log"
    columns: tuple[tuple[str, str], ...] = ()
    encoding: str = "utf-8"
    delimiter: str | None = None
    quotes: bool = True
    cleaning: Cleaning = field(default_factory=Cleaning)
    refit: bool = False

    def like(self, source: Any, cleaning: Cleaning) -> "Given":
        """This rule with the reading options of `source`, where its own are left alone, and these cleaning rules."""
        own, taken = Given(), {}
        for name in ("columns", "encoding", "delimiter", "quotes"):
            if getattr(self, name) == getattr(own, name) and hasattr(source, name):
                taken[name] = getattr(source, name)
        return replace(self, **taken, cleaning=cleaning)

    def __call__(self, dataset: Dataset) -> Holdout:
        """Raises UserError when a file is not named, DataError for what cannot be used."""
        for name in ("valid", "test"):
            if not getattr(self, name):
                raise UserError(f"Given needs both parts: say --set holdout.{name}=FILE")
        notes: list[str] = []
        train = dataset.interactions
        valid, test = (self._read(path, dataset, notes) for path in (self.valid, self.test))
        parts = (train, valid, test)
        check_disjoint(parts, dataset)
        if train.timestamps.any() and test.timestamps.any() and train.timestamps.max() > test.timestamps.min():
            notes.append(
                f"given holdout: train ends at {show(train.timestamps.max())}, after test begins at "
                f"{show(test.timestamps.min())}; it is no split by time"
            )
        everything = np.ones(dataset.num_items, bool)
        if self.candidates != "catalog":
            logs = parts if self.candidates == "log" else parts[:1]
            everything = np.bincount(np.concatenate([p.item_rows for p in logs]), minlength=dataset.num_items) > 0
        return holdout_of(parts, everything, everything, dataset, "given", tuple(notes))

    def table(self, path: str) -> pa.Table:
        """One of the two files as it came, with string ids. Raises DataError for what cannot be read."""
        raw = read_table(path, self.encoding, self.delimiter, self.quotes, self.columns)
        table = with_ids(rename_columns(raw, self.columns), path)
        require_columns(table, ("user_id", "item_id"), path)
        return table

    def _read(self, path: str, dataset: Dataset, notes: list[str]) -> Interactions:
        log, counts, _ = clean_log(self.table(path), self.cleaning, path)
        notes += [f"{path}: {c.rows:,} {c.action}: {c.rule}" for c in counts if c.rows]
        ids = {name: log[name].combine_chunks() for name in ("user_id", "item_id")}
        users, items = dataset.user_map.find(ids["user_id"]), dataset.item_map.find(ids["item_id"])
        for rows, name in ((users, "user_id"), (items, "item_id")):
            unknown = np.flatnonzero(rows == NO_ROW)
            if unknown.size and self.unknown == "refuse":
                raise DataError(
                    f"{path}: {unknown.size:,} of {len(rows):,} rows have a {name} that train and its tables do not "
                    f"have, first {ids[name][int(unknown[0])].as_py()!r}; nothing can be said of it. "
                    "To leave such rows out, say --set holdout.unknown=drop"
                )
            if unknown.size:
                notes.append(f"{path}: {unknown.size:,} rows dropped: {name} is not in train or its tables")
        known = (users != NO_ROW) & (items != NO_ROW)
        empty = np.zeros(len(users), np.int64)
        times = log["timestamp"].to_numpy() if "timestamp" in log.column_names else empty
        context = dataset.contexts.codes(log)
        return Interactions(users, items, times, log["weight"].to_numpy(), context).take(known)
