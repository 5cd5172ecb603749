"""What a column of an item or user table is: a number, a category, tags, text, or nothing to learn from."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.features import (
    CategoryColumn,
    FeatureEncoder,
    NumberColumn,
    TagColumn,
    as_numbers,
    as_strings,
    readable,
    split_tags,
)
from jaxrec.errors import DataError

TITLE_NAMES = ("title", "movie_title", "name", "headline", "product_title", "product_name", "item_name")
YEAR_NAMES = ("year", "release_year", "movie_year", "published_year")
TAG_NAMES = ("genres", "genre", "tags", "tag", "categories", "keywords", "class", "topics", "labels", "subjects")
SEPARATORS = ("|", ";", ",")

Kind = Literal["number", "category", "tags", "text", "left out"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Columns:
    """How the columns of an item or user table are read. What is not named here is decided by looking at the values.

    numbers: imputed by `number_fill`, standardised. categories: imputed by `category_fill`, one-hot.
    tags: several values per row (lists, or split at | ; or ,), multi-hot. texts: read by the text encoder.
    ignore: left out. title: the column of the title; None: the first of `TITLE_NAMES` that is there.
    A column of more than `max_categories` distinct values is no category; the most frequent `max_tags` tags are kept.
    """

    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    title: str | None = None
    number_fill: Literal["mean", "median", "most_frequent"] = "mean"
    category_fill: Literal["most_frequent", "none"] = "most_frequent"
    max_categories: int = 50
    max_tags: int = 200


@dataclass(frozen=True)
class Reading:
    """One column and how it is read, with the reason in words. separator: of tags in a string; "" for lists."""

    name: str
    kind: Kind
    why: str
    separator: str = ""


def read_columns(table: pa.Table, rules: Columns, *, id_name: str) -> tuple[Reading, ...]:
    """How each column but the id is read. Raises DataError when a named column is not there."""
    stated: dict[str, Kind] = {}
    for kind, names in (("number", rules.numbers), ("category", rules.categories), ("tags", rules.tags)):
        stated |= dict.fromkeys(names, kind)
    stated |= dict.fromkeys(rules.texts, "text") | dict.fromkeys(rules.ignore, "left out")
    for name in (*stated, *([rules.title] if rules.title else [])):
        if name not in table.column_names:
            there = ", ".join(map(repr, table.column_names))
            raise DataError(f"no column {name!r} in the table of {id_name}; its columns are {there}")
    return tuple(
        _stated(table[name], name, stated[name]) if name in stated else _inferred(table[name], name, rules)
        for name in table.column_names
        if name != id_name
    )


def fit_features(table: pa.Table, rules: Columns | None = None, *, id_name: str = "item_id") -> FeatureEncoder:
    """Reads each column as `rules` say, or as its values suggest. Raises DataError for a named column not there."""
    rules = rules or Columns()
    readings = read_columns(table, rules, id_name=id_name)
    names = table.column_names
    title = rules.title
    if title is None and id_name == "item_id":
        title = next((name for name in TITLE_NAMES if name in names), None)
    of = {kind: [r for r in readings if r.kind == kind and r.name != title] for kind in KINDS}
    return FeatureEncoder(
        id_name,
        tuple(_fit_number(table[r.name], r.name, rules) for r in of["number"]),
        tuple(_fit_category(table[r.name], r.name, rules) for r in of["category"]),
        tuple(_fit_tags(table[r.name], r, rules) for r in of["tags"]),
        tuple(r.name for r in of["text"]),
        title,
        next((name for name in YEAR_NAMES if name in names), None) if title else None,
        tuple((r.name, r.why) for r in of["left out"]),
    )


def _stated(column: pa.ChunkedArray, name: str, kind: Kind) -> Reading:
    separator = _separator(column, name, sure=True) if kind == "tags" else ""
    return Reading(name, kind, "as stated", separator)


def _inferred(column: pa.ChunkedArray, name: str, rules: Columns) -> Reading:
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type):
            return Reading(name, "tags", "a list of words")
        return Reading(name, "left out", f"a list of {kind.value_type}")
    if pa.types.is_nested(kind) or pa.types.is_binary(kind) or pa.types.is_temporal(kind):
        return Reading(name, "left out", f"of type {kind}")
    filled = as_strings(column).drop_null()
    if not len(filled):
        return Reading(name, "left out", "empty")
    distinct = len(pc.unique(filled))
    values, unreadable = as_numbers(filled)
    coded = name.lower() == "id" or name.lower().endswith("_id") or name.endswith(("Id", "ID"))
    repeated = distinct <= rules.max_categories and distinct * 2 <= len(filled)
    if coded:
        return Reading(name, "category" if repeated else "left out", f"an id by its name, {distinct} distinct")
    if not unreadable.any() and readable(values).any():
        if pc.any(pc.match_substring_regex(filled, r"^0\d|^\d{16,}$")).as_py():
            return Reading(name, "left out", f"codes, {distinct} distinct")
        return Reading(name, "number", f"{distinct} distinct numbers")
    if _share(filled, r"^(https?://|/|\w+\.(jpe?g|png|gif|mp3|mp4|wav)$)|\.(jpe?g|png|webp)$") > 0.5:
        return Reading(name, "left out", "addresses or paths")
    if name in TITLE_NAMES:
        return Reading(name, "text", "a title by its name")
    separator = _separator(column, name)
    if separator:
        return Reading(name, "tags", f"several values, split at {separator!r}", separator)
    if repeated:
        return Reading(name, "category", f"{distinct} distinct values")
    words = pc.mean(pc.add(pc.count_substring(filled, " "), 1)).as_py()
    if words >= 2 or _share(filled, r"\p{Han}|\p{Hiragana}|\p{Katakana}|\p{Hangul}") > 0.5:
        return Reading(name, "text", f"{words:.1f} words a row")
    return Reading(name, "left out", f"{distinct} distinct single words or codes")


def _separator(column: pa.ChunkedArray, name: str, sure: bool = False) -> str:
    """The separator at which the values split into few, repeated, short tags, or ""."""
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return ""
    filled = as_strings(column).drop_null()
    named = sure or name.lower() in TAG_NAMES
    if len(filled) and _share(filled, r"^\[.*\]$") > 0.5:
        return "[]"
    for separator in SEPARATORS:
        share = pc.mean(pc.match_substring(filled, separator).cast(pa.float64())).as_py() if len(filled) else 0
        if not share or (share < 0.1 and not named):
            continue
        words = split_tags(filled, separator).values
        repeats = len(words) / max(1, len(pc.unique(words)))
        length = pc.mean(pc.utf8_length(words)).as_py()
        if named or (repeats >= 3 and length <= 24):
            return separator
    return "|" if named else ""


def _share(text: pa.Array, pattern: str) -> float:
    return pc.mean(pc.match_substring_regex(text, pattern).cast(pa.float64())).as_py()


def _fit_number(column: pa.ChunkedArray, name: str, rules: Columns) -> NumberColumn:
    values, _ = as_numbers(column)
    known = values[readable(values)]
    if not known.size:
        return NumberColumn(name, 0.0, 0.0, 1.0, len(values))
    if rules.number_fill == "most_frequent":
        distinct, counts = np.unique(known, return_counts=True)
        fill = distinct[counts.argmax()]
    else:
        fill = np.median(known) if rules.number_fill == "median" else known.mean()
    imputed = np.where(readable(values), values, fill)
    std = float(imputed.std())
    return NumberColumn(name, float(fill), float(imputed.mean()), std or 1.0, len(values) - len(known))


def _fit_category(column: pa.ChunkedArray, name: str, rules: Columns) -> CategoryColumn:
    values = as_strings(column)
    ordered = _by_frequency(values.drop_null())
    fill = ordered[0] if ordered and rules.category_fill == "most_frequent" else None
    filled = values if fill is None else pc.fill_null(values, fill)
    return CategoryColumn(name, ordered, fill, values.null_count, _shares(filled, ordered, len(values)))


def _fit_tags(column: pa.ChunkedArray, reading: Reading, rules: Columns) -> TagColumn:
    lists = split_tags(column, reading.separator)
    ordered = _by_frequency(lists.values)[: rules.max_tags]
    pairs = pa.table({"row": pc.list_parent_indices(lists), "tag": lists.values}).group_by(["row", "tag"]).aggregate([])
    return TagColumn(reading.name, ordered, reading.separator, _shares(pairs["tag"], ordered, len(lists)))


def _shares(values: pa.Array, of: tuple[str, ...], rows: int) -> tuple[float, ...]:
    counts = {pair["values"]: pair["counts"] for pair in pc.value_counts(values).to_pylist()}
    return tuple(round(counts.get(value, 0) / max(rows, 1), 6) for value in of)


def _by_frequency(values: pa.Array) -> tuple[str, ...]:
    """Distinct values, the most frequent first, ties by the alphabet."""
    counts = pc.value_counts(values)
    pairs = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    return tuple(value for value, _ in sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
