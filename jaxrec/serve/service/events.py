"""The log of events: on the disk before it is acknowledged, and in memory for the next answer."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxrec.data.events import TABLES, Done, has_context, read_events, read_items, standing
from jaxrec.errors import DataError

KEPT = 1_000  # events of a user that answers look at


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
            for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", *TABLES):
                self._db.execute(statement)
            if not has_context(self._db):  # a log of before events had one
                self._db.execute("ALTER TABLE events ADD COLUMN context TEXT")
            self._remember(read_events(self._db))
            self.items.update(read_items(self._db))
        except sqlite3.DatabaseError as error:
            raise DataError(f"{self.path} is no event log that can be read ({error}): move it away") from error

    def append(self, events: Sequence[Done]) -> None:
        """Keep all of them or none."""
        rows = [(*told, json.dumps(context, ensure_ascii=False) if context else None) for *told, context in events]
        self._write("INSERT INTO events (user, item_id, kind, value, at, context) VALUES (?, ?, ?, ?, ?, ?)", rows)
        self._remember(events)

    def describe(self, items: dict[str, dict[str, Any]]) -> None:
        """Keep what is known of items; a later description replaces an earlier one."""
        rows = [(item, json.dumps(columns, ensure_ascii=False)) for item, columns in items.items()]
        self._write("INSERT OR REPLACE INTO items VALUES (?, ?)", rows)
        self.items.update(items)

    def of(self, user: str) -> list[Done]:
        """The user's latest events, oldest first, without what was taken back."""
        return standing(self.users.get(user, ()))

    def close(self) -> None:
        self._db.close()

    def _write(self, statement: str, rows: Sequence[tuple]) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(statement, rows)
            self._db.execute("COMMIT")
        except BaseException:
            self._db.execute("ROLLBACK")
            raise

    def _remember(self, events: Iterable[Done]) -> None:
        for event in events:
            own = self.users.setdefault(event.user, [])
            own.append(event)
            del own[:-KEPT]
            self.count += 1
