"""The catalog and the users that an artifact carries."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from jaxrec.data.features import Tags
from jaxrec.data.ids import IdMap
from jaxrec.data.interactions import Histories
from jaxrec.errors import DataError
from jaxrec.serve.tag_profiles import base_rates


@dataclass(frozen=True, eq=False)
class StoredItems:
    """Aligned with the item rows. popularity: int64, events known at export, 0 for items added later.

    texts: what the encoder reads. tags: of the catalog. words: keywords of the texts, see `jaxrec.data.words`; none in
    an artifact without them.
    """

    ids: IdMap
    titles: pa.StringArray
    texts: pa.StringArray
    tags: Tags
    popularity: np.ndarray
    words: Tags

    @classmethod
    def read(cls, path: Path) -> "StoredItems":
        table = _read(path, ("item_id", "title", "text", "tags", "popularity"))
        words = Tags((), np.zeros(table.num_rows + 1, np.int64), np.zeros(0, np.int32))
        return cls(
            IdMap(table["item_id"].combine_chunks(), "item"),
            table["title"].combine_chunks(),
            table["text"].combine_chunks(),
            _tags(table["tags"]),
            table["popularity"].to_numpy(),
            _tags(table["words"]) if "words" in table.column_names else words,
        )

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def base(self) -> np.ndarray:
        """How often everybody's events carry each tag, float64 [tags]."""
        return base_rates(self.tags, self.popularity)

    @cached_property
    def word_base(self) -> np.ndarray:
        """The same of each word, float64 [words]."""
        return base_rates(self.words, self.popularity)

    def title(self, row: int) -> str:
        return self.titles[int(row)].as_py()

    def id(self, row: int) -> str:
        return self.ids.ids[int(row)].as_py()

    def described(self, rows: np.ndarray, titles: pa.StringArray, texts: pa.StringArray, tags: Tags) -> "StoredItems":
        """The same with other titles, texts and tags at these rows."""
        mine = {int(row): place for place, row in enumerate(rows)}
        columns = {"titles": (self.titles, titles), "texts": (self.texts, texts)}
        changed = {}
        for name, (old, new) in columns.items():
            values = old.to_pylist()
            for row, place in mine.items():
                values[row] = new[place].as_py()
            changed[name] = pa.array(values, pa.string())
        lists = [tags.of(mine[row]) if row in mine else self.tags.of(row) for row in range(len(self))]
        return replace(self, **changed, tags=_tags(pa.chunked_array([pa.array(lists, pa.list_(pa.string()))])))

    def extended(
        self, ids: Sequence[str], titles: pa.StringArray, texts: pa.StringArray, tags: Tags, words: Tags
    ) -> "StoredItems":
        """These items followed by new ones. Raises ValueError for an id that is already here."""
        popularity = np.concatenate([self.popularity, np.zeros(len(ids), np.int64)])
        titles, texts = pa.concat_arrays([self.titles, titles]), pa.concat_arrays([self.texts, texts])
        both = _joined(self.tags, tags)
        return StoredItems(self.ids.extended(ids), titles, texts, both, popularity, _joined(self.words, words))


@dataclass(frozen=True, eq=False)
class StoredUsers:
    """Aligned with the user rows. features, text: float32 [users, width]."""

    ids: IdMap
    histories: Histories
    features: np.ndarray
    text: np.ndarray

    @classmethod
    def read(cls, path: Path, features: int, text: int) -> "StoredUsers":
        table = _read(path, ("user_id", "item_rows", "timestamps", "weights", "features"))
        lists = {name: table[name].combine_chunks() for name in ("item_rows", "timestamps", "weights")}
        offsets = _ends(np.array(lists["item_rows"].value_lengths()))
        flat = {name: column.flatten().to_numpy() for name, column in lists.items()}
        users = table.num_rows
        return cls(
            IdMap(table["user_id"].combine_chunks(), "user"),
            Histories(offsets, **flat),
            _matrix(table["features"], users, features),
            _matrix(table["text"], users, text)
            if "text" in table.column_names
            else np.zeros((users, text), np.float32),
        )


def _read(path: Path, columns: Sequence[str]) -> pa.Table:
    table = pq.read_table(path)
    missing = [name for name in columns if name not in table.column_names]
    if missing:
        raise DataError(f"{path} has no column {missing[0]!r}: export the artifact again")
    return table


def _tags(column: pa.ChunkedArray) -> Tags:
    lists = column.combine_chunks()
    words = lists.flatten().dictionary_encode()
    lengths = np.array(lists.value_lengths().fill_null(0))
    rows = words.indices.to_numpy(zero_copy_only=False).astype(np.int32)
    return Tags(tuple(words.dictionary.to_pylist()), _ends(lengths), rows)


def _joined(first: Tags, second: Tags) -> Tags:
    """The rows of one followed by those of the other."""
    names = tuple(dict.fromkeys((*first.names, *second.names)))
    place = {name: row for row, name in enumerate(names)}
    moved = np.array([place[name] for name in second.names], np.int32)
    return Tags(
        names,
        np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]]),
        np.concatenate([first.tag_rows, moved[second.tag_rows]]).astype(np.int32),
    )


def _ends(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _matrix(column: pa.ChunkedArray, rows: int, width: int) -> np.ndarray:
    return column.combine_chunks().flatten().to_numpy().astype(np.float32).reshape(rows, width)
