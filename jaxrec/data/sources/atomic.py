"""RecBole atomic files: tab-separated, with a typed header (`item_id:token`, `rating:float`, `class:token_seq`)."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.columns import TITLE_NAMES
from jaxrec.data.sources.delimited import read_delimited
from jaxrec.data.tables import KnowledgeTables, Tables, check_mapping, rename_columns, require_columns
from jaxrec.errors import DataError

TYPES = ("token", "token_seq", "float", "float_seq")
PROSE = (*TITLE_NAMES, "description", "text", "summary", "review", "abstract", "overview", "plot", "content")


@dataclass(frozen=True)
class Atomic:
    """A folder with NAME.inter and, where there are, NAME.item and NAME.user.

    A `token_seq` column is a list of tags, unless its name says that it is prose (title, description, ...).
    columns: (canonical, theirs) pairs for other column names, without the type. knowledge: read NAME.kg, triples of
    entities, and NAME.link, which entity each item is.
    """

    path: str
    columns: tuple[tuple[str, str], ...] = ()
    encoding: str = "utf-8"
    knowledge: bool = False

    def load(self) -> Tables:
        """Raises DataError when the folder, a file or a type in a header is missing."""
        folder = Path(self.path)
        found = sorted(folder.glob("*.inter")) if folder.is_dir() else []
        if not found:
            raise DataError(f"{folder} has no .inter file; a folder of RecBole atomic files is expected there")
        log = next((file for file in found if file.stem == folder.name), found[0])
        others = [log.with_suffix(suffix) for suffix in (".item", ".user")]
        tables = [read_atomic(file, self.encoding) if file.exists() else None for file in (log, *others)]
        check_mapping(tables, self.columns, str(folder))
        tables = [None if table is None else rename_columns(table, self.columns) for table in tables]
        require_columns(tables[0], ("user_id", "item_id"), str(log))
        return Tables(*tables, origin=str(log), knowledge=self._knowledge(log) if self.knowledge else None)

    def _knowledge(self, log: Path) -> KnowledgeTables:
        files = log.with_suffix(".kg"), log.with_suffix(".link")
        for file in files:
            if not file.exists():
                raise DataError(
                    f"{file} is missing: a knowledge graph is read from .kg and .link files beside {log.name}"
                )
        return KnowledgeTables(*(read_atomic(file, self.encoding) for file in files), f"{files[0]} and {files[1].name}")


def read_atomic(path: Path, encoding: str = "utf-8") -> pa.Table:
    """One atomic file. Tokens and floats stay as written; a token_seq is a list of strings, or a string if prose."""
    table = read_delimited(path, encoding=encoding, delimiter="\t", quotes=False)
    columns = {}
    for header in table.column_names:
        name, _, kind = header.rpartition(":")
        if kind not in TYPES or not name:
            raise DataError(
                f"{path}, line 1: {header!r} has no type; expected NAME:TYPE with one of {', '.join(TYPES)}"
            )
        listed = kind.endswith("_seq") and not any(word in name.lower() for word in PROSE)
        columns[name] = pc.split_pattern(table[header], " ") if listed else table[header]
    return pa.table(columns)
