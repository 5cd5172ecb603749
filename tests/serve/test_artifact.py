"""What lies in the artifact, and what is refused."""

import datetime
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import planted
import pytest
from jax import export as jax_export

from jaxrec.errors import DataError, UserError
from jaxrec.hybrid.signals import latest
from jaxrec.serve.artifact import MANIFEST, Manifest, read_manifest
from jaxrec.serve.export import export
from jaxrec.serve.functions import age_warning
from jaxrec.serve.recommender import Recommender

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(artifact, tmp_path):
    return Path(shutil.copytree(artifact, tmp_path / "copy"))


def change(path: Path, **fields):
    manifest = json.loads((path / MANIFEST).read_text())
    (path / MANIFEST).write_text(json.dumps(manifest | fields))


def test_the_directory(artifact):
    manifest = read_manifest(artifact)
    assert {p.name for p in artifact.iterdir()} == set(manifest.files) | {MANIFEST}
    assert {"recommend.stablehlo", "score_rows.stablehlo", "embed_items.stablehlo", "encode_text.stablehlo"} <= set(
        manifest.files
    )
    assert {"items.parquet", "users.parquet", "tokenizer.json", "metrics.json", "README.md"} <= set(manifest.files)
    assert (manifest.items, manifest.users, manifest.k_max, manifest.history_length) == (24, 40, 20, 8)
    assert manifest.any_history and manifest.max_items is None
    assert json.loads((artifact / "experiment.json").read_text()) == {"seed": 3}
    assert not list(artifact.parent.glob(".artifact*"))


def test_functions_are_lowered_for_three_platforms_and_carry_no_arrays(artifact):
    manifest = read_manifest(artifact)
    for file in manifest.functions.values():
        data = (artifact / file).read_bytes()
        assert jax_export.deserialize(bytearray(data)).platforms == ("cpu", "cuda", "tpu")
        assert len(data) < 60_000
        assert str(ROOT).encode() not in data and b"site-packages" not in data


class Hurried(planted.PlantedRanker):
    """Reads four events where there are more, and so needs to know how many there are."""

    def user(self, arrays, query):
        return super().user(arrays, latest(query, 4) if query.history.shape[1] > 4 else query)


def test_an_artifact_that_must_read_full_histories_says_so(data, ranker, tmp_path):
    ranker = Hurried(ranker.arrays)
    with pytest.warns(UserWarning, match="reads 8 events of any history, however short.*: Hurried needs to know"):
        export(ranker, data, tmp_path / "artifact", user_text=planted.TEXT)
    assert not read_manifest(tmp_path / "artifact").any_history


def test_a_manifest_goes_through_json(artifact):
    manifest = read_manifest(artifact)
    assert Manifest.from_json(manifest.to_json(), "here") == manifest


def test_a_newer_format_is_refused(copy):
    change(copy, format_version=2)
    with pytest.raises(DataError, match=r"manifest.json has format version 2; this jaxrec reads version 1"):
        Recommender.load(copy)


def test_a_manifest_that_is_none(copy):
    (copy / MANIFEST).write_text("[]")
    with pytest.raises(DataError, match="is not a manifest"):
        Recommender.load(copy)
    (copy / MANIFEST).unlink()
    with pytest.raises(UserError, match="is no artifact: it has no manifest.json"):
        Recommender.load(copy)
    with pytest.raises(UserError, match="no artifact at .*nowhere"):
        Recommender.load(copy / "nowhere")


@pytest.mark.parametrize("name", ["recommend.stablehlo", "items.safetensors", "items.parquet", "README.md"])
def test_a_changed_byte_is_refused_by_name(copy, name):
    flip(copy / name)
    with pytest.raises(DataError, match=rf"{name} has changed since the export \(other bytes\)"):
        Recommender.load(copy)


def test_a_cut_or_missing_file_is_refused_by_name(copy):
    (copy / "shared.safetensors").write_bytes((copy / "shared.safetensors").read_bytes()[:-1])
    with pytest.raises(
        DataError, match=r"shared.safetensors has changed since the export \(\d+ bytes instead of \d+\)"
    ):
        Recommender.load(copy)
    (copy / "shared.safetensors").unlink()
    with pytest.raises(DataError, match="shared.safetensors is missing"):
        Recommender.load(copy, check=False)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "..\\secret", "C:secret", ""])
def test_a_name_that_leaves_the_directory_is_refused(copy, name):
    manifest = json.loads((copy / MANIFEST).read_text())
    change(copy, files=manifest["files"] | {name: {"sha256": "", "size": 0}})
    with pytest.raises(DataError, match="which leaves the artifact: refused") as error:
        Recommender.load(copy, check=False)
    assert repr(name) in str(error.value)
    change(copy, files=manifest["files"], functions=manifest["functions"] | {"recommend": name})
    with pytest.raises(DataError, match="which leaves the artifact: refused"):
        Recommender.load(copy)


def test_a_link_that_leaves_the_directory_is_refused(copy, tmp_path):
    shutil.move(copy / "items.parquet", tmp_path / "elsewhere.parquet")
    (copy / "items.parquet").symlink_to(tmp_path / "elsewhere.parquet")
    with pytest.raises(DataError, match="items.parquet is a link that leaves the artifact"):
        Recommender.load(copy)


def test_a_function_without_a_digest_is_refused(copy):
    (copy / "other.stablehlo").write_bytes((copy / "recommend.stablehlo").read_bytes())
    change(copy, functions=json.loads((copy / MANIFEST).read_text())["functions"] | {"recommend": "other.stablehlo"})
    with pytest.raises(DataError, match="'other.stablehlo' without a digest"):
        Recommender.load(copy)


def test_operations_of_a_newer_jax_are_refused_when_loading(copy):
    whole = (copy / "recommend.stablehlo").read_bytes()
    newer = whole.replace(b"add_v1", b"add_v9")
    assert newer != whole
    (copy / "recommend.stablehlo").write_bytes(newer)
    with pytest.raises(DataError, match=r"cannot be read by jax .*Export again from the checkpoint"):
        Recommender.load(copy, check=False)


READ = ("items.parquet", "users.parquet", "items.safetensors", "shared.safetensors", "recommend.stablehlo")
READ_LATER = ("encode_text.stablehlo", "tokenizer.json", "encoder.safetensors", "user_features.json")


def flip(path: Path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def without_digest(copy: Path, name: str):
    files = json.loads((copy / MANIFEST).read_text())["files"]
    change(copy, files={file: facts for file, facts in files.items() if file != name})


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("name", READ)
def test_nothing_is_read_without_a_digest(copy, name, check):
    without_digest(copy, name)
    with pytest.raises(DataError, match=f"'{name}' without a digest: refused"):
        Recommender.load(copy, check=check)


@pytest.mark.parametrize("name", READ_LATER[1:])
def test_nothing_is_read_later_without_a_digest(copy, name):
    without_digest(copy, name)
    with pytest.raises(DataError, match=f"'{name}' without a digest: refused"):
        Recommender.load(copy).recommend(text="funny")


@pytest.mark.parametrize("name", READ_LATER)
def test_what_changes_after_loading_is_not_read(copy, name):
    recommender = Recommender.load(copy)
    flip(copy / name)
    with pytest.raises(DataError, match=f"{name} has changed since the export"):
        recommender.recommend(text="funny")


def test_an_export_replaces_an_artifact_only_when_complete(copy, data, ranker, monkeypatch):
    before = (copy / MANIFEST).read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr("jaxrec.serve.export.items_table", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(ranker, data, copy, user_text=planted.TEXT)
    assert (copy / MANIFEST).read_bytes() == before
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]
    export(ranker, data, copy, user_text=planted.TEXT, name="second")
    assert Recommender.load(copy).manifest.name == "second"
    assert [p.name for p in copy.parent.iterdir()] == ["copy"]
    assert not (copy / "users.parquet").exists()


def test_an_export_overwrites_nothing_else(data, ranker, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="exists and is no artifact"):
        export(ranker, data, tmp_path, user_text=planted.TEXT)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    with pytest.raises(UserError, match="k_max is 25: it must lie between 1 and the number of items, 24"):
        export(ranker, data, tmp_path / "a", k_max=25)


def test_age(artifact):
    manifest = replace(read_manifest(artifact), jax="0.10.2", readable_until="2027-05-01")
    day = datetime.date
    assert age_warning(manifest, "0.10.2", day(2030, 1, 1)) is None
    assert age_warning(manifest, "0.12.0", day(2027, 1, 1)) is None
    assert "ends in 10 days, on 2027-05-01" in age_warning(manifest, "0.12.0", day(2027, 4, 21))
    assert "ended 9 days ago, on 2027-05-01" in age_warning(manifest, "0.12.0.1", day(2027, 5, 10))
    assert "this is the older jax 0.9.1" in age_warning(manifest, "0.9.1", day(2027, 1, 1))


def test_loads_and_answers_without_model_code(artifact, recommender):
    code = """
import importlib.abc, json, sys

class Blocked(importlib.abc.MetaPathFinder):
    names = ("flax", "orbax", "transformers", "grain", "optax", "safetensors", "tokenizers", "torch", "ml_collections",
             "tensorflow_datasets", "jaxrec.models", "jaxrec.tasks", "jaxrec.train", "jaxrec.losses", "jaxrec.classic",
             "jaxrec.parallel", "jaxrec.evaluate", "jaxrec.ranker", "jaxrec.experiment")

    def find_spec(self, name, path=None, target=None):
        if any(name == n or name.startswith(n + ".") for n in self.names):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import pyarrow as pa
from jaxrec.serve.recommender import Recommender

recommender = Recommender.load(sys.argv[1])
new = recommender.with_new_items(pa.table({"item_id": ["new"], "title": ["Funny"], "genres": ["Comedy"]}))
answers = [recommender.recommend(history=["i1", "i2"], k=5), recommender.recommend(user="u3", text="sad drama", k=5)]
print(json.dumps([[r.to_json() for r in a] for a in answers + [new.recommend(history=["new"], k=3)]]))
print(recommender.recommend_many(k=3).num_rows, recommender.profile(item="i1").kind, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code, str(artifact)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    there = json.loads(done.stdout)
    here = recommender.recommend(history=["i1", "i2"], k=5)
    assert [r["item_id"] for r in there[0]] == [r.item_id for r in here]
    assert there[0][0]["reason"]["text"] == here[0].reason.text
    assert done.stderr.split()[-2:] == ["120", "item"]
