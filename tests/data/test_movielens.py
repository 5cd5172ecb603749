"""MovieLens, from the wheel and from the official archives, and atomic files in general."""

import zipfile

import pytest

from jaxrec.data.grouplens import convert_1m, convert_100k
from jaxrec.data.sources.atomic import Atomic
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.errors import DataError


def test_movielens_100k_is_readable():
    tables = MovieLens("100k").load()
    assert tables.interactions.num_rows == 100_000
    assert tables.interactions.slice(0, 1).to_pylist() == [
        {"user_id": "196", "item_id": "242", "rating": "3", "timestamp": "881250949"}
    ]
    assert tables.catalog.num_rows == 1682 and tables.users.num_rows == 943
    genres = ["Animation", "Children's", "Comedy"]
    assert tables.catalog.slice(0, 1).to_pylist() == [
        {"item_id": "1", "title": "Toy Story", "year": "1995", "genres": genres}
    ]


def test_official_100k_gives_the_same_files(tmp_path):
    item = "1|Toy Story (1995)|01-Jan-1995||http://x|0|0|0|1|1|1" + "|0" * 13
    with zipfile.ZipFile(tmp_path / "ml-100k.zip", "w") as archive:
        archive.writestr("ml-100k/u.data", "196\t1\t3\t881250949\n186\t1\t3\t891717742\n")
        archive.writestr("ml-100k/u.item", f"{item}\n2|Déjà (x)|||http|1{'|0' * 18}\n".encode("latin-1"))
        archive.writestr("ml-100k/u.user", "196|49|M|writer|55105\n")
    folder = tmp_path / "ml-100k"
    folder.mkdir()
    convert_100k(tmp_path / "ml-100k.zip", folder)
    assert (folder / "ml-100k.inter").read_text().splitlines()[:2] == [
        "user_id:token\titem_id:token\trating:float\ttimestamp:float",
        "196\t1\t3\t881250949",
    ]
    tables = Atomic(str(folder)).load()
    assert tables.catalog.to_pylist() == [
        {
            "item_id": "1",
            "movie_title": "Toy Story",
            "release_year": "1995",
            "class": ["Animation", "Children's", "Comedy"],
        },
        {"item_id": "2", "movie_title": "Déjà (x)", "release_year": "", "class": ["unknown"]},
    ]
    assert tables.users.to_pylist() == [
        {"user_id": "196", "age": "49", "gender": "M", "occupation": "writer", "zip_code": "55105"}
    ]


def test_official_1m_gives_titles_as_ids(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "ml-1m.zip", "w") as archive:
        archive.writestr("ml-1m/ratings.dat", "1::2::5::978300760\n")
        archive.writestr("ml-1m/movies.dat", "2::Jumanji (1995)::Adventure|Children's\n")
        archive.writestr("ml-1m/users.dat", "1::F::1::10::48067\n")
    folder = tmp_path / "ml-1m"
    folder.mkdir()
    convert_1m(tmp_path / "ml-1m.zip", folder)
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path))
    tables = MovieLens("1m").load()
    assert tables.interactions.to_pylist() == [
        {"user_id": "1m_1", "item_id": "Jumanji (1995)", "rating": "5", "timestamp": "978300760"}
    ]
    assert tables.catalog.to_pylist() == [
        {"item_id": "Jumanji (1995)", "title": "Jumanji", "year": "1995", "genres": ["Adventure", "Children's"]}
    ]
    assert tables.users["occupation"].to_pylist() == ["student"]


def test_atomic_headers_without_types_are_named(tmp_path):
    (tmp_path / "x.inter").write_text("user_id:token\titem_id\n1\t2\n")
    with pytest.raises(DataError, match="line 1: 'item_id' has no type; expected NAME:TYPE"):
        Atomic(str(tmp_path)).load()
    with pytest.raises(DataError, match="has no .inter file"):
        Atomic(str(tmp_path / "none")).load()


def test_atomic_quotes_are_ordinary_and_names_can_be_mapped(tmp_path):
    (tmp_path / "x.inter").write_text("uid:token\tsku:token\n007\t1\n8\t1\n")
    (tmp_path / "x.item").write_text('sku:token\ttitle:token_seq\tclass:token_seq\n1\t"Cats" and dogs\tA B\n')
    tables = Atomic(str(tmp_path), columns=(("user_id", "uid"), ("item_id", "sku"))).load()
    assert tables.interactions["user_id"].to_pylist() == ["007", "8"]
    assert tables.catalog.to_pylist() == [{"item_id": "1", "title": '"Cats" and dogs', "class": ["A", "B"]}]
