"""What makes rankers: one face for all, whether fitted in closed form or trained by gradient steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from jaxrec.data.training import TrainingData
from jaxrec.ranker import Ranker


def _print(text: str) -> None:
    print(text, flush=True)


@dataclass(frozen=True)
class Setting:
    """Where a method may work.

    workdir: for checkpoints, so that a fit that was interrupted goes on; None for a place that is forgotten. mesh: a
    `jaxrec.parallel.mesh.MeshShape`, None for one device. seed: of all that is random. say: takes lines for a person.
    quiet: no progress bars.
    """

    workdir: Path | None = None
    mesh: Any = None
    seed: int = 0
    say: Callable[[str], None] = _print
    quiet: bool = False

    def within(self, name: str) -> "Setting":
        """The same in a folder of that name below the workdir."""
        return self if self.workdir is None else replace(self, workdir=self.workdir / name)


HERE = Setting()


@dataclass(frozen=True)
class Between:
    """A range that an option is searched in; log: by its logarithm; whole: among whole numbers."""

    low: float
    high: float
    log: bool = False
    whole: bool = False


Ranges = Mapping[str, Between | tuple]
"""Options by dotted name ("l2", "task.model.dropout"): a range, or a tuple of the values to choose among."""


class Method(Protocol):
    """A frozen dataclass of options, equal after a JSON round trip; `name` is what tables call it.

    ranges: where its options are searched when methods are compared; {} for nothing to choose.
    """

    ranges: ClassVar[Ranges]

    @property
    def name(self) -> str: ...

    def fit(self, data: TrainingData, setting: Setting = HERE) -> Ranker:
        """A ranker of what `data.train` says. Raises UserError for options and data that do not go together."""
        ...
