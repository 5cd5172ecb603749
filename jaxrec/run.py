"""The stages of a job, from raw tables to rankers: prepare, train, judge, export. Each is a function of its inputs."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrec.classic.content import ContentNeighbours
from jaxrec.config import did_you_mean, to_json
from jaxrec.data.batches import make_batches
from jaxrec.data.cleaning import CleaningReport, clean
from jaxrec.data.dataset import Dataset, index_ids
from jaxrec.data.examples import Batch, ExampleSource
from jaxrec.data.holdout import Holdout
from jaxrec.data.interactions import Histories
from jaxrec.data.text_vectors import unit_text_vectors
from jaxrec.data.training import TrainingData
from jaxrec.embed import embed_texts, progress_bar
from jaxrec.errors import DataError, UserError
from jaxrec.evaluate.evaluator import Evaluation, Judged, evaluate, measured
from jaxrec.experiment import Experiment
from jaxrec.models.towers import ItemTable
from jaxrec.parallel.partition import PARAM_RULES, partition_shardings
from jaxrec.parallel.placement import data_shard, place_constants
from jaxrec.ranker import Ranker
from jaxrec.tasks.item_table import item_table
from jaxrec.tasks.ranker import two_tower_ranker
from jaxrec.tasks.retrieval import ITEM_RULES, Retrieval
from jaxrec.tasks.tuning import Tuned, tuned_for
from jaxrec.text_encoder import LoadedEncoder
from jaxrec.train.checkpoints import abstract, restore_params
from jaxrec.train.loop import FitResult, fit
from jaxrec.train.step import init_key

Say = Callable[[str], None]
MODEL_NAME = "Two-tower"


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
        return _ks(self.experiment, self.dataset.num_items)

    def judged(self, part: str) -> Judged:
        return Judged.of(self.dataset, self.holdout, part)

    def refit(self) -> "Prepared":
        """The same with validation added to train."""
        return replace(self, holdout=self.holdout.refit())

    @cached_property
    def tuned(self) -> Tuned | None:
        """The encoder that is trained along, where the task asks for one."""
        return tuned_for(self.experiment.task, self.encoder, self.dataset.catalog.texts.to_pylist())

    @property
    def task(self) -> Retrieval:
        return self.tuned.task if self.tuned else self.experiment.task

    @cached_property
    def table(self) -> ItemTable:
        """The item table of the training part, on the host."""
        tokens = self.tuned.tokens if self.tuned else None
        features = self.dataset.catalog.features.values
        text = self.text[:, :0] if self.tuned else self.text  # the tower reads tokens
        return item_table(self.holdout.train, text, features, self.experiment.neighbourhood, tokens)

    @cached_property
    def source(self) -> ExampleSource:
        features, dataset = self.dataset.users.features.values, self.dataset
        source = ExampleSource.of(
            self.experiment.examples, self.holdout.train, dataset.num_users, dataset.num_items, features, self.user_text
        )
        if not len(source):
            raise DataError("no user has two training events, so there is nothing to predict from; hold out less")
        return source


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
    dataset = index_ids(tables, experiment.cleaning.items, experiment.cleaning.users)
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
    experiment = _with_measured(experiment, dataset.num_items, say)
    nothing = np.zeros((dataset.num_items, 0), np.float32), np.zeros((dataset.num_users, 0), np.float32)
    return Prepared(experiment, report, dataset, holdout, None, *nothing)


def with_text(prepared: Prepared, say: Say = say_once) -> Prepared:
    """The same with the encoder and its vectors."""
    encoder, text, user_text = _encoded(prepared.experiment, prepared.dataset, say)
    return replace(prepared, encoder=encoder, text=text, user_text=user_text)


def check_options(experiment: Experiment) -> None:
    """Raises UserError for a mesh, a training plan or an optimizer that cannot be, before any data is read."""
    experiment.train.check(experiment.mesh.make())
    experiment.optimizer.build(experiment.train.num_steps)


def check_inputs(prepared: Prepared) -> None:
    """Raises what training and judging would: UserError for the task, DataError where a part has nothing to give."""
    _ = prepared.task, prepared.source
    for part in ("valid", "test") if len(prepared.holdout.valid) else ("test",):
        prepared.judged(part)


def _ks(experiment: Experiment, items: int) -> tuple[int, ...]:
    return tuple(k for k in experiment.ks if k <= items) or (items,)


def _with_measured(experiment: Experiment, items: int, say: Say) -> Experiment:
    """The same with a train.metric that is measured: where the catalog is too short for its list, at the longest
    there is. Raises UserError for a name that no evaluation gives.
    """
    ks, metric = _ks(experiment, items), experiment.train.metric
    known = measured(ks)
    if metric in known:
        return experiment
    kind, at, k = metric.partition("@")
    shorter = f"{kind}@{max(ks)}"
    if not (at and k.isdigit() and int(k) in experiment.ks and shorter in known):
        raise UserError(f"train.metric={metric!r} is not measured{did_you_mean(metric, known)}")
    say(f"  {metric} needs {k} items: {shorter} chooses the best parameters")
    return replace(experiment, train=replace(experiment.train, metric=shorter))


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
    if experiment.task.fine_tune is None or any(isinstance(b, ContentNeighbours) for b in experiment.baselines):
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


def ranker_of(prepared: Prepared, params: Any) -> Ranker:
    """The trained parameters (on the mesh or the host) as a ranker."""
    table = place_constants(prepared.table, prepared.experiment.mesh.make(), ITEM_RULES)
    return _ranker(prepared, params, table)


def _ranker(prepared: Prepared, params: Any, table: ItemTable) -> Ranker:
    experiment, task = prepared.experiment, prepared.task
    if prepared.tuned:
        task, params, table = prepared.tuned.frozen(params, table)
    length = experiment.examples.history_length
    return two_tower_ranker(task.model, params, table, experiment.neighbourhood, length)


def train(prepared: Prepared, workdir: Path, *, say: Say = say_once, quiet: bool = False) -> FitResult:
    """Train as the experiment says, with early stopping on the validation part where there is one."""
    experiment = prepared.experiment
    mesh = experiment.mesh.make()
    experiment.train.check(mesh)
    shard, shards = data_shard(mesh)
    batches = make_batches(
        prepared.source, experiment.train.batch_size_global, experiment.seed, process_index=shard, process_count=shards
    )
    validate = None
    if len(prepared.holdout.valid):
        judged = prepared.judged("valid")

        def validate(params: Any, table: ItemTable) -> dict[str, float]:
            ranker = _ranker(prepared, params, table)
            return _watched(judge(prepared, ranker, "valid", judged=judged), experiment.train.metric)

    say(
        f"training: {experiment.train.last_step:,} steps of {experiment.train.batch_size_global} users on "
        f"{mesh.size} {jax.devices()[0].platform} device{'s' if mesh.size > 1 else ''}"
    )
    return fit(
        prepared.task,
        experiment.optimizer,
        experiment.train,
        mesh,
        prepared.table,
        batches,
        _first_batch(prepared, shards),
        validate,
        workdir=workdir,
        seed=experiment.seed,
        experiment_json=to_json(experiment),
        strategy=experiment.mesh.strategy,
        trainable=prepared.tuned.trainable if prepared.tuned else None,
        warm_start=prepared.tuned.warm_start if prepared.tuned else None,
        constant_rules=ITEM_RULES,
        quiet=quiet,
    )


def _watched(result: Evaluation, metric: str) -> dict[str, float]:
    """The few numbers that are logged while training."""
    k = result.ks[0]
    return {name: result[name] for name in dict.fromkeys((metric, f"recall@{k}", f"coverage@{k}"))}


def _first_batch(prepared: Prepared, shards: int) -> Batch:
    size = prepared.experiment.train.batch_size_global // shards
    return prepared.source.gather(np.arange(size) % len(prepared.source), np.random.default_rng(0))


def train_and_refit(
    prepared: Prepared, workdir: Path, *, say: Say = say_once, quiet: bool = False
) -> tuple[Prepared, FitResult, Any]:
    """Train; where the holdout says refit, train once more on train and validation, as long as validation found best.

    Returns what the final parameters were trained on, the first training (with its curves), and the final parameters.
    """
    result = train(prepared, workdir, say=say, quiet=quiet)
    metric, plan = prepared.experiment.train.metric, prepared.experiment.train
    if result.best_step is not None:
        why = (
            f"no better one in {plan.patience} evaluations"
            if result.stopped_because == "patience"
            else "all steps done"
        )
        say(f"best {metric} on validation: {result.best_metrics[metric]:.4f} at step {result.best_step} ({why})")
    if not prepared.experiment.holdout.refit:
        return prepared, result, result.params
    steps = result.best_step or plan.last_step
    say(f"refit: once more on train and validation, {steps:,} steps")
    again = refitted(prepared, steps)
    return again, result, train(again, workdir / "refit", say=say, quiet=quiet).params


def refitted(prepared: Prepared, steps: int) -> Prepared:
    """The job of the refit: train and validation together, the same schedule up to a fixed step."""
    plan = replace(prepared.experiment.train, stop_at=steps, patience=None, evaluate_every=None)
    return replace(prepared.refit(), experiment=replace(prepared.experiment, train=plan))


def restore(prepared: Prepared, workdir: Path) -> tuple[Prepared, Any]:
    """The final parameters of an earlier `train_and_refit`, and what they were trained on."""
    step, params = _restored(prepared, workdir)
    if not prepared.experiment.holdout.refit:
        return prepared, params
    again = refitted(prepared, step)
    return again, _restored(again, workdir / "refit")[1]


def _restored(prepared: Prepared, workdir: Path) -> tuple[int, Any]:
    mesh = prepared.experiment.mesh.make()
    batch = _first_batch(prepared, data_shard(mesh)[1])
    shapes = jax.eval_shape(prepared.task.init, init_key(0), prepared.table, batch)
    shardings = partition_shardings(shapes, PARAM_RULES, mesh)
    return restore_params(workdir, abstract(shapes, shardings))


def judge(
    prepared: Prepared, ranker: Ranker, part: str, *, name: str = MODEL_NAME, judged: Judged | None = None
) -> Evaluation:
    return evaluate(
        ranker,
        prepared.dataset,
        prepared.holdout,
        part,
        ks=prepared.ks,
        name=name,
        user_text=prepared.user_text,
        judged=judged,
    )


def judge_all(prepared: Prepared, ranker: Ranker, say: Say = say_once) -> dict[str, Evaluation]:
    """Our ranker and the baselines, each fitted on the same training part and judged on the test part."""
    judged = prepared.judged("test")
    results = {MODEL_NAME: judge(prepared, ranker, "test", judged=judged)}
    for baseline in prepared.experiment.baselines:
        say(f"  fitting {baseline.name}")
        try:
            fitted = baseline.fit(TrainingData(prepared.dataset, prepared.holdout.train, prepared.text))
        except UserError as error:  # such as a catalog too large for it: no reason to lose what was trained
            say(f"  left out: {error}")
            continue
        results[baseline.name] = judge(prepared, fitted, "test", name=baseline.name, judged=judged)
    return results


def known_histories(prepared: Prepared) -> Histories:
    """All events of the log, for serving: what a person has is left out, whichever part it was in."""
    log = prepared.dataset.interactions
    holdout = prepared.holdout
    if len(log) < len(holdout.train) + len(holdout.valid) + len(holdout.test):  # ready splits: the log is train alone
        log = holdout.train.then(holdout.valid).then(holdout.test)
    return Histories.of(log, prepared.dataset.num_users)
