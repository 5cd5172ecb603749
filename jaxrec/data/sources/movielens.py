"""MovieLens (Harper and Konstan, 2015), fetched and made readable."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.fetch import fetch
from jaxrec.data.sources.atomic import Atomic
from jaxrec.data.tables import Tables

# README of ml-1m: occupations are numbered, ages are the lower ends of brackets.
OCCUPATIONS = (
    "other educator artist clerical college service doctor executive farmer homemaker student lawyer programmer "
    "retired sales scientist self-employed engineer craftsman unemployed writer"
).split()


@dataclass(frozen=True)
class MovieLens:
    """100k: 100,000 ratings, 943 users, 1,682 films, 1997-1998. 1m: 1,000,209 ratings, 6,040 users, 3,883 films, 2000.

    catalog: item_id, title, year, genres (list). users: user_id, age, gender, occupation, zip_code. In "1m" the item
    ids are "Title (year)".
    """

    variant: Literal["100k", "1m"] = "100k"

    def load(self) -> Tables:
        tables = Atomic(str(fetch(f"ml-{self.variant}"))).load()
        raw, users = tables.catalog, tables.users
        genres = raw["class"] if "class" in raw.column_names else pc.split_pattern(raw["genre"], " ")
        # 100k has "V" for the year of one film, whose title ends in "(1995) (V)", and "unkonwn" for item 267
        dated = pc.match_substring_regex(raw["release_year"], r"^\d{4}$")
        year = pc.if_else(dated, raw["release_year"], "")
        catalog = pa.table({"item_id": raw["item_id"], "title": raw["movie_title"], "year": year, "genres": genres})
        if self.variant == "1m":
            codes = pc.cast(users["occupation"], pa.int64())
            words = pc.take(pa.array(OCCUPATIONS), codes)
            users = users.set_column(users.column_names.index("occupation"), "occupation", words)
        return Tables(tables.interactions, catalog, users, f"MovieLens {self.variant}")
