"""Checkpoints that can be trusted: orbax writes them, digests prove them, and a damaged one is walked past."""

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxrec.errors import CheckpointError, UserError
from jaxrec.parallel.partition import leaf_names
from jaxrec.parallel.placement import from_first
from jaxrec.train.digests import first_problem, has_manifest, write_manifest
from jaxrec.train.progress import Progress, first_difference, pack_position, unpack_position

PyTree = Any
FOLDER = "checkpoints"
DAMAGED_FOLDER = "damaged_checkpoints"


class Restored(NamedTuple):
    step: int
    state: PyTree
    best: PyTree | None
    progress: Progress
    position: Any


class Checkpoints:
    """The rolling checkpoints of one run: state, best parameters, data position, progress and experiment.

    Saving goes on in the background; the digests of a step are written last, by the first process. A step without
    them was never finished. `keep` should be at least 2, so that there is always one to fall back to.
    """

    def __init__(self, workdir: Path, *, keep: int, say: Callable[[str], None] = print):
        self.folder = Path(workdir).absolute() / FOLDER
        self._keep = keep
        self._say = say
        self._manager: ocp.CheckpointManager | None = None
        self._sealing: threading.Thread | None = None
        self._failure: BaseException | None = None
        self.last_step: int | None = None

    def _opened(self) -> ocp.CheckpointManager:
        if self._manager is None:
            options = ocp.CheckpointManagerOptions(max_to_keep=self._keep, create=True)
            self._manager = ocp.CheckpointManager(self.folder, options=options)
        return self._manager

    def save(
        self, step: int, state: PyTree, best: PyTree | None, progress: Progress, position: Any, experiment_json: str
    ) -> None:
        """Start saving a step. Call on every process. The arrays are copied before this returns."""
        self.wait()
        about = {
            "progress": progress.to_json(),
            "positions": _gathered(pack_position(position)),
            "experiment": json.loads(experiment_json),
        }
        items = {"state": ocp.args.StandardSave(_named(state)), "about": ocp.args.JsonSave(about)}
        if best is not None:
            items["best"] = ocp.args.StandardSave(_named(best))
        manager = self._opened()
        manager.save(step, args=ocp.args.Composite(**items), force=True)
        self.last_step = step
        if jax.process_index() == 0:
            self._sealing = threading.Thread(target=self._seal, args=(manager, step), daemon=True)
            self._sealing.start()

    def _seal(self, manager: ocp.CheckpointManager, step: int) -> None:
        try:
            while manager.is_saving_in_progress():
                time.sleep(0.01)
            write_manifest(self.folder / str(step))
        except BaseException as error:  # told to the loop by wait()
            self._failure = error

    def wait(self) -> None:
        """Until the last save is on disk, digests included. Raises CheckpointError when it could not be written."""
        try:
            if self._manager is not None:
                self._manager.wait_until_finished()
        except Exception as error:
            raise CheckpointError(f"step {self.last_step} could not be saved in {self.folder}: {error}") from error
        if self._sealing is not None:
            self._sealing.join()
            self._sealing = None
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise CheckpointError(f"step {self.last_step} could not be saved in {self.folder}: {failure}") from failure

    def close(self) -> None:
        self.wait()
        if self._manager is not None:
            self._manager.close()
            self._manager = None

    def restore(self, state: PyTree, best: PyTree, experiment_json: str) -> Restored | None:
        """The newest usable step, placed by the shardings of the abstract state and parameters; None to start anew.

        Damaged newer steps are said and moved aside. Raises CheckpointError when all finished ones are damaged, and
        UserError when the folder belongs to another experiment.
        """
        step = from_first(self._usable)
        if step is None:
            return None
        self.last_step = step
        about = self._about(step)
        _check_same(about["experiment"], json.loads(experiment_json), self.folder.parent)
        positions, count = about["positions"], jax.process_count()
        if len(positions) != count:
            raise UserError(
                f"{self.folder} was written by {len(positions)} processes and this job has {count}: the position in "
                f"the data is kept per process, so start with {len(positions)} processes or another workdir"
            )
        progress = Progress.from_json(about["progress"])
        args = {"state": _restore_args(state)}
        if progress.best_step is not None:
            args["best"] = _restore_args(best)
        arrays = self._opened().restore(step, args=ocp.args.Composite(**args))
        return Restored(
            step,
            _unnamed(state, arrays.state),
            _unnamed(best, arrays.best) if progress.best_step is not None else None,
            progress,
            unpack_position(positions[jax.process_index()]),
        )

    def _about(self, step: int) -> dict[str, Any]:
        return self._opened().restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore())).about

    def _usable(self) -> int | None:
        """The newest step whose files are all as written; the newer ones are moved out of the way."""
        steps = _steps(self.folder)
        damaged, any_finished = [], False
        for step in steps:
            problem = first_problem(self.folder / str(step))
            if problem is None:
                break
            any_finished |= has_manifest(self.folder / str(step))
            damaged.append((step, problem))
        else:
            step = None
        if step is None and any_finished:
            told = "; ".join(f"step {number}: {problem}" for number, problem in damaged)
            raise CheckpointError(
                f"no usable checkpoint in {self.folder}: {told}. Restore the files from a copy, or start again with "
                "another workdir"
            )
        for number, problem in damaged:
            instead = "starting from the beginning" if step is None else f"going back to step {step}"
            self._say(f"warning: checkpoint {self.folder / str(number)} is not usable ({problem}); {instead}")
            aside = self.folder.parent / DAMAGED_FOLDER / str(number)
            shutil.rmtree(aside, ignore_errors=True)
            aside.parent.mkdir(exist_ok=True)
            (self.folder / str(number)).rename(aside)
        return step


def restore_params(workdir: Path, params: PyTree, *, say: Callable[[str], None] = print) -> tuple[int, PyTree]:
    """(step, parameters) of a finished or interrupted run: the best ones where it validated, else the last.

    params: abstract arrays with shardings. Raises CheckpointError when there is no usable checkpoint.
    """
    checkpoints = Checkpoints(workdir, keep=2, say=say)
    step, progress = _newest(checkpoints)
    item, prefix = ("state", "params.") if progress.best_step is None else ("best", "")
    wanted = {prefix + name: x for name, x in _named(params).items()}
    arrays = checkpoints._opened().restore(
        step,
        args=ocp.args.Composite(
            **{
                item: ocp.args.PyTreeRestore(
                    wanted, partial_restore=True, restore_args=ocp.checkpoint_utils.construct_restore_args(wanted)
                )
            }
        ),
    )[item]
    checkpoints.close()
    leaves = [arrays[prefix + name] for name in leaf_names(params, separator=".")]
    return (step if progress.best_step is None else progress.best_step), jax.tree.structure(params).unflatten(leaves)


def saved_step(workdir: Path, *, say: Callable[[str], None] = print) -> int:
    """The step whose parameters `restore_params` gives. Raises CheckpointError when there is no usable checkpoint."""
    checkpoints = Checkpoints(workdir, keep=2, say=say)
    step, progress = _newest(checkpoints)
    checkpoints.close()
    return step if progress.best_step is None else progress.best_step


def _newest(checkpoints: Checkpoints) -> tuple[int, Progress]:
    step = from_first(checkpoints._usable)
    if step is None:
        raise CheckpointError(f"no checkpoint in {checkpoints.folder}: train first, or give another workdir")
    return step, Progress.from_json(checkpoints._about(step)["progress"])


def abstract(tree: PyTree, shardings: PyTree) -> PyTree:
    """Shapes, dtypes and shardings to restore into."""
    return jax.tree.map(lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), tree, shardings)


def _steps(folder: Path) -> list[int]:
    """Steps that orbax has committed, newest first."""
    if not folder.is_dir():
        return []
    return sorted((int(path.name) for path in folder.iterdir() if path.name.isdigit() and path.is_dir()), reverse=True)


def _named(tree: PyTree) -> dict[str, Any]:
    """Leaves by name: what is on disk does not depend on optax's containers."""
    return dict(zip(leaf_names(tree, separator="."), jax.tree.leaves(tree), strict=True))


def _unnamed(like: PyTree, named: dict[str, Any]) -> PyTree:
    return jax.tree.structure(like).unflatten([named[name] for name in leaf_names(like, separator=".")])


def _restore_args(tree: PyTree) -> ocp.args.StandardRestore:
    return ocp.args.StandardRestore(_named(tree))


def _check_same(saved: Any, now: Any, workdir: Path) -> None:
    if found := first_difference(saved, now):
        field, was, now = found
        raise UserError(
            f"{workdir} holds another experiment: {field} was {was!r} there and is {now!r} now. Set it back to go on, "
            "or give another workdir"
        )


def _gathered(packed: Any) -> list[Any]:
    """Every process's value, on every process."""
    if jax.process_count() == 1:
        return [packed]
    from jax.experimental import multihost_utils

    raw = np.frombuffer(json.dumps(packed).encode(), np.uint8)
    size = int(np.max(multihost_utils.process_allgather(np.int32(raw.size))))
    rows = multihost_utils.process_allgather(np.pad(raw, (0, size - raw.size), constant_values=ord(" ")))
    return [json.loads(bytes(row)) for row in np.asarray(rows)]
