"""Rows of an item or user table to vectors, tags, titles and texts; the same code in training and in serving."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.columns import YEAR_NAMES, Columns, Reading, as_numbers, as_strings, read_columns, split_tags
from jaxrec.data.columns import title_column as find_title


@dataclass(frozen=True)
class NumberColumn:
    """x -> (x - mean) / std, a missing x being `fill`. mean and std are of the imputed column; std 0 counts as 1."""

    name: str
    fill: float
    mean: float
    std: float
    missing: int = 0


@dataclass(frozen=True)
class CategoryColumn:
    """One-hot over `values`; a missing value counts as `fill`; an unknown value, or a fill of None, gives zeros."""

    name: str
    values: tuple[str, ...]
    fill: str | None
    missing: int = 0


@dataclass(frozen=True)
class TagColumn:
    """Multi-hot over `values`, split at `separator`; unknown tags are left out."""

    name: str
    values: tuple[str, ...]
    separator: str


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

    @classmethod
    def fit(cls, table: pa.Table, rules: Columns | None = None, *, id_name: str = "item_id") -> "FeatureEncoder":
        """Reads each column as `rules` say, or as its values suggest. Raises DataError for a named column not there."""
        rules = rules or Columns()
        readings = read_columns(table, rules, id_name=id_name)
        title = find_title(table.column_names, rules) if id_name == "item_id" else rules.title
        of = lambda kind: [r for r in readings if r.kind == kind and r.name != title]  # noqa: E731
        return cls(
            id_name,
            tuple(_fit_number(table[r.name], r.name, rules) for r in of("number")),
            tuple(_fit_category(table[r.name], r.name, rules) for r in of("category")),
            tuple(_fit_tags(table[r.name], r, rules) for r in of("tags")),
            tuple(r.name for r in of("text")),
            title,
            next((name for name in YEAR_NAMES if name in table.column_names), None) if title else None,
            tuple((r.name, r.why) for r in of("left out")),
        )

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
            values = np.where(np.isfinite(values), values, number.fill)
            parts.append(((values - number.mean) / (number.std or 1.0)).astype(np.float32)[:, None])
        for category in self.categories:
            values = as_strings(_column(table, category.name))
            values = values if category.fill is None else pc.fill_null(values, category.fill)
            parts.append(_hot(table.num_rows, np.arange(table.num_rows), values, category.values))
        for tags in self.tags:
            lists = split_tags(_column(table, tags.name), tags.separator)
            parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
            parts.append(_hot(table.num_rows, parents, lists.values, tags.values))
        return np.concatenate(parts, axis=1)

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
        texts = pc.binary_join_element_wise(*parts, ". ", null_handling="skip")
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


def _fit_number(column: pa.ChunkedArray, name: str, rules: Columns) -> NumberColumn:
    values, _ = as_numbers(column)
    known = values[np.isfinite(values)]
    if not known.size:
        return NumberColumn(name, 0.0, 0.0, 1.0, len(values))
    if rules.number_fill == "most_frequent":
        distinct, counts = np.unique(known, return_counts=True)
        fill = distinct[counts.argmax()]
    else:
        fill = np.median(known) if rules.number_fill == "median" else known.mean()
    imputed = np.where(np.isfinite(values), values, fill)
    std = float(imputed.std())
    return NumberColumn(name, float(fill), float(imputed.mean()), std or 1.0, len(values) - len(known))


def _fit_category(column: pa.ChunkedArray, name: str, rules: Columns) -> CategoryColumn:
    values = as_strings(column)
    ordered = _by_frequency(values.drop_null())
    fill = ordered[0] if ordered and rules.category_fill == "most_frequent" else None
    return CategoryColumn(name, ordered, fill, values.null_count)


def _fit_tags(column: pa.ChunkedArray, reading: Reading, rules: Columns) -> TagColumn:
    lists = split_tags(column, reading.separator)
    return TagColumn(reading.name, _by_frequency(lists.values)[: rules.max_tags], reading.separator)


def _by_frequency(values: pa.Array) -> tuple[str, ...]:
    """Distinct values, the most frequent first, ties by the alphabet."""
    counts = pc.value_counts(values)
    pairs = zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True)
    return tuple(value for value, _ in sorted(pairs, key=lambda pair: (-pair[1], pair[0])))


def _positions(values: pa.Array, names: tuple[str, ...]) -> np.ndarray:
    found = pc.index_in(values, value_set=pa.array(names, pa.string()))
    return pc.fill_null(found, -1).to_numpy(zero_copy_only=False).astype(np.int64)


def _hot(rows: int, parents: np.ndarray, values: pa.Array, names: tuple[str, ...]) -> np.ndarray:
    out = np.zeros((rows, len(names)), np.float32)
    where = _positions(values, names)
    out[parents[where >= 0], where[where >= 0]] = 1
    return out


def _with_year(titles: pa.Array, years: pa.Array) -> pa.Array:
    """ "Heat" and "1995" to "Heat (1995)"; a title that ends in a year in brackets stays as it is."""
    years = pc.replace_substring_regex(years, r"\.0+$", "")
    good = pc.and_kleene(pc.match_substring_regex(years, r"^(1[89]|20)\d\d$"), pc.is_valid(titles))
    dated = pc.match_substring_regex(titles, r"\(\d{4}\)$")
    add = pc.fill_null(pc.and_kleene(good, pc.invert(dated)), False)
    return pc.if_else(
        add, pc.binary_join_element_wise(titles, pc.binary_join_element_wise("(", years, ")", ""), " "), titles
    )
