"""Which film an entity of the knowledge graph is: the links that come with MovieLens 100k are of another numbering."""

import re
from typing import NamedTuple

import numpy as np
import pyarrow as pa

# Numbers up to 1,682 that ml-1m leaves out; none of them is linked.
GAPS = (
    91, 221, 323, 622, 646, 677, 686, 689, 740, 817, 883, 995, 1048, 1072, 1074, 1182, 1195, 1229, 1239, 1338, 1402,
    1403, 1418, 1435, 1451, 1452, 1469, 1478, 1481, 1491, 1492, 1505, 1506, 1512, 1521, 1530, 1536, 1540, 1560, 1576,
    1607, 1618, 1634, 1637, 1638,
)  # fmt: skip

ARTICLES = ("The", "A", "An", "Le", "La", "Les", "L'", "Das", "Der", "Die", "El", "Il")


def relinked(links: pa.Table, films_1m: pa.Table, films_100k: pa.Table) -> pa.Table:
    """The links with item ids of ml-100k.

    links: item_id, entity_id. films_1m: movie_title and release_year in the order of ml-1m, films_100k: besides them
    item_id. In `ml-100k.link` 172 is "Johnny Mnemonic", as in ml-1m, which in ml-100k is "The Empire Strikes Back": so
    films are found again by title and year. Those that ml-100k has not are left out.
    """
    numbers = np.setdiff1d(np.arange(1, len(films_1m) + len(GAPS) + 1), GAPS)[: len(films_1m)]
    titles = dict(zip(numbers.tolist(), _titles(films_1m), strict=True))
    ours = dict(zip(reversed(_titles(films_100k)), reversed(films_100k["item_id"].to_pylist()), strict=True))
    of_year: dict[str, list[_Title]] = {}
    for title in ours:
        of_year.setdefault(title.year, []).append(title)
    found: dict[str, str] = {}
    later = []
    for number, entity in zip(links["item_id"].to_pylist(), links["entity_id"].to_pylist(), strict=True):
        title = titles.get(int(number))
        if title in ours:
            found.setdefault(ours[title], entity)
        elif title is not None:
            later.append((title, entity))
    for title, entity in later:
        longer = [ours[other] for other in of_year.get(title.year, ()) if title.is_longer(other)]
        if len(longer) == 1:
            found.setdefault(longer[0], entity)
    return pa.table({"item_id": list(found), "entity_id": list(found.values())})


class _Title(NamedTuple):
    words: tuple[str, ...]
    year: str

    def is_longer(self, other: "_Title") -> bool:
        """Whether it begins or ends with the other's words, two at least: "Star Wars: Episode IV", "Star Wars"."""
        size = len(other.words)
        return size >= 2 and other.words in (self.words[:size], self.words[-size:])


def _titles(films: pa.Table) -> list[_Title]:
    """In plain words, the article first, without what stands in brackets."""
    titles = []
    for title, year in zip(films["movie_title"].to_pylist(), films["release_year"].to_pylist(), strict=True):
        name, _, article = re.sub(r"\(.*?\)", "", title).strip().rpartition(", ")
        words = f"{article} {name}" if name and article in ARTICLES else f"{name} {article}"
        titles.append(_Title(tuple(re.findall(r"\w+", words.lower())), str(year)[:4]))
    return titles
