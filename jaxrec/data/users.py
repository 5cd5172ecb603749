"""What is known of each user beside the history, one row per user."""

from dataclasses import dataclass

import pyarrow as pa

from jaxrec.data.columns import Columns, fit_features
from jaxrec.data.features import Features


@dataclass(frozen=True, eq=False)
class Users:
    """Aligned with the user rows. features: vectors. texts: the users' own words, or None where there are none."""

    features: Features
    texts: pa.StringArray | None

    def __len__(self) -> int:
        return len(self.features.values)

    @classmethod
    def of(cls, table: pa.Table, rows: pa.Table, columns: Columns | None = None) -> "Users":
        """`table`: the user table as given, on which the encoder is fitted; `rows`: the same aligned with user rows."""
        encoder = fit_features(table, columns, id_name="user_id")
        texts = encoder.describe(rows.select(["user_id", *encoder.texts]))[1] if encoder.texts else None
        return cls(Features.of(rows, encoder), texts)
