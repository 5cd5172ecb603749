"""What makes rankers: one face for all, whether fitted in closed form or trained by gradient steps."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.ranker import Ranker


def _print(text: str) -> None:
    print(text, flush=True)


@dataclass(frozen=True)
class Setting:
    """Where a method may work.

    workdir: for checkpoints, so that a fit that was interrupted goes on; None for a place that is forgotten. mesh: a
    `jaxrec.parallel.mesh.MeshShape`, None for one device. seed: of all that is random. say: takes lines for a person.
    quiet: no progress bars. restore: take the parameters that an earlier fit left in the workdir rather than train;
    methods in closed form fit again, which gives the same.
    """

    workdir: Path | None = None
    mesh: Any = None
    seed: int = 0
    say: Callable[[str], None] = _print
    quiet: bool = False
    restore: bool = False

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

    A method may have more, and is asked for it only where it has it: `settled` and `reads_text`, see the functions of
    these names; parts: a tuple of the methods that it is made of; random: True where the setting's seed changes it;
    asking: names of options that matter only when its ranker is asked, which has fields of these names; inert: a
    frozenset of the names of options that are of no account, as the others stand.
    """

    ranges: ClassVar[Ranges]

    @property
    def name(self) -> str: ...

    def fit(self, data: TrainingData, setting: Setting = HERE) -> Ranker:
        """A ranker of what `data.train` says. Raises UserError for options and data that do not go together."""
        ...


def settled(method: Method, data: TrainingData, setting: Setting = HERE) -> Method:
    """The method with what the validation part of `data` decides fixed, so that it can be fitted to train and
    validation together; where it has no `settled(data, setting)` of its own it is settled already.
    """
    return method.settled(data, setting) if hasattr(method, "settled") else method


def reads_text(method: Method) -> bool:
    """Whether it looks at the text vectors of the data; yes, unless it says that it does not."""
    return getattr(method, "reads_text", True)


def at_least(method: Method, **least: float) -> None:
    """Raises UserError for an option, None aside, below its least value."""
    for name, low in least.items():
        value = getattr(method, name)
        if value is not None and not value >= low:
            raise UserError(f"{type(method).__name__} needs {name} of at least {low:g}, not {value:g}")


def inert(method: Method) -> frozenset[str]:
    """Names of options that are of no account, as the others stand."""
    return getattr(method, "inert", frozenset())


def asked_options(method: Method) -> dict[str, Any]:
    """Those of its options that matter only when its ranker is asked."""
    return {name: getattr(method, name) for name in getattr(method, "asking", ())}


def as_fitted(method: Method) -> Method:
    """The method without them: methods for which this is equal are fitted alike."""
    return replace(method, **dict.fromkeys(asked_options(method)))
