"""What users did since an artifact was made: what events mean, and how they are read back."""

import json
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from jaxrec.errors import DataError, UserError

WEIGHTS = {"view": 0.25, "click": 0.5, "like": 1.0, "buy": 1.0, "rate": 1.0}  # of an ordinary event's weight
LOOKS = ("view", "click")
OUTWEIGHS = {"like": LOOKS, "buy": LOOKS, "not_interested": LOOKS, "rate": (*LOOKS, "like", "buy")}
"""Of each kind of event the kinds that do not take its place when they come later."""
HALF_LIFE = 30 * 86_400.0  # seconds, after which a dislike counts half
TABLES = (
    "CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, user TEXT NOT NULL, item_id TEXT NOT NULL, "
    "kind TEXT NOT NULL, value REAL, at INTEGER NOT NULL, context TEXT)",
    "CREATE TABLE IF NOT EXISTS items (item_id TEXT PRIMARY KEY, columns TEXT NOT NULL)",
)


class Done(NamedTuple):
    """Something a user did. at: UTC seconds; context: where, by column, such as {"device": "tv"}."""

    user: str
    item_id: str
    kind: str
    value: float | None
    at: int
    context: Mapping[str, str] | None = None


def read_events(database: sqlite3.Connection) -> Iterable[Done]:
    """All events, in the order of their arrival. A log of before there was context has one column less."""
    columns = f"user, item_id, kind, value, at, {'context' if has_context(database) else 'NULL'}"
    for *event, context in database.execute(f"SELECT {columns} FROM events ORDER BY number"):
        yield Done(*event, None if context is None else json.loads(context))


def has_context(database: sqlite3.Connection) -> bool:
    return any(name == "context" for _, name, *_ in database.execute("PRAGMA table_info(events)"))


def read_items(database: sqlite3.Connection) -> dict[str, dict[str, Any]]:
    """Items that were described at run time: columns by id."""
    return {item: json.loads(columns) for item, columns in database.execute("SELECT item_id, columns FROM items")}


def read_log(path: Path) -> tuple[list[Done], dict[str, dict[str, Any]]]:
    """(events, items) of a file that a service keeps, which may go on writing. Raises UserError where there is none."""
    if not path.is_file():
        raise UserError(f"{path}: no such event log; `jaxrec serve` keeps one beside the artifact")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            return list(read_events(database)), read_items(database)
    except sqlite3.DatabaseError as error:
        raise DataError(f"{path} is no event log that can be read ({error})") from error


def standing(events: Iterable[Done]) -> list[Done]:
    """One user's events without what was taken back: the latest word on an item counts, but to look at it again takes
    nothing back, and a rating stands until another one or a dislike."""
    found: dict[str, Done] = {}
    for event in events:
        if event.item_id in found and event.kind in OUTWEIGHS.get(found[event.item_id].kind, ()):
            continue
        found.pop(event.item_id, None)
        if event.kind != "undo":
            found[event.item_id] = event
    return list(found.values())


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
