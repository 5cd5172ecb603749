"""SHA-256 of every file of a folder, written when the folder is complete and checked before it is read."""

import hashlib
import json
import os
from pathlib import Path

MANIFEST = "digests.json"


def write_manifest(folder: Path) -> None:
    """Write the manifest, atomically and last: a folder without one is not complete."""
    lines = {str(path.relative_to(folder)): _digest(path) for path in _files(folder)}
    partial = folder / f"{MANIFEST}.tmp"
    with open(partial, "w", encoding="utf-8") as file:
        json.dump({"files": lines}, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, folder / MANIFEST)


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
    skipped = {MANIFEST, f"{MANIFEST}.tmp"}
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in skipped)


def _digest(path: Path) -> tuple[int, str]:
    with open(path, "rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()
