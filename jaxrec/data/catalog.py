"""What is known of each item, one row per item."""

from dataclasses import dataclass

import pyarrow as pa

from jaxrec.data.columns import Columns, fit_features
from jaxrec.data.features import Features, Tags


@dataclass(frozen=True, eq=False)
class Catalog:
    """Aligned with the item rows.

    titles: what a person reads. texts: what the text encoder reads, "" where nothing is known.
    tags: readable tags (genres, categories). features: numbers, categories and tags as vectors.
    """

    titles: pa.StringArray
    texts: pa.StringArray
    tags: Tags
    features: Features

    def __len__(self) -> int:
        return len(self.titles)

    @classmethod
    def of(cls, table: pa.Table, rows: pa.Table, columns: Columns | None = None) -> "Catalog":
        """`table`: the catalog as given, on which the encoder is fitted; `rows`: the same aligned with item rows."""
        encoder = fit_features(table, columns, id_name="item_id")
        titles, texts = encoder.describe(rows)
        return cls(titles, texts, encoder.read_tags(rows), Features.of(rows, encoder))
