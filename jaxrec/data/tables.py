"""Tables as they came: what a source gives, before anything is judged."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import pyarrow as pa

from jaxrec.errors import DataError, closest


class KnowledgeTables(NamedTuple):
    """A knowledge graph as it came. triples: head_id, relation_id, tail_id; links: item_id, entity_id; all strings.

    origin: where it came from, for messages.
    """

    triples: pa.Table
    links: pa.Table
    origin: str


@dataclass(frozen=True, eq=False)
class Tables:
    """What a source loads.

    interactions: user_id, item_id (strings) and, where known, timestamp, rating, event and context columns.
    catalog: item_id (string) and any columns; multi-valued ones are lists of strings. None where there is none.
    users: user_id (string) and any columns, or None.
    origin: where the data came from, for messages and reports.
    knowledge: a knowledge graph of the items, where one was asked for.
    """

    interactions: pa.Table
    catalog: pa.Table | None
    users: pa.Table | None
    origin: str
    knowledge: KnowledgeTables | None = None


class Source(Protocol):
    """Anything that can be loaded. A frozen dataclass with fields that go through JSON."""

    def load(self) -> Tables: ...


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """' Did you mean ...?' or nothing."""
    meant = closest(word, known)
    return f" Did you mean {meant!r}?" if meant is not None else ""


def rename_columns(table: pa.Table, columns: Iterable[tuple[str, str]]) -> pa.Table:
    """The table with (canonical, theirs) pairs applied; a pair whose column is not there changes nothing."""
    for canonical, theirs in columns:
        if theirs not in table.column_names or canonical == theirs:
            continue
        if canonical in table.column_names:
            table = table.drop_columns([canonical])
        table = table.rename_columns([canonical if name == theirs else name for name in table.column_names])
    return table


def require_columns(table: pa.Table, needed: Iterable[str], where: str) -> None:
    """Raises DataError naming the missing column, the columns that are there, and `--map`."""
    for name in needed:
        if name not in table.column_names:
            guess = did_you_mean(name, table.column_names) or _guess_by_part(name, table.column_names)
            there = ", ".join(repr(c) for c in table.column_names)
            raise DataError(
                f"{where} has no column {name!r}; its columns are {there}.{guess} "
                f"Say which one it is with --map {name}=THEIR_NAME"
            )


def _guess_by_part(name: str, known: Iterable[str]) -> str:
    words = {"item_id": ("item", "movie", "product", "sku", "asin", "article", "book", "track", "song", "iid")}
    words["user_id"] = ("user", "customer", "visitor", "member", "session", "account", "uid")
    for known_name in known:
        if any(word in known_name.lower() for word in words.get(name, ())):
            return f" Did you mean {known_name!r}?"
    return ""


def check_mapping(tables: Iterable[pa.Table | None], columns: Iterable[tuple[str, str]], where: str) -> None:
    """Raises DataError when a column named on the right of `--map` is in none of the tables."""
    there = [name for table in tables if table is not None for name in table.column_names]
    for canonical, theirs in columns:
        if theirs not in there:
            raise DataError(
                f"--map {canonical}={theirs}: no column {theirs!r} in {where}; "
                f"the columns are {', '.join(map(repr, dict.fromkeys(there)))}.{did_you_mean(theirs, there)}"
            )
