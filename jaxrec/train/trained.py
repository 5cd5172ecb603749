"""Any task as a method: trained by gradient steps in the one loop, stopped where validation found best."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from jaxrec.config import did_you_mean, to_json
from jaxrec.data.batches import Source, make_batches
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.evaluate.evaluator import Judged, evaluate, measured
from jaxrec.method import HERE, Between, Method, Ranges, Setting
from jaxrec.parallel.mesh import MeshShape
from jaxrec.parallel.partition import PARAM_RULES, partition_shardings
from jaxrec.parallel.placement import data_shard, place_constants
from jaxrec.ranker import Ranker
from jaxrec.tasks.retrieval import Retrieval
from jaxrec.tasks.task import Task, bound, first_batch
from jaxrec.train.checkpoints import abstract, restore_params, saved_step
from jaxrec.train.loop import FitResult, Train, fit
from jaxrec.train.optimizers import AdamW, OptimizerConfig
from jaxrec.train.step import init_key

PyTree = Any


@dataclass(frozen=True)
class Trained:
    """A method whose parameters are learned by gradient steps.

    task: the model and its loss, a `jaxrec.tasks.task.Task`. train: how long, and what chooses the best parameters on
    the validation part, where the data has one. label: what tables call it.
    """

    task: Any = Retrieval()
    optimizer: OptimizerConfig = AdamW()
    train: Train = Train()
    label: str = "Two-tower"

    @property
    def name(self) -> str:
        return self.label

    @property
    def ranges(self) -> Ranges:
        """The learning rate, and what the task says of its own options."""
        rate = {"optimizer.peak_learning_rate": Between(3e-4, 1e-2, log=True)}
        own = {f"task.{name}": values for name, values in getattr(self.task, "ranges", {}).items()}
        return (rate if hasattr(self.optimizer, "peak_learning_rate") else {}) | own

    @property
    def reads_text(self) -> bool:
        return getattr(self.task, "reads_text", True)

    def check(self, shape: MeshShape) -> None:
        """Raises UserError for a mesh, a training plan or an optimizer that cannot be, before any data is read."""
        self.train.check(shape.make())
        self.optimizer.build(self.train.num_steps)
        _watched(self.train.metric)

    def check_data(self, data: TrainingData) -> None:
        """Raises UserError for a task that does not go with the data, DataError where there is nothing to learn."""
        bound(self.task, data).source(data)

    def watched(self, items: int) -> str:
        """The metric that chooses the best parameters: `train.metric`, at most at the length of the catalog."""
        kind, k = _watched(self.train.metric)
        return f"{kind}@{min(k, items)}"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> Ranker:
        """The ranker of the best parameters, or of the last where there is no validation.

        What `setting.workdir` holds of the same fit is gone on with. Raises what the loop raises: UserError,
        CheckpointError, DivergedError, Preempted.
        """
        with _place(setting) as place:
            job = _Job(self, data, place)
            params = job.restored() if place.restore else job.trained().params
            return job.task.ranker(params, place_constants(job.constants, job.mesh, job.task.constant_rules))

    def settled(self, data: TrainingData, setting: Setting = HERE) -> "Trained":
        """The same for as many steps as validation finds best, on the same schedule, and without validation. Where it
        looks at the end alone (evaluate_every is None) there is nothing to find, and nothing is trained for it."""
        stop_at = self.train.stop_at
        if data.has_validation and self.train.evaluate_every is not None:
            with _place(setting) as place:
                job = _Job(self, data, place)
                stop_at = saved_step(place.workdir) if place.restore else job.trained().best_step
        return replace(self, train=replace(self.train, stop_at=stop_at, patience=None, evaluate_every=None))


def trained_in(method: Method) -> Iterator[Trained]:
    """What is trained by gradient steps: the method itself, or those among its `parts`."""
    if isinstance(method, Trained):
        yield method
    for part in getattr(method, "parts", ()):
        yield from trained_in(part)


@contextlib.contextmanager
def _place(setting: Setting) -> Iterator[Setting]:
    """The setting with a workdir, which is forgotten afterwards where none was given."""
    if setting.workdir is not None:
        yield setting
        return
    with tempfile.TemporaryDirectory(prefix="jaxrec-") as folder:
        yield replace(setting, workdir=Path(folder))


@dataclass(frozen=True, eq=False)
class _Job:
    """One fit: the method on its data, in its place."""

    method: Trained
    data: TrainingData
    setting: Setting

    @property
    def shape(self) -> MeshShape:
        return MeshShape(data=1) if self.setting.mesh is None else self.setting.mesh

    @cached_property
    def mesh(self) -> Mesh:
        return self.shape.make()

    @cached_property
    def task(self) -> Task:
        return bound(self.method.task, self.data)

    @cached_property
    def constants(self) -> PyTree:
        return self.task.constants(self.data)

    @cached_property
    def source(self) -> Source:
        return self.task.source(self.data)

    @property
    def first_batch(self) -> PyTree:
        """For shapes: this process's part of a batch."""
        return first_batch(self.source, self.method.train.batch_size_global // data_shard(self.mesh)[1])

    def trained(self) -> FitResult:
        say, mesh = self.setting.say, self.mesh
        train, seed = self.method.train, self.setting.seed
        train.check(mesh)
        validate = None
        if self.data.has_validation:
            metric = self.method.watched(self.data.dataset.num_items)
            if metric != train.metric:
                needed = train.metric.partition("@")[2]
                say(f"  {train.metric} needs {needed} items: {metric} chooses the best parameters")
            train = replace(train, metric=metric)
            validate = self._validation(metric)
        shard, shards = data_shard(mesh)
        batches = make_batches(self.source, train.batch_size_global, seed, process_index=shard, process_count=shards)
        say(
            f"training: {train.last_step:,} steps of {train.batch_size_global} examples on "
            f"{mesh.size} {jax.devices()[0].platform} device{'s' if mesh.size > 1 else ''}"
        )
        result = fit(
            self.task,
            self.method.optimizer,
            train,
            mesh,
            self.constants,
            batches,
            self.first_batch,
            validate,
            workdir=self.setting.workdir,
            seed=seed,
            experiment_json=to_json({"method": self.method, "seed": seed}),
            strategy=self.shape.strategy,
            trainable=getattr(self.task, "trainable", None),
            warm_start=getattr(self.task, "warm_start", None),
            constant_rules=self.task.constant_rules,
            quiet=self.setting.quiet,
        )
        if result.best_step is not None:
            stopped = result.stopped_because == "patience"
            why = f"no better one in {train.patience} evaluations" if stopped else "all steps done"
            best = result.best_metrics[train.metric]
            say(f"best {train.metric} on validation: {best:.4f} at step {result.best_step} ({why})")
        return result

    def _validation(self, metric: str) -> Callable[[PyTree, PyTree], dict[str, float]]:
        """Placed parameters and constants to the few numbers that are logged while training."""
        data, k = self.data, _watched(metric)[1]
        judged = Judged.of(data.dataset, data.holdout, "valid")

        def validate(params: PyTree, constants: PyTree) -> dict[str, float]:
            ranker = self.task.ranker(params, constants)
            result = evaluate(
                ranker,
                data.dataset,
                data.holdout,
                "valid",
                ks=(k,),
                name=self.method.name,
                user_text=data.user_text,
                judged=judged,
            )
            return {name: result[name] for name in dict.fromkeys((metric, f"recall@{k}", f"coverage@{k}"))}

        return validate

    def restored(self) -> PyTree:
        """The parameters that an earlier fit left, on the mesh."""
        shapes = jax.eval_shape(self.task.init, init_key(0), self.constants, self.first_batch)
        shardings = partition_shardings(shapes, PARAM_RULES, self.mesh)
        return restore_params(self.setting.workdir, abstract(shapes, shardings))[1]


def _watched(metric: str) -> tuple[str, int]:
    """("ndcg", 10) of "ndcg@10". Raises UserError for what no evaluation gives."""
    kind, _, k = metric.partition("@")
    length = int(k) if k.isdecimal() else 0
    known = measured((length or 10,))
    if metric not in known:
        raise UserError(f"method.train.metric={metric!r} is not measured{did_you_mean(metric, known)}")
    return kind, length
