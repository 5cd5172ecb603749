"""The artifact directory: what lies in it, written at once, verified when read."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path, PurePosixPath, PureWindowsPath

from jaxrec.errors import DataError, UserError
from jaxrec.files import sha256_of

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
EXPIRY_NOTE = (
    "jax keeps an exported function readable for 6 months of newer jax builds and 3 weeks of older ones. "
    "Export again from the checkpoint before `readable_until`, or keep the jax version named here."
)


@dataclass(frozen=True)
class FileFacts:
    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """All that is needed to load an artifact, and the digest of every file in it.

    created, readable_until: ISO 8601, UTC. k_max: the longest list it can answer. history_length: events read, at most;
    any_history: whether arrays of shorter histories may be narrower. max_items: the most items it can be extended to.
    item_text, item_features: widths of texts and features of items; item_text is None where no texts are read.
    asked_at: UTC seconds, the moment from which ages of events count when nobody says otherwise; 0 without times.
    default_weight: the weight of a history event that comes without one.
    text_dim, max_tokens: of the text encoder, 0 without one. context: width of what is read of where a request comes
    from, 0 for nothing.
    """

    name: str
    created: str
    readable_until: str
    note: str
    jaxrec: str
    jax: str
    calling_convention: int
    platforms: tuple[str, ...]
    items: int
    users: int
    k_max: int
    history_length: int
    max_items: int | None
    any_history: bool
    user_features: int
    user_text: int
    item_text: int | None
    item_features: int
    asked_at: int
    default_weight: float
    text_dim: int
    max_tokens: int
    functions: dict[str, str]
    files: dict[str, FileFacts]
    context: int = 0
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str) -> "Manifest":
        """Raises DataError naming `where` when the text is not a manifest this version can read."""
        try:
            found = json.loads(text)
            version = found.get("format_version")
        except (ValueError, AttributeError) as error:
            raise DataError(f"{where} is not a manifest: {error}") from None
        if version != FORMAT_VERSION:
            raise DataError(
                f"{where} has format version {version!r}; this jaxrec reads version {FORMAT_VERSION}. "
                "Install the jaxrec that wrote it, or export the artifact again."
            )
        names = {f.name for f in fields(cls)}
        needed = {f.name for f in fields(cls) if f.default is MISSING}  # later fields, artifacts of before have not
        if not needed <= set(found) <= names:
            raise DataError(
                f"{where}: fields missing {sorted(needed - set(found))}, unknown {sorted(set(found) - names)}"
            )
        try:
            files = {name: FileFacts(**facts) for name, facts in found["files"].items()}
            return cls(**found | {"files": files, "platforms": tuple(found["platforms"])})
        except (TypeError, AttributeError) as error:
            raise DataError(f"{where} is not a manifest: {error}") from None


def inside(root: Path, name: str) -> Path:
    """The path of a file of the artifact. Raises DataError when it is missing or leaves the directory."""
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or PureWindowsPath(name).drive:
        raise DataError(f"{root / MANIFEST} names {name!r}, which leaves the artifact: refused")
    path = root / name
    if not path.resolve().is_relative_to(root.resolve()):
        raise DataError(f"{path} is a link that leaves the artifact (to {path.resolve()}): refused")
    if not path.is_file():
        raise DataError(f"{path} is missing: the artifact is incomplete. Copy it again or export it again.")
    return path


def facts_of(path: Path) -> FileFacts:
    return FileFacts(sha256_of(path), path.stat().st_size)


def read_manifest(root: Path) -> Manifest:
    """Raises UserError when `root` holds no artifact, DataError when it holds one that cannot be read."""
    if not root.is_dir():
        raise UserError(f"no artifact at {root}: there is no such directory. `jaxrec export` writes one.")
    if not (root / MANIFEST).exists():
        raise UserError(f"{root} is no artifact: it has no {MANIFEST}. `jaxrec export` writes one.")
    return Manifest.from_json(
        inside(root, MANIFEST).read_text(encoding="utf-8", errors="replace"), str(root / MANIFEST)
    )


@dataclass(frozen=True)
class Files:
    """The files of an artifact. None is read but by a path from here: inside `root`, and with a digest in the manifest.

    check: whether their bytes are compared with the digests.
    """

    root: Path
    manifest: Manifest
    check: bool = True

    def listed(self, name: str) -> Path:
        """Raises DataError for a file that leaves the artifact, is missing, or has no digest."""
        path = inside(self.root, name)
        if name not in self.manifest.files:
            raise DataError(f"{self.root / MANIFEST} names the file {name!r} without a digest: refused")
        return path

    def unchanged(self, name: str) -> Path:
        """As `listed`, and the bytes are those of the export; for files that are read some time after loading."""
        path = self.listed(name)
        found, expected = facts_of(path) if self.check else None, self.manifest.files[name]
        if found in (None, expected):
            return path
        what = f"{found.size} bytes instead of {expected.size}" if found.size != expected.size else "other bytes"
        raise DataError(f"{path} has changed since the export ({what}): copy the artifact again or export it again.")


def verify(root: Path, manifest: Manifest) -> None:
    """Every file of the manifest lies inside `root`, whole and unchanged; else DataError names the first not."""
    files = Files(root, manifest)
    for name in (*manifest.functions.values(), *manifest.files):
        files.listed(name)
    for name in manifest.files:
        files.unchanged(name)


def write_artifact(path: Path, write: Callable[[Path], Manifest]) -> Manifest:
    """Let `write` fill a fresh directory beside `path` and return the manifest without digests; then move it to `path`.

    An artifact that stood at `path` is replaced only when the new one is complete; anything else there is left alone
    (UserError). When `write` raises, nothing remains.
    """
    path = Path(path)
    if path.exists() and not (path / MANIFEST).is_file() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path} exists and is no artifact: choose another path, or move it away.")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.new-", dir=path.parent))
    try:
        manifest = write(fresh)
        names = sorted(p.relative_to(fresh).as_posix() for p in fresh.rglob("*") if p.is_file())
        manifest = Manifest(**vars(manifest) | {"files": {name: facts_of(fresh / name) for name in names}})
        (fresh / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        for file in [*(p for p in fresh.rglob("*") if p.is_file()), fresh]:
            _flush(file)
        fresh.chmod(0o755)
        _swap(fresh, path)
        _flush(path.parent)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    return manifest


def _swap(fresh: Path, path: Path) -> None:
    if not path.exists():
        return os.rename(fresh, path)
    old = Path(tempfile.mkdtemp(prefix=f".{path.name}.old-", dir=path.parent))
    os.rename(path, old)  # an empty directory is a legal target
    try:
        os.rename(fresh, path)
    except BaseException:
        os.rename(old, path)
        raise
    shutil.rmtree(old)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
