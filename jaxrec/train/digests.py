"""SHA-256 of every file of a folder, written when the folder is complete and checked before it is read."""

import json
from pathlib import Path

from jaxrec.files import sha256_of, write_atomically

MANIFEST = "digests.json"


def write_manifest(folder: Path) -> None:
    """Write the manifest, atomically and last: a folder without one is not complete."""
    lines = {str(path.relative_to(folder)): _digest(path) for path in _files(folder)}
    text = json.dumps({"files": lines}, indent=1)
    write_atomically(folder / MANIFEST, lambda file: file.write(text.encode()))


def has_manifest(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def first_problem(folder: Path) -> str | None:
    """What is wrong with the folder, naming the file; None when every file is as it was written."""
    if not has_manifest(folder):
        return f"{MANIFEST} is missing, so it was never finished"
    try:
        files = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        expected = {str(name): (int(size), str(digest)) for name, (size, digest) in files.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"{MANIFEST} is damaged"
    for name, (size, digest) in expected.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        if _digest(path) != (size, digest):
            return f"{name} was changed: its SHA-256 differs"
    return None


def _files(folder: Path) -> list[Path]:
    """All but the manifest, and what was left of one that was never finished."""
    started = f".{MANIFEST}."
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return sorted(path for path in files if not path.name.startswith(started))


def _digest(path: Path) -> tuple[int, str]:
    return path.stat().st_size, sha256_of(path)
