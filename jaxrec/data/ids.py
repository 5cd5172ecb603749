"""Outside ids (strings) and inside rows (dense int32), and nothing in between."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

NO_ROW = -1
FEW = 4_096  # ids, up to which each is looked up by itself


@dataclass(frozen=True, eq=False)
class IdMap:
    """One row per distinct id.

    `ids` is a string array [rows]; the row of an id is its position. `name` ("item", "user") is used in errors.
    Raises ValueError when an id stands twice or is empty.
    """

    ids: pa.StringArray
    name: str = "item"

    def __post_init__(self):
        if self.ids.null_count or pc.any(pc.equal(self.ids, "")).as_py():
            raise ValueError(f"empty {self.name} id")
        if len(pc.unique(self.ids)) != len(self.ids):
            counts = pc.value_counts(self.ids)
            twice = next(c["values"] for c in counts.to_pylist() if c["counts"] > 1)
            raise ValueError(f"{self.name} id {twice!r} stands more than once")

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, ids: Sequence[str] | pa.Array, name: str = "item") -> "IdMap":
        """The distinct ids in order of first appearance."""
        return cls(pc.unique(pa.array(ids, pa.string())), name)

    @cached_property
    def _as_numpy(self) -> np.ndarray:
        return self.ids.to_numpy(zero_copy_only=False)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {id_: row for row, id_ in enumerate(self.ids.to_pylist())}

    def find(self, ids: Sequence[str] | pa.Array) -> np.ndarray:
        """Rows of `ids` as int32 [n]; -1 for an unknown id."""
        if len(ids) <= FEW and not isinstance(ids, pa.Array) and all(type(id_) is str for id_ in ids):
            places = self._places  # kept: arrow would hash the whole catalog for each question
            return np.fromiter((places.get(id_, NO_ROW) for id_ in ids), np.int32, len(ids))
        found = pc.index_in(pa.array(ids, pa.string()), value_set=self.ids)
        return pc.fill_null(found, NO_ROW).to_numpy(zero_copy_only=False).astype(np.int32)

    def rows(self, ids: Sequence[str] | pa.Array) -> np.ndarray:
        """Rows of `ids` as int32 [n]. Raises KeyError naming the first unknown id."""
        rows = self.find(ids)
        unknown = np.flatnonzero(rows == NO_ROW)
        if unknown.size:
            first = ids[int(unknown[0])]
            raise KeyError(f"{unknown.size} unknown {self.name} ids, first: {str(first)!r}")
        return rows

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Ids at `rows` as an object array of str, same shape as `rows`."""
        return self._as_numpy[np.asarray(rows)]

    def extended(self, ids: Sequence[str]) -> "IdMap":
        """This map with new ids appended. Raises ValueError when one is already here."""
        return IdMap(pa.concat_arrays([self.ids, pa.array(ids, pa.string())]), self.name)
