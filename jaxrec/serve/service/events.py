"""What users did since the artifact was made: kept in SQLite, and in memory for the next answer."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from jaxrec.errors import DataError

KEPT = 1_000  # events of a user that answers look at
WEIGHTS = {"view": 0.25, "click": 0.5, "like": 1.0, "buy": 1.0, "rate": 1.0}  # of an ordinary event's weight
HALF_LIFE = 30 * 86_400.0  # seconds, after which a dislike counts half


class Done(NamedTuple):
    """Something a user did; at: UTC seconds."""

    user: str
    item_id: str
    kind: str
    value: float | None
    at: int


@dataclass(eq=False)
class EventLog:
    """Every event in the order of its arrival, and the items that were described at run time.

    What `append` and `describe` return from is on the disk (write-ahead log, synchronous=FULL). One thread writes.
    """

    path: Path
    users: dict[str, list[Done]] = field(default_factory=dict)
    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    count: int = 0

    def __post_init__(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db = sqlite3.connect(self.path, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, user TEXT NOT NULL, "
                "item_id TEXT NOT NULL, kind TEXT NOT NULL, value REAL, at INTEGER NOT NULL)"
            )
            self._db.execute("CREATE TABLE IF NOT EXISTS items (item_id TEXT PRIMARY KEY, columns TEXT NOT NULL)")
            rows = self._db.execute("SELECT user, item_id, kind, value, at FROM events ORDER BY number")
            self._remember(Done(*row) for row in rows)
            self.items.update((i, json.loads(c)) for i, c in self._db.execute("SELECT item_id, columns FROM items"))
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} is no event log that can be read ({error}): move it away") from error

    def append(self, events: Sequence[Done]) -> None:
        """Keep all of them or none."""
        self._write("INSERT INTO events (user, item_id, kind, value, at) VALUES (?, ?, ?, ?, ?)", events)
        self._remember(events)

    def describe(self, items: dict[str, dict[str, Any]]) -> None:
        """Keep what is known of items; a later description replaces an earlier one."""
        rows = [(item, json.dumps(columns, ensure_ascii=False)) for item, columns in items.items()]
        self._write("INSERT OR REPLACE INTO items VALUES (?, ?)", rows)
        self.items.update(items)

    def _write(self, statement: str, rows: Sequence[tuple]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(statement, rows)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def of(self, user: str) -> list[Done]:
        """The user's latest events, oldest first, without what was taken back."""
        found: dict[tuple[str, bool], Done] = {}
        for event in self.users.get(user, ()):
            against = event.kind == "not_interested"
            if event.kind == "undo":
                found = {key: other for key, other in found.items() if key[0] != event.item_id}
            else:  # the latest word on an item counts
                found.pop((event.item_id, not against), None)
                found.pop((event.item_id, against), None)
                found[event.item_id, against] = event
        return list(found.values())

    def _remember(self, events: Iterable[Done]) -> None:
        for event in events:
            own = self.users.setdefault(event.user, [])
            own.append(event)
            del own[:-KEPT]
            self.count += 1

    def close(self) -> None:
        self._db.close()


def liked(events: Iterable[Done], ordinary: float) -> list[tuple[str, float, int]]:
    """(item, weight, UTC seconds) of what speaks for an item. ordinary: the weight of an ordinary event."""
    return [
        (e.item_id, e.value if e.kind == "rate" and e.value is not None else WEIGHTS[e.kind] * ordinary, e.at)
        for e in events
        if e.kind in WEIGHTS
    ]


def disliked(events: Iterable[Done], now: int) -> dict[str, float]:
    """How much each dislike still counts, from 1 down by half in 30 days."""
    return {e.item_id: 2.0 ** (-max(0, now - e.at) / HALF_LIFE) for e in events if e.kind == "not_interested"}
