"""The one training loop: every task, one device or many, exact when interrupted and started again."""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxrec.errors import DivergedError, Preempted, UserError
from jaxrec.parallel.compile import compile_step
from jaxrec.parallel.mesh import DATA, Strategy
from jaxrec.parallel.partition import CONSTANT_RULES, PARAM_RULES, Rules
from jaxrec.parallel.placement import place, place_batch, place_constants
from jaxrec.train.logs import RunLog
from jaxrec.train.optimizers import OptimizerConfig
from jaxrec.train.preemption import StopRequest
from jaxrec.train.progress import Progress
from jaxrec.train.state import TrainState, state_shardings
from jaxrec.train.step import Gradients, init_key, make_step

PyTree = Any
COUNTS = ("num_steps", "batch_size_global", "accumulate", "evaluate_every", "checkpoint_every", "log_every", "stop_at")


@dataclass(frozen=True)
class Train:
    """How long and how often.

    num_steps: optimizer steps. batch_size_global: examples a step over all processes; accumulate: in that many
    microbatches. evaluate_every: steps between validations (None: only at the end). checkpoint_every: steps between
    checkpoints (None: only at the end); keep: how many of them stay. metric: what chooses the best parameters;
    patience: stop after that many evaluations without a better one (None: never). stop_at: the last step that is done
    of a schedule made for num_steps (None: all of them), to train again for as long as was best.
    """

    num_steps: int = 1_000
    batch_size_global: int = 256
    accumulate: int = 1
    evaluate_every: int | None = None
    checkpoint_every: int | None = 500
    keep: int = 3
    metric: str = "ndcg@10"
    higher_is_better: bool = True
    patience: int | None = None
    log_every: int = 50
    stop_at: int | None = None

    @property
    def last_step(self) -> int:
        return self.num_steps if self.stop_at is None else self.stop_at

    def check(self, mesh: Mesh) -> None:
        """Raises UserError for numbers that cannot be trained with on this mesh."""
        for name in COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"method.train.{name}={value} must be at least 1")
        if self.keep < 2:
            raise UserError(
                f"method.train.keep={self.keep}: keep at least 2 checkpoints, so that a damaged one has one before it"
            )
        if self.last_step > self.num_steps:
            raise UserError(f"method.train.stop_at={self.stop_at} is past method.train.num_steps={self.num_steps}")
        if self.patience is not None and self.patience < 1:
            raise UserError(f"method.train.patience={self.patience} must be at least 1, or None to never stop early")
        parts = mesh.shape[DATA] * self.accumulate
        if self.batch_size_global % parts:
            raise UserError(
                f"method.train.batch_size_global={self.batch_size_global} does not divide by {parts} (mesh.data="
                f"{mesh.shape[DATA]} x method.train.accumulate={self.accumulate}); "
                f"{max(self.batch_size_global // parts, 1) * parts} would"
            )


class Batches(Protocol):
    """A grain DatasetIterator, or what behaves as one: this process's numpy batches and its place among them."""

    def __next__(self) -> PyTree: ...

    def get_state(self) -> Any: ...

    def set_state(self, state: Any) -> None: ...


class FitResult(NamedTuple):
    """params: the best where there is validation, else the last. history: entries by step, "split" train or valid.

    stopped_because: "num_steps" (all are done, up to stop_at) or "patience". resumed_from: the step this call started
    at. traces: how often the step was traced (1; 0 when there was nothing left to do).
    """

    params: PyTree
    state: TrainState
    best_step: int | None
    best_metrics: dict[str, float]
    history: list[dict[str, Any]]
    stopped_because: str
    resumed_from: int
    traces: int


def fit(
    task: Gradients,
    optimizer: OptimizerConfig,
    train: Train,
    mesh: Mesh,
    constants: PyTree,
    batches: Batches,
    init_batch: PyTree,
    validate: Callable[[PyTree, PyTree], dict[str, float]] | None = None,
    *,
    workdir: str | Path,
    seed: int,
    experiment_json: str = "{}",
    strategy: Strategy = "jit",
    trainable: Callable[[PyTree], PyTree] | None = None,
    warm_start: Callable[[PyTree], PyTree] | None = None,
    param_rules: Rules = PARAM_RULES,
    constant_rules: Rules = CONSTANT_RULES,
    quiet: bool = False,
) -> FitResult:
    """Train, or go on where the run in `workdir` stopped, or say that it is done.

    constants: host arrays, placed once. batches: endless, this process's part (`data_shard`). init_batch: one such
    batch, for shapes. validate: placed parameters and constants -> metrics; it keeps no parameter, as the next step
    donates their memory. trainable: abstract parameters -> booleans of the same shape. warm_start: fresh parameters ->
    the same with pretrained values; called on a fresh start only. Raises DivergedError, Preempted, CheckpointError,
    UserError.
    """
    from jaxrec.train.checkpoints import Checkpoints, abstract  # orbax, only where something is trained

    workdir = Path(workdir)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"workdir {workdir} is a file: give a folder")
    train.check(mesh)
    log = RunLog(workdir, train.last_step, speaks=jax.process_index() == 0, quiet=quiet)
    checkpoints = Checkpoints(workdir, keep=train.keep, say=log.line)
    placed_constants = place_constants(constants, mesh, constant_rules)

    def init(constants, batch):
        return task.init(init_key(seed), constants, batch)

    shapes = jax.eval_shape(init, placed_constants, init_batch)
    mask = None if trainable is None else trainable(shapes)
    built = optimizer.build(train.num_steps, mask)
    state_shapes = jax.eval_shape(lambda params: TrainState.of(params, built.transform), shapes)
    shardings = state_shardings(state_shapes, mesh, param_rules)
    run = _Run(train, mesh, strategy, validate, workdir, experiment_json, checkpoints, log, shardings)
    run.step_fn = compile_step(
        make_step(task, built, seed=seed, accumulate=train.accumulate, trainable=mask),
        mesh,
        strategy,
        state_shardings=shardings,
        constant_shardings=jax.tree.map(lambda x: x.sharding, placed_constants),
    )
    try:
        wanted = abstract(state_shapes, shardings)
        restored = checkpoints.restore(wanted, wanted.params, experiment_json)
        if restored is None:
            params = jax.jit(init, out_shardings=shardings.params)(placed_constants, place_batch(init_batch, mesh))
            if warm_start is not None:
                params = place(warm_start(params), shardings.params, may_alias=False)
            make_state = jax.jit(lambda p: TrainState.of(p, built.transform), out_shardings=shardings, donate_argnums=0)
            state, start = make_state(params), 0
        else:
            state, start = restored.state, restored.step
            run.progress, run.best = restored.progress, restored.best
            batches.set_state(restored.position)
        log.start(start)
        if run.progress.stopped_because:
            log.line(f"already done: {start} steps, stopped by {run.progress.stopped_because}; nothing to train")
        else:
            if start:
                log.line(f"going on from step {start} of {train.last_step}")
            state = run.train_from(start, state, placed_constants, batches)
        checkpoints.close()
    except BaseException:
        if jax.process_count() == 1:  # with several, the others may be waiting elsewhere
            with contextlib.suppress(Exception):
                checkpoints.close()
        raise
    finally:
        log.close()
    progress = run.progress
    return FitResult(
        state.params if run.best is None else run.best,
        state,
        progress.best_step,
        progress.best_metrics,
        progress.history,
        progress.stopped_because,
        start,
        run.step_fn.traces,
    )


class _Run:
    """The moving parts of one call of `fit`."""

    def __init__(self, train, mesh, strategy, validate, workdir, experiment_json, checkpoints, log, shardings):
        self.train, self.mesh, self.strategy, self.validate = train, mesh, strategy, validate
        self.workdir, self.experiment_json, self.checkpoints, self.log = workdir, experiment_json, checkpoints, log
        self.progress = Progress()
        self.best: PyTree | None = None
        self._waiting: list[tuple[int, dict[str, jax.Array]]] = []
        self._copy = jax.jit(lambda p: jax.tree.map(jnp.copy, p), out_shardings=shardings.params)

    def train_from(self, start: int, state: TrainState, constants: PyTree, batches: Batches) -> TrainState:
        train, progress = self.train, self.progress
        warned = False
        with StopRequest() as stop, jax.transfer_guard("disallow"):
            for step in range(start + 1, train.last_step + 1):
                state, metrics = self.step_fn(
                    state, constants, place_batch(self._next(batches, step), self.mesh, self.strategy)
                )
                self._waiting.append((step, metrics))
                last = step == train.last_step
                if step > 1 and (step - 1) % train.log_every == 0:
                    self._read(step - 1)  # one step late: the devices already have the next one to do
                if self.validate is not None and (last or _due(step, train.evaluate_every)):
                    self._read(step, end=last)
                    self._evaluate(step, state.params, constants)
                if train.patience is not None and progress.stale >= train.patience:
                    progress.stopped_because = "patience"
                elif last:
                    progress.stopped_because = "num_steps"
                stopping = progress.stopped_because is not None
                leaving = stop.made(step) and not stopping
                if stopping or leaving or _due(step, train.checkpoint_every):
                    self._read(step, end=stopping)
                    self.checkpoints.save(step, state, self.best, progress, batches.get_state(), self.experiment_json)
                self.log.tick(step)
                if leaving:
                    self.checkpoints.wait()
                    raise Preempted(
                        f"stopped by a signal; step {step} is saved in {self.checkpoints.folder}. "
                        "Start the same command again to go on"
                    )
                if self.step_fn.traces > 1 and not warned:
                    warned = True
                    self.log.line(
                        f"warning: step {step} was compiled again: its batch has other shapes or dtypes than "
                        "the first; pad batches to one shape"
                    )
                if stopping:
                    break
        return state

    def _next(self, batches: Batches, step: int) -> PyTree:
        try:
            return next(batches)
        except StopIteration:
            raise UserError(
                f"the data ended after {step - 1} batches and method.train.num_steps is {self.train.num_steps}: "
                "let the batches repeat, or lower method.train.num_steps"
            ) from None

    def _read(self, upto: int, *, end: bool = False) -> None:
        """Fetch the waiting metrics, and close the log windows that end at or before `upto`.

        end: also close the window that is still open.
        """
        ready = [(step, metrics) for step, metrics in self._waiting if step <= upto]
        self._waiting = [(step, metrics) for step, metrics in self._waiting if step > upto]
        for step, metrics in zip([s for s, _ in ready], jax.device_get([m for _, m in ready]), strict=True):
            row = {name: float(value) for name, value in metrics.items()}
            if not row["finite"]:
                self._diverged(step, row)
            self.progress.window.append(row)
            if step % self.train.log_every == 0:
                self.log.write(self.progress.close_window(step))
        if end and self.progress.window:
            self.log.write(self.progress.close_window(upto))

    def _diverged(self, step: int, row: dict[str, float]) -> None:
        self.checkpoints.wait()
        good = self.checkpoints.last_step
        kept = "nothing was saved before it" if good is None else f"the last good checkpoint is step {good}"
        losses = ", ".join(f"{name} {value}" for name, value in row.items() if "loss" in name or name == "grad_norm")
        raise DivergedError(
            f"step {step} is not finite ({losses}); {kept} in {self.checkpoints.folder}. Lower "
            "method.optimizer.peak_learning_rate, lengthen method.optimizer.warmup_steps or set "
            "method.optimizer.clip_norm, in another workdir"
        )

    def _evaluate(self, step: int, params: PyTree, constants: PyTree) -> None:
        self.log.pause()
        with jax.transfer_guard("allow"):
            metrics = _same_everywhere(self.validate(params, constants))
        self.log.resume()
        train = self.train
        if self.progress.judge(step, metrics, train.metric, higher_is_better=train.higher_is_better):
            self.best = self._copy(params)
        self.log.write(self.progress.history[-1])


def _due(step: int, every: int | None) -> bool:
    return every is not None and step % every == 0


def _same_everywhere(metrics: dict[str, float]) -> dict[str, float]:
    """The first process's numbers, so that all processes decide alike."""
    if jax.process_count() == 1:
        return metrics
    from jax.experimental import multihost_utils

    names = sorted(metrics)
    values = multihost_utils.broadcast_one_to_all(np.array([metrics[name] for name in names], np.float64))
    return {name: float(value) for name, value in zip(names, np.asarray(values), strict=True)}
