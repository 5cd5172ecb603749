"""Study: which methods are compared, on which data, by which protocol, with how much tuning."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from jaxrec.config import config_fields, did_you_mean
from jaxrec.data.cleaning import Cleaning
from jaxrec.data.holdout import HoldoutRule, TimeCutoff
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.errors import UserError, closest
from jaxrec.evaluate.evaluator import check_lengths, measured
from jaxrec.method import Method
from jaxrec.text_encoder import BagOfWords, TextEncoder


@dataclass(frozen=True)
class Study:
    """One table. Equal after a JSON round trip.

    source, cleaning, holdout, encoder: as in an Experiment. methods: what is compared; each one's `ranges` say where
    its options are searched. trials: settings that each method may try on validation, the method as given among them.
    metric: what chooses among them, a per-user metric; ks: list lengths of the test. reference: whom the others are
    compared with, by name; None for the one that is best on validation. seeds: how often a method that is random is
    refitted and tested, its seed counted up. draws: how often the holdout is drawn, its seed counted up; every draw is
    searched and tested for itself. seed: of the search and of all that is random.
    """

    name: str
    methods: tuple[Any, ...]
    source: Any = MovieLens("100k")
    cleaning: Cleaning = field(default_factory=Cleaning)
    holdout: HoldoutRule = TimeCutoff()
    encoder: TextEncoder | BagOfWords | None = TextEncoder()
    trials: int = 20
    metric: str = "ndcg@10"
    ks: tuple[int, ...] = (10, 20, 100)
    reference: str | None = None
    seeds: int = 1
    draws: int = 1
    seed: int = 0

    def check(self) -> None:
        """Raises UserError for what cannot be compared, before any data is read."""
        if not self.methods:
            raise UserError(f"{self.name}: there is nothing to compare; give methods")
        for name in ("trials", "seeds", "draws"):
            if getattr(self, name) < 1:
                raise UserError(f"{self.name}: {name} must be 1 or more, not {getattr(self, name)}")
        self.metric_k()
        check_lengths(self.ks)
        if self.draws > 1 and "seed" not in config_fields(self.holdout):
            kind = type(self.holdout).__name__
            raise UserError(f"{self.name}: draws={self.draws}, but {kind} draws nothing at random: it has no seed")
        methods = keyed(self.methods)
        if self.reference is not None and match(self.reference, methods) is None:
            raise UserError(unknown(self.reference, methods, f"{self.name}: reference"))

    def metric_k(self) -> int:
        """The list length of `metric`. Raises UserError where it is not measured for each user."""
        kind, _, k = self.metric.partition("@")
        length = int(k) if k.isdecimal() else 0
        known = [name for name in measured((length or 10,)) if not name.startswith("coverage")]
        if self.metric not in known:
            raise UserError(f"{self.name}: metric={self.metric!r} is not measured{did_you_mean(self.metric, known)}")
        return length

    def drawn(self, draw: int) -> "Study":
        """The same with that draw of the holdout alone."""
        holdout = replace(self.holdout, seed=self.holdout.seed + draw) if draw else self.holdout
        return replace(self, holdout=holdout, draws=1)


@dataclass(frozen=True)
class Suite:
    """Studies that are run one after the other, with a table over them all."""

    name: str
    studies: tuple[Study, ...]

    def check(self) -> None:
        if not self.studies:
            raise UserError(f"suite {self.name} has no studies")
        if twice := one_folder([study.name for study in self.studies]):
            names = " and ".join(map(repr, twice))
            raise UserError(f"suite {self.name} has two studies named {names}: their folders would be one")
        for study in self.studies:
            study.check()


def keyed(methods: Iterable[Method]) -> dict[str, Method]:
    """Methods by what they are called throughout a study, whatever options are chosen: the class's name, or, where
    several are of one class, each one's own name. Raises UserError where two have one name.
    """
    methods = tuple(methods)
    for method in methods:
        if not (callable(getattr(method, "fit", None)) and hasattr(method, "ranges") and hasattr(method, "name")):
            raise UserError(f"{method!r} is no method: it needs name, ranges and fit (see jaxrec.method)")
    classes = Counter(type(method).__name__ for method in methods)
    keys = [type(m).__name__ if classes[type(m).__name__] == 1 else m.name for m in methods]
    if twice := one_folder(keys):
        names = " and ".join(map(repr, twice))
        raise UserError(f"two methods are named {names}: give one of them another name, or leave one out")
    return dict(zip(keys, methods, strict=True))


def slug(name: str) -> str:
    """A name as that of a folder."""
    return re.sub(r"[\W_]+", "-", name.lower()).strip("-") or "x"


def one_folder(names: Sequence[str]) -> tuple[str, str] | None:
    """The first two names, if any, that are one as names of folders."""
    found: dict[str, str] = {}
    for name in names:
        if slug(name) in found:
            return found[slug(name)], name
        found[slug(name)] = name
    return None


def match(word: str, methods: dict[str, Method]) -> str | None:
    """The key of the method that is meant by its key or its name."""
    words = {method.name.lower(): key for key, method in methods.items()} | {key.lower(): key for key in methods}
    return words.get(word.lower())


def unknown(word: str, methods: dict[str, Method], where: str) -> str:
    """What is said of a name that matches none."""
    near = closest(word, [*methods, *(method.name for method in methods.values())], cutoff=0.5)
    return f"{where}: no method {word!r} among {', '.join(methods)}" + (f"; did you mean {near!r}?" if near else "")


def is_random(method: Method) -> bool:
    """Whether another seed gives another ranker: what says so, has a seed of its own or something that validation
    settles, which is how long it is trained, or has such parts."""
    own = getattr(method, "random", False) or "seed" in config_fields(method) or hasattr(method, "settled")
    return own or any(is_random(part) for part in getattr(method, "parts", ()))


def reseeded(method: Method, seed: int) -> Method:
    """The same method with its own seed, where it has one, counted up."""
    return replace(method, seed=method.seed + seed) if seed and "seed" in config_fields(method) else method
