"""The official MovieLens archives to atomic files, as the wheels carry them."""

import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

GENRES_100K = (
    "unknown Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy Film-Noir Horror Musical "
    "Mystery Romance Sci-Fi Thriller War Western"
).split()


def convert_100k(archive: Path, folder: Path) -> None:
    """ml-100k.zip (u.data, u.item, u.user) to ml-100k.{inter,item,user} in `folder`."""
    log = (line.split("\t") for line in _lines(archive, "u.data"))
    _write(folder / "ml-100k.inter", "user_id:token item_id:token rating:float timestamp:float", log)
    items = []
    for line in _lines(archive, "u.item"):
        fields = line.split("|")
        title, year = _title_and_year(fields[1])
        genres = [genre for genre, flag in zip(GENRES_100K, fields[5:], strict=False) if flag == "1"]
        items.append((fields[0], title, year, " ".join(genres)))
    _write(folder / "ml-100k.item", "item_id:token movie_title:token_seq release_year:token class:token_seq", items)
    users = (line.split("|") for line in _lines(archive, "u.user"))
    _write(folder / "ml-100k.user", "user_id:token age:token gender:token occupation:token zip_code:token", users)


def convert_1m(archive: Path, folder: Path) -> None:
    """ml-1m.zip (ratings.dat, movies.dat, users.dat) to ml-1m.{inter,item,user}; item ids become "Title (year)"."""
    movies = [line.split("::") for line in _lines(archive, "movies.dat")]
    titles = {number: title for number, title, _ in movies}
    log = (line.split("::") for line in _lines(archive, "ratings.dat"))
    named = ((f"1m_{user}", titles[item], rating, when) for user, item, rating, when in log)
    _write(folder / "ml-1m.inter", "user_id:token item_id:token rating:float timestamp:float", named)
    items = ((title, *_title_and_year(title), genres.replace("|", " ")) for _, title, genres in movies)
    _write(folder / "ml-1m.item", "item_id:token movie_title:token release_year:float genre:token", items)
    users = (line.split("::") for line in _lines(archive, "users.dat"))
    people = ((f"1m_{user}", age, gender, job, code) for user, gender, age, job, code in users)
    _write(folder / "ml-1m.user", "user_id:token age:float gender:token occupation:float zip_code:token", people)


CONVERTERS: dict[str, Callable[[Path, Path], None]] = {"ml-100k": convert_100k, "ml-1m": convert_1m}


def _lines(archive: Path, name: str) -> list[str]:
    with zipfile.ZipFile(archive) as files:
        member = next(m for m in files.namelist() if m.endswith("/" + name) or m == name)
        return [line for line in files.read(member).decode("latin-1").splitlines() if line]


def _title_and_year(title: str) -> tuple[str, str]:
    """ "Heat (1995)" to ("Heat", "1995")."""
    found = re.fullmatch(r"(.*\S)\s*\((\d{4})\)\s*", title)
    return (found[1], found[2]) if found else (title.strip(), "")


def _write(path: Path, header: str, rows: Iterable[Iterable[str]]) -> None:
    lines = ["\t".join(header.split()), *("\t".join(row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
