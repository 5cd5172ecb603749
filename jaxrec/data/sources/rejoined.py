"""Ready splits put together again: another source, and the rows of validation and test behind its log."""

from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from jaxrec.data.given import Given
from jaxrec.data.tables import Tables
from jaxrec.errors import DataError


@dataclass(frozen=True)
class Rejoined:
    """A source of ready splits with the rows of all parts in its log. rule: with the source's own reading options."""

    source: Any = None
    rule: Given = Given()

    def load(self) -> Tables:
        """Raises as the source does, and DataError where a file's columns are of other types than the log's."""
        tables = self.source.load()
        paths = (self.rule.valid, self.rule.test)
        try:
            log = pa.concat_tables(
                [tables.interactions, *map(self.rule.table, paths)], promote_options="permissive"
            ).select(tables.interactions.column_names)
        except pa.ArrowException as error:
            raise DataError(f"{' and '.join(paths)} do not fit the log: {error}") from error
        return replace(tables, interactions=log, origin=", ".join((tables.origin, *paths)))
