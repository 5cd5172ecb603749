"""The exported functions of an artifact: read, checked for age, compiled when first asked for."""

import datetime
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
from jax import export as jax_export

from jaxrec.errors import DataError, UserError
from jaxrec.serve.artifact import FileFacts, Files, Manifest

WARN_DAYS = 45


class ArtifactWarning(UserWarning):
    """Something about an artifact, or about what it was asked, that should be known but stops nothing."""


@dataclass(frozen=True, eq=False)
class Functions:
    """functions[name](*arrays), compiled once for each set of shapes."""

    files: Files
    compiled: dict[str, Callable[..., Any]] = field(default_factory=dict)

    @property
    def manifest(self) -> Manifest:
        return self.files.manifest

    def __contains__(self, name: str) -> bool:
        return name in self.manifest.functions

    def __getitem__(self, name: str) -> Callable[..., Any]:
        if name not in self.compiled:
            self.compiled[name] = jax.jit(self._read(name).call)
        return self.compiled[name]

    def like(self, other: "Functions") -> "Functions":
        """The same with the compiled programs of another artifact, where both were exported alike, byte for byte."""
        return replace(self, compiled=other.compiled) if self._facts == other._facts else self

    @property
    def _facts(self) -> dict[str, FileFacts]:
        return {name: self.manifest.files[file] for name, file in self.manifest.functions.items()}

    def _read(self, name: str) -> jax_export.Exported:
        if name not in self:
            raise UserError(
                f"the artifact at {self.files.root} has no function {name!r}: {_WHY_MISSING.get(name, 'export again')}"
            )
        path = self.files.unchanged(self.manifest.functions[name])
        try:
            exported = jax_export.deserialize(bytearray(path.read_bytes()))
            exported.mlir_module()  # a newer jax's operations are found out here, not in the middle of an answer
            return exported
        except Exception as error:  # jax raises several kinds, none of them documented
            raise DataError(
                f"{path} cannot be read by jax {jax.__version__}; it was exported with jax {self.manifest.jax} on "
                f"{self.manifest.created}. Export again from the checkpoint, or install that jax. ({error})"
            ) from error


_WHY_MISSING = {
    "embed_items": "it cannot place items that training did not see. Train a model with an item tower, on a "
    "catalog with texts or features.",
    "encode_text": "it was exported without a text encoder. Export it again with one.",
    "score_by_source": "its ranker's score is no sum of parts, or it was exported before there were any.",
    "user_profile": "its ranker has no profile vectors.",
    "item_profile": "its ranker has no profile vectors.",
}


def age_warning(manifest: Manifest, running_jax: str, today: datetime.date) -> str | None:
    """What to say about the age of an artifact; None when there is nothing to say."""
    ours, theirs = _version(running_jax), _version(manifest.jax)
    if ours < theirs:
        return (
            f"the artifact {manifest.name!r} was exported with jax {manifest.jax}, and this is the older "
            f"jax {running_jax}: it may not be readable here. Install that version or a newer one."
        )
    left = (datetime.date.fromisoformat(manifest.readable_until) - today).days
    if ours > theirs and left <= WARN_DAYS:
        when = f"in {left} days" if left >= 0 else f"{-left} days ago"
        return (
            f"jax's promise to read the artifact {manifest.name!r} (exported with jax {manifest.jax}) ends {when}, on "
            f"{manifest.readable_until}: export it again from its checkpoint."
        ).replace("ends", "ends" if left >= 0 else "ended")
    return None


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])
