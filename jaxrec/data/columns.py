"""What a column of an item or user table is: a number, a category, tags, text, or nothing to learn from."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.errors import DataError

TITLE_NAMES = ("title", "movie_title", "name", "headline", "product_title", "product_name", "item_name")
YEAR_NAMES = ("year", "release_year", "movie_year", "published_year")
TAG_NAMES = ("genres", "genre", "tags", "tag", "categories", "keywords", "class", "topics", "labels", "subjects")
SEPARATORS = ("|", ";", ",")
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"

Kind = Literal["number", "category", "tags", "text", "left out"]


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


def as_strings(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Trimmed strings, null where empty; whitespace inside runs together. Lists become joined by ", "."""
    column = _one_chunk(column)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = pc.binary_join(column.cast(pa.list_(pa.string())), ", ")
    elif pa.types.is_floating(column.type):
        column = _floats_as_strings(column)
    text = pc.utf8_trim_whitespace(column.cast(pa.string()))
    if pc.any(pc.match_substring_regex(text, r"\s\s|[\t\r\n]")).as_py():
        text = pc.replace_substring_regex(text, r"\s+", " ")
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def as_numbers(column: pa.Array | pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """(values float64, NaN where missing or unreadable; unreadable bool): "nan" and "inf" are read, "abc" is not."""
    column = _one_chunk(column)
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        if pa.types.is_list(column.type) or pa.types.is_temporal(column.type) or pa.types.is_boolean(column.type):
            return np.full(len(column), np.nan), np.ones(len(column), bool)
        values = pc.fill_null(pc.cast(column, pa.float64(), safe=False), np.nan)
        return values.to_numpy(zero_copy_only=False), np.zeros(len(column), bool)
    text = pc.utf8_trim_whitespace(column)
    plain = pc.fill_null(pc.match_substring_regex(text, NUMBER), False)
    special = pc.fill_null(pc.match_substring_regex(text, r"(?i)^[+-]?(nan|inf|infinity|null|none|na|n/a|)$"), True)
    values = pc.cast(pc.if_else(plain, text, "nan"), pa.float64()).to_numpy(zero_copy_only=False)
    infinite = pc.fill_null(pc.match_substring_regex(text, r"(?i)^[+-]?inf"), False).to_numpy(zero_copy_only=False)
    unreadable = ~(pc.or_(plain, special).to_numpy(zero_copy_only=False))
    return np.where(infinite & ~unreadable, np.inf, values), unreadable


def split_tags(column: pa.Array | pa.ChunkedArray, separator: str) -> pa.ListArray:
    """Trimmed tags per row; nulls and empty tags are gone. separator "[]" reads ['a', 'b'] written as text."""
    column = _one_chunk(column)
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        lists = column.cast(pa.list_(pa.string()))
    elif separator == "[]":
        bare = pc.replace_substring_regex(column.cast(pa.string()), r"^\s*\[|\]\s*$", "")
        lists = pc.split_pattern(bare, ",")
    else:
        text = column.cast(pa.string())
        lists = pc.split_pattern(text, separator or "\0")
    parents = pc.list_parent_indices(lists)
    words = pc.utf8_trim(pc.list_flatten(lists), " \t\r\n'\"" if separator == "[]" else " \t\r\n")
    kept = pc.fill_null(pc.and_(pc.not_equal(words, ""), pc.not_equal(words, "(no genres listed)")), False)
    words, parents = words.filter(kept), parents.filter(kept).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(column) + 1, np.int32)
    np.cumsum(np.bincount(parents, minlength=len(column)), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), words)


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


def title_column(names: list[str], rules: Columns) -> str | None:
    """The column of titles: the stated one, or the first known name."""
    return rules.title or next((name for name in TITLE_NAMES if name in names), None)


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
    if not unreadable.any() and np.isfinite(values).any():
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
    if distinct <= rules.max_categories and (distinct * 2 <= len(filled) or distinct == 1):
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


def _floats_as_strings(column: pa.Array) -> pa.Array:
    values = pc.fill_null(column, np.nan).to_numpy(zero_copy_only=False)
    whole = np.isfinite(values) & (np.abs(values) < 2**53) & (values == np.round(values))
    ints = pa.array(np.where(whole, values, 0).astype(np.int64)).cast(pa.string())
    return pc.if_else(pa.array(whole), ints, pc.if_else(pc.is_finite(column), column.cast(pa.string()), ""))


def _one_chunk(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        column = pa.concat_arrays(column.chunks) if isinstance(column, pa.ChunkedArray) else column
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
