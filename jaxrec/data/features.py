"""Rows of an item or user table to vectors, tags, titles and texts; the same code in training and in serving.

An encoder is fitted by `columns.fit_features`; serving needs this file alone.
"""

from dataclasses import asdict, dataclass
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
LARGEST = float(np.finfo(np.float32).max)
FAR = 10.0  # standard deviations from the mean; what is further counts as being there


@dataclass(frozen=True)
class NumberColumn:
    """x -> (x - mean) / std, no further than FAR from 0, a missing x being `fill`, see `readable`. mean and std are of
    the imputed column; std 0 counts as 1."""

    name: str
    fill: float
    mean: float
    std: float
    missing: int = 0


@dataclass(frozen=True)
class CategoryColumn:
    """One-hot over `values`; a missing value counts as `fill`; an unknown value, or a fill of None, gives zeros.

    shares: of the rows that have each value, missing ones filled.
    """

    name: str
    values: tuple[str, ...]
    fill: str | None
    missing: int = 0
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class TagColumn:
    """Multi-hot over `values`, split at `separator`; unknown tags are left out. shares: of the rows that have each."""

    name: str
    values: tuple[str, ...]
    separator: str
    shares: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Tags:
    """Readable tags per row (compressed sparse rows): row r's are tag_rows[offsets[r]:offsets[r + 1]], into `names`.

    offsets: int64 [rows + 1]; tag_rows: int32.
    """

    names: tuple[str, ...]
    offsets: np.ndarray
    tag_rows: np.ndarray

    def of(self, row: int) -> list[str]:
        return [self.names[t] for t in self.tag_rows[self.offsets[row] : self.offsets[row + 1]]]

    def matrix(self) -> np.ndarray:
        """Multi-hot float32 [rows, tags]."""
        out = np.zeros((len(self.offsets) - 1, len(self.names)), np.float32)
        out[np.repeat(np.arange(len(out)), np.diff(self.offsets)), self.tag_rows] = 1
        return out


@dataclass(frozen=True)
class FeatureEncoder:
    """Fitted on one table; encodes any table with the same columns (a column that is not there counts as missing).

    Features come in the order numbers, categories, tags. `left_out` says which columns are not read and why.
    """

    id_name: str
    numbers: tuple[NumberColumn, ...] = ()
    categories: tuple[CategoryColumn, ...] = ()
    tags: tuple[TagColumn, ...] = ()
    texts: tuple[str, ...] = ()
    title: str | None = None
    year: str | None = None
    left_out: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """One name per feature: "age", "gender=F", "genres=Comedy"."""
        hot = [f"{c.name}={v}" for c in (*self.categories, *self.tags) for v in c.values]
        return (*(c.name for c in self.numbers), *hot)

    @property
    def dim(self) -> int:
        return len(self.names)

    def encode(self, table: pa.Table) -> np.ndarray:
        """Features float32 [rows, dim]."""
        parts = [np.zeros((table.num_rows, 0), np.float32)]
        for number in self.numbers:
            values, _ = as_numbers(_column(table, number.name))
            standard = (np.where(readable(values), values, number.fill) - number.mean) / (number.std or 1.0)
            parts.append(np.clip(standard, -FAR, FAR).astype(np.float32)[:, None])
        for category in self.categories:
            values = as_strings(_column(table, category.name))
            values = values if category.fill is None else pc.fill_null(values, category.fill)
            parts.append(_hot(table.num_rows, np.arange(table.num_rows), values, category.values))
        for tags in self.tags:
            lists = split_tags(_column(table, tags.name), tags.separator)
            parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
            parts.append(_hot(table.num_rows, parents, lists.values, tags.values))
        return np.concatenate(parts, axis=1)

    def average(self) -> np.ndarray:
        """The mean row of the table it was fitted on, float32 [dim]: what to expect of somebody of whom nothing is
        known, where the most frequent value of each column would make up a person."""
        parts = [np.zeros(len(self.numbers))]
        parts += [np.resize(c.shares or (0.0,), len(c.values)) for c in (*self.categories, *self.tags)]
        return np.concatenate(parts).astype(np.float32)

    def places(self) -> dict[str, slice]:
        """Where each column's features stand in a row."""
        widths = {c.name: 1 for c in self.numbers} | {c.name: len(c.values) for c in (*self.categories, *self.tags)}
        ends = np.cumsum(list(widths.values()), dtype=int)
        return {
            name: slice(int(end) - width, int(end)) for (name, width), end in zip(widths.items(), ends, strict=True)
        }

    def describe(self, table: pa.Table) -> tuple[pa.StringArray, pa.StringArray]:
        """(titles, texts), both [rows]: "Toy Story (1995)" and "Toy Story (1995). Animation, Comedy. What it is about".

        A row without title is called by its id, and its text holds only what is known of it.
        """
        titles = as_strings(_column(table, self.title)) if self.title else pa.nulls(table.num_rows, pa.string())
        if self.year:
            titles = _with_year(titles, as_strings(_column(table, self.year)))
        parts = [titles]
        for tags in self.tags:
            lists = split_tags(_column(table, tags.name), tags.separator)
            parts.append(as_strings(pc.binary_join(lists, ", ")))
        for category in self.categories if self.id_name == "item_id" else ():
            words = as_strings(_column(table, category.name))
            worded = pc.match_substring_regex(words, r"\p{L}\p{L}")
            parts.append(pc.if_else(worded, words, pa.scalar(None, pa.string())))
        parts += [as_strings(_column(table, name)) for name in self.texts]
        texts = pc.fill_null(reduce(_then, parts), "")
        ids = table[self.id_name].combine_chunks() if self.id_name in table.column_names else pa.nulls(len(titles))
        return pc.coalesce(titles, ids.cast(pa.string()), ""), texts

    def read_tags(self, table: pa.Table) -> Tags:
        """Readable tags of each row: of the multi-valued columns, or, where there is none, of the categories."""
        columns = self.tags or tuple(TagColumn(c.name, c.values, "\0") for c in self.categories)
        names = tuple(dict.fromkeys(value for column in columns for value in column.values))
        pairs = []
        for column in columns:
            lists = split_tags(_column(table, column.name), column.separator)
            rows = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False).astype(np.int64)
            tags = _positions(lists.values, names)
            pairs.append(np.stack([rows, tags])[:, tags >= 0])
        rows, tags = np.concatenate(pairs, axis=1) if pairs else np.zeros((2, 0), np.int64)
        _, first = np.unique(rows * (len(names) + 1) + tags, return_index=True)
        first = first[np.lexsort((first, rows[first]))]
        offsets = np.zeros(table.num_rows + 1, np.int64)
        np.cumsum(np.bincount(rows[first], minlength=table.num_rows), out=offsets[1:])
        return Tags(names, offsets, tags[first].astype(np.int32))

    def lines(self) -> list[str]:
        """How each column is read, in words."""
        out = [f"{c.name}: number, {c.missing} empty filled with {c.fill:g}" for c in self.numbers]
        out += [
            f"{c.name}: {len(c.values)} categories, {c.missing} empty filled with {c.fill!r}" for c in self.categories
        ]
        out += [f"{c.name}: {len(c.values)} tags" for c in self.tags]
        out += [f"{name}: title" for name in [self.title] if name] + [f"{name}: text" for name in self.texts]
        return out + [f"{name}: left out ({why})" for name, why in self.left_out]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "FeatureEncoder":
        tupled = lambda c: {k: tuple(v) if isinstance(v, list) else v for k, v in c.items()}  # noqa: E731
        return cls(
            id_name=data["id_name"],
            numbers=tuple(NumberColumn(**c) for c in data["numbers"]),
            categories=tuple(CategoryColumn(**tupled(c)) for c in data["categories"]),
            tags=tuple(TagColumn(**tupled(c)) for c in data["tags"]),
            texts=tuple(data["texts"]),
            title=data["title"],
            year=data["year"],
            left_out=tuple((name, why) for name, why in data["left_out"]),
        )


@dataclass(frozen=True, eq=False)
class Features:
    """values: float32 [rows, dim], imputed and standardised; names: one per column; encoder: makes more rows."""

    names: tuple[str, ...]
    values: np.ndarray
    encoder: FeatureEncoder

    @classmethod
    def of(cls, table: pa.Table, encoder: FeatureEncoder) -> "Features":
        return cls(encoder.names, encoder.encode(table), encoder)


def _column(table: pa.Table, name: str) -> pa.Array | pa.ChunkedArray:
    return table[name] if name in table.column_names else pa.nulls(table.num_rows, pa.string())


def _positions(values: pa.Array, names: tuple[str, ...]) -> np.ndarray:
    found = pc.index_in(values, value_set=pa.array(names, pa.string()))
    return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)


def _hot(rows: int, parents: np.ndarray, values: pa.Array, names: tuple[str, ...]) -> np.ndarray:
    out = np.zeros((rows, len(names)), np.float32)
    where = _positions(values, names)
    out[parents[where >= 0], where[where >= 0]] = 1
    return out


def _then(first: pa.Array, second: pa.Array) -> pa.Array:
    """ "first. second", or the one that is not null."""
    return pc.coalesce(pc.binary_join_element_wise(first, second, ". "), first, second)


def _with_year(titles: pa.Array, years: pa.Array) -> pa.Array:
    """ "Heat" and "1995" to "Heat (1995)"; a title that ends in a year in brackets stays as it is."""
    years = pc.replace_substring_regex(years, r"\.0+$", "")
    good = pc.and_kleene(pc.match_substring_regex(years, r"^(1[89]|20)\d\d$"), pc.is_valid(titles))
    dated = pc.match_substring_regex(titles, r"\(\d{4}\)$")
    add = pc.fill_null(pc.and_kleene(good, pc.invert(dated)), False)
    return pc.if_else(
        add, pc.binary_join_element_wise(titles, pc.binary_join_element_wise("(", years, ")", ""), " "), titles
    )


def as_strings(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Trimmed strings, null where empty; whitespace inside runs together. Lists become joined by ", ", and what is
    nested deeper says nothing."""
    column = _one_chunk(column)
    if _is_deep(column.type):
        return pa.nulls(len(column), pa.string())
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
        if pa.types.is_nested(column.type) or pa.types.is_temporal(column.type) or pa.types.is_boolean(column.type):
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


def readable(values: np.ndarray) -> np.ndarray:
    """bool [n], which numbers (float64 [n]) are there and can be reckoned with: all that float32 holds."""
    return np.abs(values) <= LARGEST


def split_tags(column: pa.Array | pa.ChunkedArray, separator: str) -> pa.ListArray:
    """Trimmed tags per row; nulls and empty tags are gone, and what is nested deeper than a list. separator "[]" reads
    ['a', 'b'] written as text."""
    column = _one_chunk(column)
    if _is_deep(column.type):
        column = pa.nulls(len(column), pa.string())
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        lists = column.cast(pa.list_(pa.string()))
    elif separator == "[]":
        bare = pc.replace_substring_regex(column.cast(pa.string()), r"^\s*\[|\]\s*$", "")
        lists = pc.split_pattern(bare, ",")
    else:
        text = column.cast(pa.string())
        # tags that were lists when they were learned may come as text for new items: any usual separator is meant
        lists = pc.split_pattern(text, separator) if separator else pc.split_pattern_regex(text, r"[|;,]")
    parents = pc.list_parent_indices(lists)
    words = pc.utf8_trim(pc.list_flatten(lists), " \t\r\n'\"" if separator == "[]" else " \t\r\n")
    kept = pc.fill_null(pc.and_(pc.not_equal(words, ""), pc.not_equal(words, "(no genres listed)")), False)
    words, parents = words.filter(kept), parents.filter(kept).to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(column) + 1, np.int32)
    np.cumsum(np.bincount(parents, minlength=len(column)), out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), words)


def _is_deep(kind: pa.DataType) -> bool:
    """Whether it is nested otherwise than a list of plain values."""
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return pa.types.is_nested(kind.value_type) if is_list else pa.types.is_nested(kind)


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
