"""Ranked and explained answers from an artifact, with jax, numpy and pyarrow alone."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from jaxrec.data.interactions import Histories
from jaxrec.data.text_vectors import says_anything
from jaxrec.errors import UserError
from jaxrec.serve.artifact import Manifest
from jaxrec.serve.asking import Asked, Event, events, feature_row, known_rows, of_user
from jaxrec.serve.bulk import answer_table, read_askers
from jaxrec.serve.explain import Reason, leave_one_out, reasons
from jaxrec.serve.functions import ArtifactWarning
from jaxrec.serve.loaded import MAX_SCORES, Loaded, padded_row, power_of_two
from jaxrec.serve.new_items import new_items, with_room
from jaxrec.serve.profiles import Profile, item_profile, user_profile

NEIGHBOURS = 20


@dataclass(frozen=True)
class Recommendation:
    """One item of an answer. rank counts from 1; reason is None where none was asked for."""

    item_id: str
    title: str
    score: float
    rank: int
    reason: Reason | None
    tags: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Recommender:
    """Answers of one artifact, made by `Recommender.load`. It never changes: `with_new_items` gives a second one."""

    loaded: Loaded

    @classmethod
    def load(cls, path: str | Path, *, check: bool = True) -> "Recommender":
        """Read and verify an artifact. check=False skips the digests (paths are still held inside the directory).

        Raises UserError where there is no artifact, DataError naming the file where one is incomplete, changed or of a
        format this version does not read. Warns (ArtifactWarning) before jax's promise to read it ends.
        An exported function runs on this machine: load artifacts only from people you trust.
        """
        return cls(Loaded.read(Path(path), check=check))

    @property
    def manifest(self) -> Manifest:
        return self.loaded.manifest

    def recommend(
        self,
        user: str | None = None,
        history: Sequence[Event] | None = None,
        *,
        k: int = 10,
        candidates: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        exclude_seen: bool = True,
        features: Mapping[str, Any] | None = None,
        text: str | None = None,
        context: Mapping[str, str] | None = None,
        explain: bool = True,
        at: int | None = None,
    ) -> list[Recommendation]:
        """The k best items for one asker, best first; fewer where fewer are allowed.

        user: an id of the artifact's users. history: item ids, oldest first, each alone or as (id, weight) or
        (id, weight, UTC seconds); with `user` they follow the stored events. Unknown item ids are ignored, and named in
        an ArtifactWarning. candidates: rank only these. exclude: never these. features: raw user features by column.
        text: the asker's own words, empty for none. context: where the request comes from, such as {"device": "tv"},
        where the artifact reads it; the hour and the weekday are those of `at` unless they are named. at: UTC seconds
        of the asking, by default the artifact's newest event.
        Raises UserError for an unknown user, for an asker of whom nothing is known, for a k above the artifact's k_max,
        and for words where it reads none.
        """
        self._check(k)
        asked = self.asked(
            user,
            history,
            candidates=candidates,
            exclude=exclude,
            exclude_seen=exclude_seen,
            features=features,
            text=text,
            context=context,
            at=at,
        )
        given = any(v is not None for v in (features or {}).values())
        told = user is not None or says_anything(text) or given or bool(context)
        if not told and not asked.known:
            raise UserError(self._nothing_known(history))
        scores, rows = self.loaded.rank(*asked)
        rows = rows[0, :k][rows[0, :k] >= 0]
        return self.listed(rows, scores[0], self.why(asked, rows) if explain else None)

    def asked(
        self,
        user: str | None = None,
        history: Sequence[Event] | None = None,
        *,
        candidates: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        exclude_seen: bool = True,
        features: Mapping[str, Any] | None = None,
        text: str | None = None,
        context: Mapping[str, str] | None = None,
        at: int | None = None,
    ) -> Asked:
        """The question of one asker as arrays; options and errors as of `recommend`, but nobody need be known."""
        at = self.manifest.asked_at if at is None else at
        mine, one = self._events(user, history, at), np.zeros(1, np.int64)
        query = self.loaded.query(mine, one, at, *self._about(user, features, text), context)
        never = known_rows(self.loaded.catalog.ids, exclude, "exclude")[0] if len(exclude) else np.zeros(0, np.int32)
        had = mine.item_rows if exclude_seen else mine.item_rows[:0]
        return Asked(query, padded_row(np.concatenate([had, never])), self._allowed(candidates))

    def why(self, asked: Asked, rows: np.ndarray) -> list[Reason]:
        """The reason of each of these item rows, int32 [r], for the asker."""
        if not len(rows):
            return []
        effects = leave_one_out(self.loaded.summands, asked.query, rows)
        return reasons(self.loaded.catalog, rows, effects, liked_from=self.manifest.default_weight)

    def recommend_many(
        self,
        histories: pa.Table | None = None,
        *,
        k: int = 10,
        candidates: Sequence[str] | None = None,
        exclude_seen: bool = True,
        at: int | None = None,
        batch: int = 256,
        progress: Callable[[int, int], None] | None = None,
    ) -> pa.Table:
        """The k best items of many askers: user_id, item_id, score (float32), rank (int32, from 1), best first.

        histories: user_id and item_id with optional timestamp (UTC seconds) and weight, one row per event; or user_id
        and a list of item ids. None asks for all users of the artifact. Users come in order of first appearance.
        Stored features are used for users that the artifact knows. Askers of whom nothing is known are left out, and
        counted in an ArtifactWarning; UserError where nobody is left. progress(done, all) is called after each batch.
        """
        loaded = self.loaded
        self._check(k)
        at = self.manifest.asked_at if at is None else at
        if histories is None:
            ids, asked = self._users().ids.ids, self._users().histories
        else:
            ids, asked = read_askers(histories, loaded.catalog.ids, self.manifest.default_weight, at)
        features, text = self._known_of(ids)
        allowed = self._allowed(candidates)
        known = self._known_askers(ids, asked, text)
        batch = power_of_two(max(1, min(batch, len(known), MAX_SCORES // len(loaded.catalog)) // 2 + 1))
        answers = []
        for start in range(0, len(known), batch):
            end = min(start + batch, len(known))
            askers = np.concatenate([known[start:end], np.full(start + batch - end, -1)])
            query = loaded.query(asked, askers, at, features, text)
            seen = loaded.seen(asked, askers) if exclude_seen else np.full((batch, 16), -1, np.int32)
            scores, rows = loaded.rank(query, seen, allowed)
            answers.append((scores[: end - start, :k], rows[: end - start, :k]))
            if progress:
                progress(end, len(known))
        return answer_table(answers, ids.take(pa.array(known)), loaded.catalog.ids.ids)

    def similar(self, item_id: str, k: int = 10) -> list[Recommendation]:
        """The items nearest to one: by cosine of their profile vectors, or, for a ranker without them, what it
        recommends to somebody who knows this item alone."""
        self._check(k)
        rows, scores = self._neighbours(self._item(item_id), k)
        return self.listed(rows, scores)

    def profile(
        self, user: str | None = None, item: str | None = None, history: Sequence[Event] | None = None, *, top: int = 10
    ) -> Profile:
        """A user (stored, given by a history, or both) or an item as weighted tags with evidence, and as a vector.

        The formula of the weights is in `jaxrec.serve.tag_profiles`.
        """
        if (item is None) == (user is None and history is None):
            raise UserError("profile: name a user (or give a history) or name an item, one of the two")
        loaded, at = self.loaded, self.manifest.asked_at
        if item is not None:
            row = self._item(item)
            near = self._neighbours(row, min(NEIGHBOURS, self.manifest.k_max))
            vector = None if loaded.item_vectors is None else loaded.item_vectors[row]
            return item_profile(loaded.catalog, row, *near, vector, top, loaded.profile_tags)
        mine = self._events(user, history, at)
        query = loaded.query(mine, np.zeros(1, np.int64), at, *self._about(user, None, None))
        return user_profile(loaded.catalog, user, mine, loaded.user_vector(query), top, loaded.profile_tags)

    def with_new_items(self, table: pa.Table, text_vectors: np.ndarray | None = None) -> "Recommender":
        """A recommender that ranks these items too. table: item_id and any columns that the catalog had. `with_room`
        keeps its programs from being compiled anew.

        text_vectors: float32 [rows, dim] in place of the artifact's own text encoder.
        Raises DataError for an id that is known already or stands twice, UserError where the ranker cannot place them.
        """
        items, catalog = new_items(self.loaded, table, text_vectors)
        return Recommender(replace(self.loaded, items=items, catalog=catalog))

    def described(self, table: pa.Table) -> "Recommender":
        """The same where these known items have other titles, texts and tags; what training learned of them stays.
        table: as of `with_new_items`. Raises DataError for an id that is not known."""
        encoder, catalog = self.loaded.item_features, self.loaded.catalog
        rows = np.array([self._item(item) for item in table["item_id"].to_pylist()], np.int64)
        titles, texts = (part.cast(pa.string()) for part in encoder.describe(table))
        return Recommender(
            replace(self.loaded, catalog=catalog.described(rows, titles, texts, encoder.read_tags(table)))
        )

    def with_room(self, more: int) -> "Recommender":
        """The same with room for so many items more, where its functions take them and it can place them."""
        loaded, rows = self.loaded, len(self.loaded.catalog) + more
        most = self.manifest.max_items
        if "embed_items" not in loaded.functions or (most is not None and rows > most):
            return self
        return Recommender(replace(loaded, items=with_room(loaded.items, rows)))

    def _check(self, k: int) -> None:
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)):
            raise UserError(f"k: a whole number is expected, not {k!r}")
        if k < 1:
            raise UserError(f"k={k}: k must be at least 1")
        if not 1 <= k <= self.manifest.k_max:
            raise UserError(
                f"k={k}: this artifact answers with 1 to {self.manifest.k_max} items (its k_max). "
                "Export it again with a larger one: jaxrec export --k-max N"
            )

    def _users(self):
        if self.loaded.users is None:
            raise UserError("this artifact keeps no users: ask with a history, or export it with the users' histories")
        return self.loaded.users

    def _nothing_known(self, history: Sequence[Event] | None) -> str:
        """Why an asker without any known item, word or feature gets no answer."""
        if history is not None and len(history):
            first = self.loaded.catalog.id(0)
            return (
                "history: none of these ids is in the catalog; "
                f"ids are those of the item_id column, such as {first!r}, not titles"
            )
        return "nothing is known of the asker: give a user, a history of item ids, words or features"

    def _known_askers(self, ids: pa.Array, asked: Histories, text: np.ndarray) -> np.ndarray:
        """Rows of the askers with a known item, stored features or stored words, ascending."""
        known = (asked.lengths > 0) | text.any(axis=1)
        if self.loaded.users is not None and self.manifest.user_features:
            known |= self.loaded.users.ids.find(ids) >= 0
        rows, left_out = np.flatnonzero(known), int((~known).sum())
        if left_out and not len(rows):
            raise UserError(
                "histories: nothing is known of any of these askers: no item id is in the catalog; "
                f"ids are those of the item_id column, such as {self.loaded.catalog.id(0)!r}"
            )
        if left_out:
            first = ids[int(np.argmin(known))].as_py()
            warnings.warn(
                f"histories: {left_out:,} of {len(ids):,} askers have no item of the catalog and are left out, "
                f"first {first!r}",
                ArtifactWarning,
                3,
            )
        return rows

    def _user(self, user: str) -> int:
        if not isinstance(user, str):
            raise UserError(f"user: ids are strings, and {user!r} is a {type(user).__name__}; write {str(user)!r}")
        row = int(self._users().ids.find([user])[0])
        if row < 0:
            raise UserError(
                f"unknown user {user!r}: not among this artifact's {len(self._users().ids)} users. Ask with a history."
            )
        return row

    def _item(self, item_id: str) -> int:
        row = int(self.loaded.catalog.ids.find([item_id])[0])
        if row < 0:
            raise UserError(f"unknown item {item_id!r}: not among this artifact's {len(self.loaded.catalog)} items")
        return row

    def _events(self, user: str | None, history: Sequence[Event] | None, at: int) -> Histories:
        given = events(self.loaded.catalog.ids, history or (), default_weight=self.manifest.default_weight, now=at)
        before = of_user(self._users().histories, self._user(user)) if user is not None else given.take(slice(0))
        return Histories.of(before.then(given), 1)

    def _about(self, user, features: Mapping[str, Any] | None, text: str | None) -> tuple[np.ndarray, np.ndarray]:
        """Features and text of one asker, [1, width] each: given, else stored, else of nobody in particular."""
        stored_features, stored_text = self._known_of([user or ""])  # "" is nobody's id
        if features is not None:
            stored_features = feature_row(features, self.loaded.user_features)
        return stored_features, self.loaded.asker_text(text) if says_anything(text) else stored_text

    def _known_of(self, ids: Sequence[str] | pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Features and text of these users, [n, width] each: those stored, else the average user's and zeros."""
        features = np.repeat(self.loaded.average_user, len(ids), axis=0)
        text = np.zeros((len(ids), self.manifest.user_text), np.float32)
        if self.loaded.users is not None:
            rows = self.loaded.users.ids.find(ids)
            features[rows >= 0] = self.loaded.users.features[rows[rows >= 0]]
            text[rows >= 0] = self.loaded.users.text[rows[rows >= 0]]
        return features, text

    def _allowed(self, candidates: Sequence[str] | None) -> np.ndarray:
        if candidates is None:
            return self.loaded.allowed(None)
        rows, _ = known_rows(self.loaded.catalog.ids, candidates, "candidates")
        if not len(rows):
            raise UserError("candidates: none of these ids is in the catalog")
        return self.loaded.allowed(rows)

    def _neighbours(self, row: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows, similarity) of the k items nearest to an item, nearest first."""
        vectors = self.loaded.item_vectors
        if vectors is None:
            item_id = self.loaded.catalog.id(row)
            known = self._events(None, [item_id], self.manifest.asked_at)
            one = np.zeros(1, np.int64)
            query = self.loaded.query(known, one, self.manifest.asked_at, *self._about(None, None, None))
            scores, rows = self.loaded.rank(query, self.loaded.seen(known, one), self.loaded.allowed(None))
            real = rows[0, :k] >= 0
            return rows[0, :k][real], scores[0, :k][real]
        cosine = (
            vectors @ vectors[row] / np.maximum(np.linalg.norm(vectors, axis=1) * np.linalg.norm(vectors[row]), 1e-12)
        )
        cosine[row] = -np.inf
        rows = np.argsort(-cosine, kind="stable")[: min(k, len(cosine) - 1)]
        return rows, cosine[rows]

    def listed(self, rows: np.ndarray, scores: np.ndarray, why: Sequence[Reason] | None = None) -> list[Recommendation]:
        """Item rows and their scores, best first, as an answer."""
        catalog, why = self.loaded.catalog, why or [None] * len(rows)
        return [
            Recommendation(catalog.id(row), catalog.title(row), float(score), rank, reason, tuple(catalog.tags.of(row)))
            for rank, (row, score, reason) in enumerate(zip(rows, scores, why, strict=False), start=1)
        ]
