"""What is dropped, mended or refused before training, each by a stated rule and counted."""

import time
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.columns import Columns
from jaxrec.data.features import as_numbers, as_strings
from jaxrec.data.tables import Tables, require_columns
from jaxrec.data.timestamps import EARLIEST, read_times, show
from jaxrec.errors import DataError

SECONDS_OF_GRACE = 86_400  # clocks and time zones differ


@dataclass(frozen=True)
class Count:
    """One rule and how many rows it met. action: "dropped", "merged", "mended" or "kept"."""

    table: str
    rule: str
    action: str
    rows: int


@dataclass(frozen=True)
class CleaningReport:
    """Rows before and after, every rule with its count (0 included), and notes such as the range of time."""

    rows_before: int
    rows_after: int
    counts: tuple[Count, ...]
    notes: tuple[str, ...]

    def lines(self) -> list[str]:
        """What a person reads: only the rules that met a row."""
        head = f"interactions: {self.rows_before:,} rows read, {self.rows_after:,} kept"
        met = [f"{c.table}: {c.rows:,} {c.action}: {c.rule}" for c in self.counts if c.rows]
        return [head, *met, *self.notes]

    def to_json(self) -> dict[str, Any]:
        counts = [{"table": c.table, "rule": c.rule, "action": c.action, "rows": c.rows} for c in self.counts]
        notes = list(self.notes)
        return {"rows_before": self.rows_before, "rows_after": self.rows_after, "counts": counts, "notes": notes}


@dataclass(frozen=True)
class Cleaning:
    """The rules.

    ratings: "explicit" keeps the rating as the weight; "implicit" counts each row as one event; "auto" is explicit
    where there is a rating column. All ratings equal is refused unless "implicit" or a min_rating is stated.
    min_rating: rows below are dropped, after duplicates are merged: the last rating must reach it.
    rating_range: ratings outside (low, high) are impossible and dropped, before duplicates are merged. With "implicit",
    what passes these two counts as one event.
    timestamps: outside 1990 to now "refuse" raises, "drop" drops the row, "ignore" reads no timestamps at all.
    duplicates of (user, item): "merge" keeps the last rating, or sums implicit events; "keep" keeps all.
    unknown_items: ids that the catalog does not have: "keep" or "drop".
    min_per_user, min_per_item: users and items with fewer rows are dropped, again and again until none is left (core).
    items, users: how the columns of these tables are read. context: columns of the log that say where an event comes
    from, such as "device" or "place"; "hour" and "weekday" are read from its time where they are no columns, utc_offset
    hours beside UTC.
    """

    ratings: Literal["auto", "explicit", "implicit"] = "auto"
    min_rating: float | None = None
    rating_range: tuple[float, float] | None = None
    timestamps: Literal["refuse", "drop", "ignore"] = "refuse"
    duplicates: Literal["merge", "keep"] = "merge"
    unknown_items: Literal["keep", "drop"] = "keep"
    min_per_user: int = 1
    min_per_item: int = 1
    items: Columns = field(default_factory=Columns)
    users: Columns = field(default_factory=Columns)
    context: tuple[str, ...] = ()
    utc_offset: float = 0.0


def clean(tables: Tables, rules: Cleaning | None = None) -> tuple[Tables, CleaningReport]:
    """Tables that can be indexed, and the report.

    interactions then hold user_id, item_id, weight float32, timestamp int64 UTC seconds (where known), and the other
    columns, in file order. catalog and users hold one row per id. Raises DataError when too little is left to learn
    from, or a rule refuses.
    """
    rules = rules or Cleaning()
    require_columns(tables.interactions, ("user_id", "item_id"), tables.origin)
    counts, notes = [], []
    catalog = _one_row_per_id(tables.catalog, "item_id", "catalog", tables.origin, counts, notes)
    users = _one_row_per_id(tables.users, "user_id", "users", tables.origin, counts, notes)
    log, log_counts, log_notes = clean_log(tables.interactions, rules, tables.origin)
    counts, notes = log_counts + counts, log_notes + notes
    if catalog is not None:
        known = pc.is_in(log["item_id"], value_set=catalog["item_id"].combine_chunks())
        drop = rules.unknown_items == "drop"
        log = _keep(log, known, counts, "item id is not in the catalog", drop=drop)
    if users is not None:
        known = pc.is_in(log["user_id"], value_set=users["user_id"].combine_chunks())
        log = _keep(log, known, counts, "user id is not in the user table", drop=False)
    log = _core(log, rules, counts)
    _refuse_too_little(log, tables, rules, counts)
    report = CleaningReport(tables.interactions.num_rows, log.num_rows, tuple(counts), tuple(notes))
    return Tables(log, catalog, users, tables.origin, tables.knowledge), report


def clean_log(log: pa.Table, rules: Cleaning, origin: str) -> tuple[pa.Table, list[Count], list[str]]:
    """The rules for the rows of one log, with counts and notes.

    In this order: ids, ratings, timestamps, duplicates, and min_rating last, so that it is asked of the rating that
    counts: who rated 5 and then 1 did not like it.
    """
    if not log.num_rows:
        raise DataError(f"{origin} has a header but no rows")
    counts: list[Count] = []
    notes: list[str] = []
    explicit = "rating" in log.column_names if rules.ratings == "auto" else rules.ratings == "explicit"
    log = _clean_ids(log, counts)
    judged = explicit or rules.min_rating is not None or rules.rating_range is not None
    log = _clean_ratings(log, rules, origin, counts) if judged else _as_events(log, notes)
    log = _clean_times(log, rules, origin, counts, notes)
    log = _merge_duplicates(log, rules, judged, counts)
    if rules.min_rating is not None:
        enough = pc.greater_equal(log["weight"], pa.scalar(rules.min_rating, pa.float32()))  # as the ratings are kept
        log = _keep(log, enough, counts, f"rating is below {rules.min_rating:g}")
    return log if explicit or not judged else _as_events(log, notes), counts, notes


def _keep(
    table: pa.Table, good: Any, counts: list[Count], rule: str, *, name: str = "interactions", drop: bool = True
) -> pa.Table:
    good = pc.fill_null(pa.array(good) if isinstance(good, np.ndarray) else good, False)
    bad = table.num_rows - (pc.sum(good).as_py() or 0)
    counts.append(Count(name, rule, "dropped" if drop else "kept", bad))
    return table.filter(good) if bad and drop else table


def _clean_ids(log: pa.Table, counts: list[Count]) -> pa.Table:
    for name in ("user_id", "item_id"):
        log = _trim_ids(log, name, "interactions", counts)
        log = _keep(log, pc.is_valid(log[name]), counts, f"{name} is empty")
    return log


def _trim_ids(table: pa.Table, name: str, where: str, counts: list[Count]) -> pa.Table:
    ids = table[name].combine_chunks().cast(pa.string())
    trimmed = pc.utf8_trim_whitespace(ids)
    mended = pc.sum(pc.not_equal(ids, trimmed)).as_py() or 0
    counts.append(Count(where, f"spaces around {name}", "mended", mended))
    trimmed = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
    return table.set_column(table.column_names.index(name), name, trimmed)


def _one_row_per_id(
    table: pa.Table | None, name: str, where: str, origin: str, counts: list[Count], notes: list[str]
) -> pa.Table | None:
    if table is None:
        return None
    require_columns(table, (name,), f"the {where} of {origin}")
    table = _trim_ids(table, name, where, counts)
    table = _keep(table, pc.is_valid(table[name]), counts, f"{name} is empty", name=where)
    last = _last_of(pc.dictionary_encode(table[name].combine_chunks()).indices.to_numpy())
    table = _keep(table, last, counts, f"{name} stands more than once, the last row counts", name=where)
    for column in table.column_names:
        if pa.types.is_string(table[column].type):
            damaged = pc.sum(pc.match_substring_regex(table[column], "\ufffd|\u00c3[\u0080-\u00bf]")).as_py()
            if damaged:
                notes.append(
                    f"{where}: {damaged:,} values of {column!r} hold damaged characters: "
                    "the file was once read in a wrong encoding"
                )
    return table


def _as_events(log: pa.Table, notes: list[str]) -> pa.Table:
    notes.append("interactions: every row counts as one event")
    kept = [name for name in log.column_names if name not in ("rating", "weight")]
    return log.select(kept).append_column("weight", pa.array(np.ones(log.num_rows, np.float32)))


def _clean_ratings(log: pa.Table, rules: Cleaning, origin: str, counts: list[Count]) -> pa.Table:
    """The log with `weight` in place of `rating`."""
    require_columns(log, ("rating",), origin)
    values, unreadable = as_numbers(log["rating"])
    empty = np.isnan(values) & ~unreadable
    if unreadable.sum() > len(values) / 2:
        first = str(log["rating"][int(unreadable.argmax())].as_py())
        comma = " Write decimals with a point, 4.5." if "," in first else ""
        raise DataError(
            f"{origin}: most ratings are no numbers, first {first!r}.{comma} "
            "If the column is no rating, say --set cleaning.ratings=implicit"
        )
    text = as_strings(log["rating"]) if empty.any() else None
    missing = text.is_null().to_numpy(zero_copy_only=False) if text is not None else empty
    tests = [
        ("rating is empty", missing & empty),
        ("rating is no number", unreadable),
        ("rating is not finite", (empty & ~missing) | np.isinf(values)),
    ]
    if rules.rating_range is not None:
        low, high = rules.rating_range
        tests.append((f"rating is outside {low:g} to {high:g}", (values < low) | (values > high)))
    bad = np.zeros(len(values), bool)
    for rule, met in tests:
        counts.append(Count("interactions", rule, "dropped", int((met & ~bad).sum())))
        bad |= met
    log = log.drop_columns([name for name in ("rating", "weight") if name in log.column_names])
    log = log.append_column("weight", pa.array(values.astype(np.float32)))
    return log.filter(pa.array(~bad)) if bad.any() else log


def _clean_times(log: pa.Table, rules: Cleaning, origin: str, counts: list[Count], notes: list[str]) -> pa.Table:
    if "timestamp" not in log.column_names or rules.timestamps == "ignore" or not log.num_rows:
        log = log.drop_columns(["timestamp"]) if "timestamp" in log.column_names else log
        notes.append("interactions: no timestamps")
        return log
    column = log["timestamp"]
    times = read_times(column)
    if (times.empty | times.unreadable).sum() > log.num_rows / 2:
        first = column[int((times.empty | times.unreadable).argmax())].as_py()
        raise DataError(
            f"{origin}: most timestamps cannot be read, first {first!r}; known are seconds, milliseconds, microseconds "
            "and ISO 8601 such as 2024-05-01T12:00:00Z. To do without, say --set cleaning.timestamps=ignore"
        )
    now = int(time.time()) + SECONDS_OF_GRACE
    known = ~(times.empty | times.unreadable)
    outside = known & ((times.seconds < EARLIEST) | (times.seconds > now))
    if outside.any() and rules.timestamps == "refuse":
        first = int(outside.argmax())
        low, high = times.seconds[known].min(), times.seconds[known].max()
        raise DataError(
            f"{origin}: {outside.sum():,} timestamps, read as {times.unit}, lie before 1990 or in the future, first "
            f"{column[first].as_py()!r} = {show(times.seconds[first])}; the range is {show(low)} to {show(high)}. "
            "Mend them, or say --set cleaning.timestamps=drop (leaves these rows out) or =ignore (uses no times)"
        )
    for rule, met in (("is empty", times.empty), ("cannot be read", times.unreadable)):
        counts.append(Count("interactions", f"timestamp {rule}", "dropped", int(met.sum())))
    counts.append(Count("interactions", "timestamp before 1990 or in the future", "dropped", int(outside.sum())))
    log = log.set_column(log.column_names.index("timestamp"), "timestamp", pa.array(times.seconds))
    good = known & ~outside
    log = log if good.all() else log.filter(pa.array(good))
    if good.any():
        low, high = times.seconds[good].min(), times.seconds[good].max()
        notes.append(f"interactions: from {show(low)} to {show(high)} UTC, read as {times.unit}")
    return log


def _last_of(keys: np.ndarray) -> np.ndarray:
    """True at the last place of each key."""
    last = np.zeros(len(keys), bool)
    _, where = np.unique(keys[::-1], return_index=True)
    last[len(keys) - 1 - where] = True
    return last


def _codes(column: pa.ChunkedArray) -> np.ndarray:
    return pc.dictionary_encode(column.combine_chunks()).indices.to_numpy().astype(np.int64)


def _merge_duplicates(log: pa.Table, rules: Cleaning, explicit: bool, counts: list[Count]) -> pa.Table:
    """One row per (user, item), in the place of the last by time (ties: the last in the file)."""
    if rules.duplicates == "keep" or not log.num_rows:
        return log
    items = _codes(log["item_id"])
    pairs = _codes(log["user_id"]) * (items.max() + 1) + items
    order = np.arange(len(pairs))
    if "timestamp" in log.column_names:
        order = np.argsort(log["timestamp"].to_numpy(), kind="stable")
    last = np.zeros(len(pairs), bool)
    last[order] = _last_of(pairs[order])
    rule = "same user and item, the last rating counts" if explicit else "same user and item, events are summed"
    counts.append(Count("interactions", rule, "merged", int((~last).sum())))
    if last.all():
        return log
    if not explicit:
        _, group = np.unique(pairs, return_inverse=True)
        sums = np.bincount(group, weights=log["weight"].to_numpy())[group].astype(np.float32)
        log = log.set_column(log.column_names.index("weight"), "weight", pa.array(sums))
    return log.filter(pa.array(last))


def _core(log: pa.Table, rules: Cleaning, counts: list[Count]) -> pa.Table:
    limits = (("user_id", rules.min_per_user), ("item_id", rules.min_per_item))
    before = log.num_rows
    while any(limit > 1 for _, limit in limits) and log.num_rows:
        rows = log.num_rows
        for name, limit in limits:
            codes = _codes(log[name])
            log = log.filter(pa.array(np.bincount(codes)[codes] >= limit)) if log.num_rows else log
        if log.num_rows == rows:
            break
    if before != log.num_rows or any(limit > 1 for _, limit in limits):
        rule = f"user with fewer than {rules.min_per_user} or item with fewer than {rules.min_per_item} rows"
        counts.append(Count("interactions", rule, "dropped", before - log.num_rows))
    return log


def _refuse_too_little(log: pa.Table, tables: Tables, rules: Cleaning, counts: list[Count]) -> None:
    origin, reasons = tables.origin, "; ".join(f"{c.rows:,} {c.action}: {c.rule}" for c in counts if c.rows)
    if not log.num_rows:
        raise DataError(f"{origin}: no row is left of {tables.interactions.num_rows:,} ({reasons})")
    for name, word in (("user_id", "user"), ("item_id", "item")):
        distinct = pc.unique(log[name])
        if len(distinct) < 2:
            raise DataError(
                f"{origin} has one {word} only, {distinct[0].as_py()!r}; a recommender learns from several {word}s. "
                f"Check that {name} is the right column (--map {name}=THEIR_NAME)"
            )
    if rules.ratings == "auto" and rules.min_rating is None and "rating" in tables.interactions.column_names:
        low, high = pc.min_max(log["weight"]).as_py().values()
        if low == high:
            raise DataError(
                f"{origin}: all {log.num_rows:,} ratings are {low:g}, so they say nothing. "
                "To take each row as one event (a view, a purchase), say --set cleaning.ratings=implicit"
            )
