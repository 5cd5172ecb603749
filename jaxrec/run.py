"""The stages of a job, from raw tables to rankers: prepare, fit, judge, export. Each is a function of its inputs."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import jax
import numpy as np

from jaxrec.config import to_json
from jaxrec.data.cleaning import CleaningReport, clean
from jaxrec.data.dataset import Dataset, index_ids
from jaxrec.data.holdout import Holdout
from jaxrec.data.interactions import Histories
from jaxrec.data.text_vectors import unit_text_vectors
from jaxrec.data.training import TrainingData
from jaxrec.embed import embed_texts, progress_bar
from jaxrec.errors import UserError
from jaxrec.evaluate.evaluator import Evaluation, Judged, check_lengths, evaluate
from jaxrec.experiment import Experiment
from jaxrec.method import Method, Setting, reads_text, settled
from jaxrec.ranker import Ranker
from jaxrec.text_encoder import LoadedEncoder
from jaxrec.train.trained import trained_in

Say = Callable[[str], None]


def say_once(text: str) -> None:
    """A plain line, from the first process."""
    if jax.process_index() == 0:
        print(text, flush=True)


@dataclass(frozen=True, eq=False)
class Prepared:
    """Data ready to train on. text: float32 [items, dim], unit vectors, width 0 without an encoder
    and where nothing reads them, as it is trained along; user_text alike."""

    experiment: Experiment
    report: CleaningReport
    dataset: Dataset
    holdout: Holdout
    encoder: LoadedEncoder | None
    text: np.ndarray
    user_text: np.ndarray

    @property
    def ks(self) -> tuple[int, ...]:
        """List lengths that the catalog can fill."""
        return tuple(k for k in self.experiment.ks if k <= self.dataset.num_items) or (self.dataset.num_items,)

    @property
    def data(self) -> TrainingData:
        """What methods learn from."""
        rule = self.experiment.holdout
        return TrainingData(
            self.dataset, self.holdout.train, self.text, self.user_text, self.holdout, rule, self.encoder
        )

    def judged(self, part: str) -> Judged:
        return Judged.of(self.dataset, self.holdout, part)

    def refit(self) -> "Prepared":
        """The same with validation added to train."""
        return replace(self, holdout=self.holdout.refit())

    @cached_property
    def final(self) -> "Prepared":
        """What the final ranker is fitted to: train, and validation too where the holdout says refit."""
        return self.refit() if self.experiment.holdout.refit else self


def prepare(experiment: Experiment, say: Say = say_once) -> Prepared:
    """Load, clean, index, hold out and encode. Raises DataError and UserError for what cannot be used."""
    return with_text(read_data(experiment, say), say)


def read_data(experiment: Experiment, say: Say = say_once) -> Prepared:
    """All of `prepare` but the texts, which take longest."""
    tables = experiment.source.load()
    say(f"data: {tables.origin}")
    tables, report = clean(tables, experiment.cleaning)
    for line in report.lines():
        say(f"  {line}")
    rules = experiment.cleaning
    dataset = index_ids(tables, rules.items, rules.users, rules.context, rules.utc_offset)
    say(f"  {dataset.num_users:,} users, {dataset.num_items:,} items in the catalog")
    rule = experiment.holdout
    if hasattr(rule, "like"):  # ready splits are read as the log is
        rule = rule.like(experiment.source, experiment.cleaning)
    holdout = rule(dataset)
    counts = holdout.counts()
    say(
        f"holdout: {holdout.name}: {counts['train']:,} train, {counts['valid']:,} validation, "
        f"{counts['test']:,} test rows; "
        f"{counts['users']:,} users and {counts['positives']:,} positives to be judged among "
        f"{counts['candidates']:,} candidates"
    )
    for note in holdout.notes:
        say(f"  {note}")
    nothing = np.zeros((dataset.num_items, 0), np.float32), np.zeros((dataset.num_users, 0), np.float32)
    return Prepared(experiment, report, dataset, holdout, None, *nothing)


def with_text(prepared: Prepared, say: Say = say_once) -> Prepared:
    """The same with the encoder and its vectors."""
    encoder, text, user_text = _encoded(prepared.experiment, prepared.dataset, say)
    return replace(prepared, encoder=encoder, text=text, user_text=user_text)


def check_options(experiment: Experiment) -> None:
    """Raises UserError for list lengths, a mesh, a training plan or an optimizer that cannot be, before any data is
    read."""
    check_lengths(experiment.ks)
    experiment.mesh.make()
    for trained in trained_in(experiment.method):
        trained.check(experiment.mesh)


def check_inputs(prepared: Prepared) -> None:
    """Raises what fitting and judging would: UserError for the task, DataError where a part has nothing to give."""
    for trained in trained_in(prepared.experiment.method):
        trained.check_data(prepared.data)
    for part in ("valid", "test") if len(prepared.holdout.valid) else ("test",):
        prepared.judged(part)


def _encoded(experiment: Experiment, dataset: Dataset, say: Say) -> tuple[LoadedEncoder | None, np.ndarray, np.ndarray]:
    nothing = np.zeros((dataset.num_items, 0), np.float32), np.zeros((dataset.num_users, 0), np.float32)
    if experiment.encoder is None:
        return None, *nothing
    texts = dataset.catalog.texts.to_pylist()
    own_words = dataset.users.texts.to_pylist() if dataset.users.texts is not None else None
    if not any(texts) and not any(own_words or ()):
        say("text: the catalog has none; training on ids and features")
        return None, *nothing
    encoder = experiment.encoder.load()
    vectors = np.zeros((dataset.num_items, 0), np.float32)
    if any(reads_text(method) for method in (experiment.method, *experiment.baselines)):
        say(f"text: encoding {len(texts):,} item texts into {encoder.dim} numbers each")
        vectors = _text_vectors(texts, encoder)
    user_vectors = np.zeros((dataset.num_users, encoder.dim), np.float32)
    if own_words:
        user_vectors = _text_vectors(own_words, encoder)
    return encoder, vectors, user_vectors


def _text_vectors(texts: list[str], encoder: LoadedEncoder) -> np.ndarray:
    """Unit vectors float32 [texts, dim]; an empty text says nothing and is zero."""
    with progress_bar("  encoding") as progress:
        vectors = embed_texts(texts, encoder, progress=progress if jax.process_index() == 0 else None)
    return unit_text_vectors(vectors, texts)


def setting_of(
    prepared: Prepared, workdir: Path, *, say: Say = say_once, quiet: bool = False, restore: bool = False
) -> Setting:
    """Where the experiment says that its methods work."""
    return Setting(workdir, prepared.experiment.mesh, prepared.experiment.seed, say, quiet, restore)


def fit_final(method: Method, prepared: Prepared, setting: Setting) -> Ranker:
    """The ranker that is judged in the test; where the holdout says refit, one fitted to train and validation with what
    validation has decided."""
    if not prepared.experiment.holdout.refit:
        return method.fit(prepared.data, setting)
    final = settled(method, prepared.data, setting)
    if final is not method and not setting.restore:
        setting.say("refit: once more on train and validation")
    return final.fit(prepared.final.data, setting.within("refit"))


def judge(
    prepared: Prepared, ranker: Ranker, part: str, *, name: str | None = None, judged: Judged | None = None
) -> Evaluation:
    """name: the method's, where none is given."""
    return evaluate(
        ranker,
        prepared.dataset,
        prepared.holdout,
        part,
        ks=prepared.ks,
        name=prepared.experiment.method.name if name is None else name,
        user_text=prepared.user_text,
        judged=judged,
    )


def judge_all(prepared: Prepared, ranker: Ranker, setting: Setting) -> dict[str, Evaluation]:
    """Our ranker first, then the baselines, each fitted on the same training part and judged on the test part.

    prepared: before the refit. Baselines that are trained keep their checkpoints in a folder of their own.
    """
    experiment, final = prepared.experiment, prepared.final
    judged = final.judged("test")
    results = {experiment.method.name: judge(final, ranker, "test", judged=judged)}
    for baseline in experiment.baselines:
        if baseline == experiment.method:
            continue
        name = _unlike(baseline.name, results)
        setting.say(f"  fitting {name}")
        try:
            fitted = fit_final(baseline, prepared, setting.within(f"baselines/{_folder(baseline)}"))
        except UserError as error:  # such as a catalog too large for it: no reason to lose what was trained
            setting.say(f"  left out: {error}")
            continue
        results[name] = judge(final, fitted, "test", name=name, judged=judged)
    return results


def _unlike(name: str, taken: dict[str, Evaluation]) -> str:
    """The name, or with a number where another method of that name has other options."""
    names = (name if count == 1 else f"{name} ({count})" for count in range(1, len(taken) + 2))
    return next(free for free in names if free not in taken)


def _folder(method: Method) -> str:
    """A name for a folder: the same for the same options, another for others."""
    digest = hashlib.sha256(to_json(method).encode()).hexdigest()[:8]
    return f"{re.sub('[^a-z0-9]+', '-', method.name.lower()).strip('-')}-{digest}"


def known_histories(prepared: Prepared) -> Histories:
    """All events of the log, for serving: what a person has is left out, whichever part it was in."""
    log = prepared.dataset.interactions
    holdout = prepared.holdout
    if len(log) < len(holdout.train) + len(holdout.valid) + len(holdout.test):  # ready splits: the log is train alone
        log = holdout.train.then(holdout.valid).then(holdout.test)
    return Histories.of(log, prepared.dataset.num_users)
