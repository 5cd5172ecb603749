"""TFDS data sets are read without TensorFlow: a prepared folder, and MovieLens by its TFDS name."""

import sys

import numpy as np
import pytest

from jaxrec.data.cleaning import clean
from jaxrec.data.dataset import index_ids
from jaxrec.data.sources.tfds import Tfds
from jaxrec.errors import DataError, UserError

tfds = pytest.importorskip("tensorflow_datasets")


class Shop(tfds.core.GeneratorBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            "customer": tfds.features.Scalar(np.int64),
            "item_id": tfds.features.Text(),
            "timestamp": tfds.features.Scalar(np.int64),
            "colour": tfds.features.ClassLabel(names=["red", "blue"]),
            "themes": tfds.features.Sequence(tfds.features.ClassLabel(names=["a", "b", "c"])),
            "name": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, _):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(12):
            item = i % 4
            yield i, {
                "customer": 2**53 + 1 + i % 3, "item_id": f"00{item}", "timestamp": 880_000_000 + i,
                "colour": item % 2, "themes": list(range(item)), "name": f"Ding Nº {item}",
            }  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    builder = Shop(data_dir=str(tmp_path_factory.mktemp("tfds")), file_format="array_record")
    builder.download_and_prepare()
    return str(builder.data_path)


def test_a_prepared_folder(shop):
    tables = Tfds(
        shop, columns=(("user_id", "customer"), ("title", "name")), item_columns=("title", "colour", "themes")
    )
    tables = tables.load()
    assert set(tables.interactions.column_names) == {"user_id", "item_id", "timestamp"}
    assert set(tables.interactions["user_id"].to_pylist()) == {str(2**53 + k) for k in (1, 2, 3)}
    items = {row["item_id"]: row for row in tables.catalog.to_pylist()}
    assert sorted(items) == ["000", "001", "002", "003"]
    assert items["003"] == {"item_id": "003", "title": "Ding Nº 3", "colour": "blue", "themes": ["a", "b", "c"]}
    assert len(index_ids(clean(tables)[0]).interactions) == 12
    assert "tensorflow" not in sys.modules


def test_wrong_names_and_splits(shop, tmp_path):
    with pytest.raises(UserError, match="neither a folder with a prepared TFDS data set"):
        Tfds(str(tmp_path)).load()
    with pytest.raises(UserError, match="TFDS has no MovieLens '5k-ratings'; it has .*100k-ratings"):
        Tfds("movielens/5k-ratings").load()
    with pytest.raises(DataError, match="has no split 'test'; it has train"):
        Tfds(shop, split="test").load()
    with pytest.raises(UserError, match="--set source.interactions=FOLDER"):
        Tfds().load()


def test_movielens_by_its_tfds_name(tmp_path, monkeypatch):
    """As with a network: only the download itself is replaced by files as GroupLens has them."""
    folder = tmp_path / "raw" / "ml-100k"
    folder.mkdir(parents=True)
    (folder / "u.data").write_text("196\t1\t3\t881250949\n186\t1\t4\t891717742\n186\t2\t4\t891717743\n")
    items = [
        f"{i}|{t}|01-Jan-1995||http://x|0|0|0|1|1|1{'|0' * 13}"
        for i, t in ((1, "Toy Story (1995)"), (2, "Héat (1995)"))
    ]
    (folder / "u.item").write_bytes(("\n".join(items) + "\n").encode("latin-1"))
    (folder / "u.user").write_text("196|49|M|writer|55105\n186|39|F|executive|00000\n")
    download = lambda self, url: str(tmp_path / "raw")  # noqa: E731
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", download)
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    tables = Tfds("movielens/100k-ratings").load()
    log = sorted(tables.interactions.select(["user_id", "item_id", "rating"]).to_pylist(), key=str)
    assert log[0] == {"user_id": "186", "item_id": "1", "rating": 4.0} and len(log) == 3
    assert {row["title"]: row["genres"] for row in tables.catalog.to_pylist()}["Héat (1995)"] == [
        "Animation", "Children", "Comedy",
    ]  # fmt: skip
    assert set(tables.users.column_names) >= {"user_id", "user_gender", "raw_user_age", "user_occupation_text"}
    assert "tensorflow" not in sys.modules


def test_no_network_says_what_to_take_instead(tmp_path, monkeypatch):
    def refuse(self, url):
        raise ConnectionError("no route")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", refuse)
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path))
    with pytest.raises(DataError, match="The source MovieLens fetches 100k and 1m from the package registry instead"):
        Tfds("movielens/1m-ratings").load()
