"""The artifact as it answers now: with the items that were added, ready for questions of any kind."""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jaxrec.data.queries import QueryArrays
from jaxrec.data.tokens import BUCKETS
from jaxrec.errors import UserError
from jaxrec.serve.asking import Asked, of_user
from jaxrec.serve.loaded import width_of
from jaxrec.serve.recommender import Recommender
from jaxrec.serve.rerank import unit
from jaxrec.serve.service.wire import HISTORY

ROOM = 512  # for items to come: the next is made when half is used up, and takes some 40 s
BATCHES = (1, 4, 8)  # askers at once, for which programs are compiled
WIDTHS = (16, 64, 256, 1_024, 4_096)  # events, likewise
MAPPED = 500  # items on the map
EXACT = 1 << 53  # whole numbers up to this one can share a column with fractions
_YEAR = re.compile(r"\((\d{4})\)\s*$")


@dataclass(frozen=True, eq=False)
class Live:
    """texts: float32 [items, dim], unit vectors of the items' texts, None without an encoder. years: int [items], from
    titles that end in "(year)", -1 where none does. costs: seconds of one batch by its size, measured by `warm_up`."""

    recommender: Recommender
    texts: np.ndarray | None
    costs: dict[int, float] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path, before: "Live | None" = None) -> "Live":
        """before: what answered until now, whose programs serve again where they are the same. Raises as
        `Recommender.load`."""
        recommender = Recommender.load(path).with_room(ROOM)
        if before is not None:
            loaded = recommender.loaded
            functions = loaded.functions.like(before.recommender.loaded.functions)
            recommender = Recommender(replace(loaded, functions=functions))
        return cls(recommender, recommender.loaded.text_vectors)

    @property
    def catalog(self):
        return self.recommender.loaded.catalog

    @property
    def version(self) -> str:
        manifest = self.recommender.manifest
        return f"{manifest.name} {manifest.created}"

    def clock(self, seconds: int) -> int:
        """UTC seconds of today as those of the data, whose newest event counts as the moment of the export: so that an
        artifact of old data is not asked years after everything. Seconds of the data's own time stay as they are."""
        newest = self.recommender.manifest.asked_at
        return seconds if seconds <= newest else max(newest, newest + seconds - self._made)

    @cached_property
    def _made(self) -> int:
        return int(datetime.fromisoformat(self.recommender.manifest.created).timestamp())

    @cached_property
    def everything(self) -> np.ndarray:
        """bool [items of the arrays]: the catalog. Questions that share it are asked together."""
        return self.recommender.loaded.allowed(None)

    @cached_property
    def years(self) -> np.ndarray:
        found = (_YEAR.search(title or "") for title in self.catalog.titles.to_pylist())
        return np.array([int(match[1]) if match else -1 for match in found], np.int64)

    @cached_property
    def tags(self) -> np.ndarray:
        """bool [items, tags]."""
        return self.catalog.tags.matrix() > 0

    @cached_property
    def mix(self) -> np.ndarray:
        """float32 [items, tags]: each item's tags as shares of 1, or zeros."""
        return (self.tags / np.maximum(self.tags.sum(axis=1, keepdims=True), 1)).astype(np.float32)

    @cached_property
    def vectors(self) -> np.ndarray:
        """float32 [items, any], unit rows: what diversity compares; by text, else by tags."""
        return unit(self.mix) if self.texts is None else self.texts

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        """Of the users' features that are read."""
        encoder = self.recommender.loaded.user_features
        return tuple(column.name for column in (*encoder.numbers, *encoder.categories, *encoder.tags))

    @property
    def asked_names(self) -> tuple[str, ...]:
        """Of the features and the context that a request may have: a message may name them."""
        return (*self.feature_names, *(column.name for column in self.recommender.loaded.contexts.columns))

    @cached_property
    def about(self) -> dict[str, Any]:
        """What answers, for people and pages."""
        manifest, users = self.recommender.manifest, self.recommender.loaded.users
        return {
            "model": self.version,
            "items": len(self.catalog),
            "users": manifest.users,
            "some_users": [] if users is None else users.ids.ids.slice(0, 50).to_pylist(),
            "tags": list(self.catalog.tags.names),
            "features": list(self.feature_names),
            "context": {column.name: list(column.values) for column in self.recommender.loaded.contexts.columns},
            "event_context": list(self.recommender.loaded.contexts.told),
            "sentences": self.texts is not None,
            "new_items": "embed_items" in self.recommender.loaded.functions,
            "k_max": manifest.k_max,
        }

    @cached_property
    def _titles(self) -> list[str]:
        return [(title or "").lower() for title in self.catalog.titles.to_pylist()]

    def search(self, typed: str, k: int) -> list[dict[str, Any]]:
        """Items whose titles have a word that begins like each word typed, the most popular first."""
        words = [re.compile(rf"\b{re.escape(word)}") for word in typed.lower().split()]
        if not words:
            found = range(len(self._titles))
        else:
            found = [row for row, title in enumerate(self._titles) if all(word.search(title) for word in words)]
        rows = sorted(found, key=lambda row: -self.catalog.popularity[row])[:k]
        return [self.card(row) for row in rows]

    def card(self, row: int) -> dict[str, Any]:
        return {"item_id": self.catalog.id(row), "title": self.catalog.title(row), "tags": self.catalog.tags.of(row)}

    @cached_property
    def item_map(self) -> dict[str, Any]:
        """The most popular items in the plane of the two largest principal components of their vectors."""
        vectors = self.recommender.loaded.item_vectors
        vectors = self.vectors if vectors is None else vectors
        rows = np.argsort(-self.catalog.popularity, kind="stable")[:MAPPED]
        some = np.pad(vectors[rows], [(0, 0), (0, max(0, 2 - vectors.shape[1]))])  # a plane, whatever is known
        centred = some - some.mean(axis=0)
        _, directions = np.linalg.eigh(centred.T @ centred)
        places = centred @ directions[:, -2:]
        places = places / np.maximum(np.abs(places).max(axis=0), 1e-9)
        return {
            "items": [
                {**self.card(row), "x": round(float(x), 3), "y": round(float(y), 3)}
                for row, (x, y) in zip(rows, places, strict=True)
            ]
        }

    def rows(self, ids: Iterable[str]) -> tuple[np.ndarray, list[str]]:
        """(rows of the ids that are in the catalog, the others)."""
        ids = list(ids)
        if not ids:
            return np.zeros(0, np.int64), []
        rows = self.catalog.ids.find(ids)
        return rows[rows >= 0], [ids[place] for place in np.flatnonzero(rows < 0)]

    def keeps(self, user: str | None) -> bool:
        """Whether the artifact has the user's history."""
        users = self.recommender.loaded.users
        return user is not None and users is not None and int(users.ids.find([user])[0]) >= 0

    def stored(self, user: str) -> frozenset[str]:
        """Ids of the items in the history that the artifact has of the user; none where it has no such user."""
        if not self.keeps(user):
            return frozenset()
        users = self.recommender.loaded.users
        history = of_user(users.histories, int(users.ids.find([user])[0]))
        return frozenset(self.catalog.ids.take(history.item_rows).tolist())

    def encode(self, text: str) -> np.ndarray:
        """A unit vector, float32 [dim]. Raises UserError without a text encoder."""
        if self.texts is None:
            raise UserError("sentence: this artifact has no text encoder; ask with a history, or export it with one")
        return self.recommender.loaded.encode_text([text])[0]

    @property
    def widths(self) -> list[int]:
        """The widths that programs are compiled for: those of the stored histories, and of what a request may hold."""
        users = self.recommender.loaded.users
        longest = 0 if users is None else int(users.histories.lengths.max(initial=0))
        return [width for width in WIDTHS if width <= max(width_of(longest), width_of(HISTORY))]

    def rank(self, asked: Sequence[Asked]) -> list[tuple[np.ndarray, np.ndarray]]:
        """(scores, item rows) of each question, best first; questions of one `allowed`, asked at once."""
        size = next(size for size in BATCHES if size >= len(asked))
        width = max(max(one.seen.shape[1], one.query.history.shape[1]) for one in asked)
        query, seen = self._padded(asked, size, width)
        scores, rows = self.recommender.loaded.rank(query, seen, asked[0].allowed)
        return [(scores[place], rows[place]) for place in range(len(asked))]

    def batch_for(self, askers: int) -> int:
        """How many of so many askers to answer at once: what takes least time, which for a ranker that looks up the
        columns of one history may be one by one."""
        return min(BATCHES, key=lambda size: -(-askers // size) * self.costs.get(size, float(size)))

    def _padded(self, asked: Sequence[Asked], size: int, width: int) -> tuple[QueryArrays, np.ndarray]:
        """The questions as one of `size` askers, histories and seen items as wide as each other where they may be."""
        manifest = self.recommender.manifest
        length = min(manifest.history_length, width) if manifest.any_history else manifest.history_length
        fields = {
            name: _stacked([getattr(one.query, name) for one in asked], size, missing, length)
            for name, missing in (("history", -1), ("weights", 0), ("ages", 0))
        }
        for name in ("features", "text", *(["context"] if manifest.context else [])):
            rows = [getattr(one.query, name) for one in asked]
            fields[name] = _stacked(rows, size, 0, rows[0].shape[1])
        return QueryArrays(**fields), _stacked([one.seen for one in asked], size, -1, width)

    def scores_of(self, asked: Asked, rows: np.ndarray) -> np.ndarray:
        """The ranker's own scores of these item rows, float32 [r]; one program for any number of rows."""
        most = max(128, 2 * self.recommender.manifest.k_max)
        return self.recommender.loaded.score_rows(asked.query, np.resize(rows, most).astype(np.int32))[0, : len(rows)]

    def warm_up(self, wanted: Callable[[], bool] = lambda: True) -> None:
        """Compile the programs of every batch size and width, and those behind sentences, dislikes, profiles and
        reasons, so that no question waits for any; the self-test of an artifact: raises UserError where answers are not
        finite or not of the catalog. wanted: asked between programs, ends it where it is not any more."""
        some = np.arange(min(3, len(self.catalog)))
        asked = self.recommender.asked(history=[self.catalog.id(row) for row in some])
        for width in self.widths:
            query, seen = self._padded([asked], 1, width)
            wide = asked._replace(query=query, seen=seen)
            if not wanted():
                return
            self.recommender.why(wide, some)
            self.scores_of(wide, some)
            self.recommender.loaded.user_vector(query)
            for size in BATCHES:
                if not wanted():
                    return
                for scores, rows in self.rank([wide] * size):
                    there = rows >= 0
                    if not np.isfinite(scores[there]).all() or (rows[there] >= len(self.catalog)).any():
                        raise UserError(f"{self.version}: the self-test failed, its scores are not usable")
        wide = asked._replace(seen=_stacked([asked.seen], 1, -1, self.widths[0]))
        for size in BATCHES:
            self.costs[size] = min(_seconds(lambda size=size: self.rank([wide] * size)) for _ in range(5))
        if self.texts is not None:
            for tokens in BUCKETS:
                self.encode("film " * (tokens - 2))  # and what stands around a text
        self.looked_up()

    def looked_up(self) -> "Live":
        """The same, with what questions read of the catalog worked out."""
        _ = self.everything, self.years, self.tags, self.vectors, self.item_map, self.recommender.loaded.profile_tags
        return self

    def with_items(self, items: dict[str, dict[str, Any]]) -> tuple["Live", list[str]]:
        """(the same with these items, ids of those that were there before). items: columns by id.

        A new item is placed by its description. One that is there gets a new title, text and tags, and with them
        another place in sentences, filters and profiles; what the ranker learned of it stays. Where there was no room
        left, programs are compiled anew, before this returns.
        Raises UserError or DataError for items that cannot be placed.
        """
        known = self.catalog.ids.find(list(items)) >= 0
        there = [item for item, is_known in zip(items, known, strict=True) if is_known]
        fresh = {item: columns for item, columns in items.items() if item not in there}
        recommender, texts = self.recommender, self.texts
        if there:
            recommender = recommender.described(_table({item: items[item] for item in there}))
            if texts is not None:
                rows, texts = self.catalog.ids.find(there), texts.copy()
                said = [recommender.loaded.catalog.texts[int(row)].as_py() or "" for row in rows]
                texts[rows] = recommender.loaded.encode_text(said)
        if not fresh:
            return replace(self, recommender=recommender, texts=texts).looked_up(), there
        recommender = recommender.with_new_items(_table(fresh))
        if texts is not None:
            later = recommender.loaded.catalog.texts.slice(len(texts)).to_pylist()
            texts = np.concatenate([texts, recommender.loaded.encode_text([text or "" for text in later])])
        if recommender.loaded.room == len(self.everything):
            return replace(self, recommender=recommender, texts=texts).looked_up(), there
        grown = Live(recommender, texts).with_room(self._step(len(recommender.loaded.catalog)))
        grown.warm_up()
        return grown, there

    @property
    def crowded(self) -> bool:
        """Whether the room for items to come is running out."""
        return self.recommender.loaded.room - len(self.catalog) < ROOM // 2

    def roomier(self) -> "Live":
        """The same with the room that it will have when its own is used up."""
        return self.with_room(self._step(self.recommender.loaded.room + 1))

    def with_room(self, rows: int) -> "Live":
        return Live(self.recommender.with_room(rows - len(self.catalog)), self.texts)

    def _step(self, items: int) -> int:
        """The rows for so many items: an eighth more at a time, so that it is seldom, and known beforehand."""
        rows = self.recommender.loaded.room
        while rows < items:
            rows += max(ROOM, rows // 8)
        return rows


def _seconds(act: Callable[[], Any]) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def _stacked(rows: list[np.ndarray], size: int, missing: int, width: int) -> np.ndarray:
    """Rows [1, any] as one array [size, width], `missing` where there is nothing."""
    found = np.full((size, width), missing, rows[0].dtype)
    for place, row in enumerate(rows):
        found[place, : row.shape[1]] = row[0]
    return found


def _table(items: dict[str, dict[str, Any]]) -> pa.Table:
    names = list(dict.fromkeys(name for columns in items.values() for name in columns))
    try:
        columns = {name: pa.array([columns.get(name) for columns in items.values()]) for name in names}
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(f"items: a column has values of several kinds: {error}") from None
    return pa.table({**columns, "item_id": pa.array(list(items), pa.string())})


def by_kinds(items: Mapping[str, dict[str, Any]]) -> list[dict[str, dict[str, Any]]]:
    """The items in few groups, in none of which a column has values of several kinds: each request told of items of its
    own, and a column that is a number in one may be a word in another."""
    groups: list[tuple[dict[str, type], dict[str, dict[str, Any]]]] = []
    for item, columns in items.items():
        kinds = {name: _kind(value) for name, value in columns.items() if value is not None}
        fitting = (group for group in groups if all(group[0].get(name, kind) is kind for name, kind in kinds.items()))
        group = next(fitting, None)
        if group is None:
            groups.append(group := ({}, {}))
        group[0].update(kinds)
        group[1][item] = columns
    return [members for _, members in groups]


def _kind(value: Any) -> type:
    return float if type(value) is int and abs(value) <= EXACT else type(value)
