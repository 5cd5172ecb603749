"""What a workdir holds: which experiment, on which data, how far; and whose it is."""

import contextlib
import json
import re
import secrets
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrec.config import from_json, to_json
from jaxrec.errors import DataError, UserError
from jaxrec.experiment import Experiment
from jaxrec.files import write_atomically
from jaxrec.parallel.placement import from_first
from jaxrec.serve.artifact import read_manifest, verify
from jaxrec.train.checkpoints import FOLDER as CHECKPOINTS
from jaxrec.train.progress import first_difference

EXPERIMENT, DATA, RESULTS = "experiment.json", "data.json", "results.json"
SEEN_WITHIN = 10.0  # seconds; network folders tell of new files late


def experiment_of(workdir: Path) -> Experiment:
    path = workdir / EXPERIMENT
    if not path.is_file():
        raise UserError(f"{workdir}: no {EXPERIMENT} here; train first: jaxrec train --workdir {workdir} ...")
    return from_json(path.read_text(encoding="utf-8"))


def finished_results(experiment: Experiment, workdir: Path) -> dict[str, Any] | None:
    """The results of the finished job of this very experiment. Raises UserError where the workdir holds what another
    experiment has trained.
    """
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"workdir {workdir} is a file: give a folder")
    results = _finished(experiment, workdir)
    if results is None and _trained(workdir) and (workdir / EXPERIMENT).is_file():
        saved, now = json.loads(to_json(experiment_of(workdir))), json.loads(to_json(experiment))
        if found := first_difference(saved, now):
            where, old, new = found
            raise UserError(
                f"{workdir} holds another experiment: {where} was {old!r} and is now {new!r}. "
                "Give another --workdir, or remove this one"
            )
    return results


def local_workdir(workdir: str | Path) -> Path:
    """The workdir as a path. Raises UserError for an address such as gs://bucket/run."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(workdir)):  # a Path has lost one slash of two
        raise UserError(
            f"workdir {re.sub(':/+', '://', str(workdir), count=1)} is an address, not a folder: mount it "
            "(a bucket with gcsfuse, say) and give the mounted path"
        )
    return Path(workdir)


def check_shared(workdir: Path) -> None:
    """Raises UserError on every process where they do not all see what the first one writes into the workdir."""
    if jax.process_count() == 1:
        return
    from jax.experimental.multihost_utils import process_allgather

    def write() -> list[str | None]:
        name = f".shared-{secrets.token_hex(8)}"
        try:
            write_text(workdir / name, "")
        except OSError as error:
            return [name, str(error)]
        return [name, None]

    name, failure = from_first(write)
    if failure is not None:
        raise UserError(f"workdir {workdir} cannot be written: {failure}")
    until = time.monotonic() + SEEN_WITHIN
    while not (seen := (workdir / name).is_file()) and time.monotonic() < until:
        time.sleep(0.1)
    blind = np.flatnonzero(~np.asarray(process_allgather(np.asarray(seen))).reshape(-1))
    if jax.process_index() == 0:
        (workdir / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # what is refused leaves nothing behind
            workdir.rmdir()
    if blind.size:
        raise UserError(
            f"workdir {workdir} is not one folder for all: processes {', '.join(map(str, blind))} do not see what "
            "process 0 writes there. Give a path that all hosts share, such as NFS or a bucket mounted with gcsfuse"
        )


def claim(experiment: Experiment, data: str, workdir: Path) -> None:
    """The workdir belongs to this experiment, on this data, from now on."""
    if jax.process_index() == 0:
        write_text(workdir / DATA, json.dumps({"fingerprint": data}))
        write_text(workdir / EXPERIMENT, to_json(experiment))


def _trained(workdir: Path) -> bool:
    return (workdir / RESULTS).is_file() or any(p.name.isdigit() for p in workdir.glob(f"**/{CHECKPOINTS}/*"))


def check_same_data(data: str, workdir: Path) -> None:
    """Raises DataError where the workdir was trained on other data: its vectors would belong to other items."""
    if not _trained(workdir) or not (workdir / DATA).is_file():
        return
    if json.loads((workdir / DATA).read_text(encoding="utf-8"))["fingerprint"] != data:
        raise DataError(
            f"the data has changed since {workdir} was trained: its ids, texts, features or events are others now. "
            "Train on the new data with another --workdir, or bring the old files back"
        )


def _finished(experiment: Experiment, workdir: Path) -> dict[str, Any] | None:
    """The results of the finished job of this experiment, where its artifact and report are whole."""
    path = workdir / RESULTS
    if not path.is_file() or not (workdir / "report.html").is_file():
        return None
    results = json.loads(path.read_text(encoding="utf-8"))
    if results["experiment"] != json.loads(to_json(experiment)):
        return None
    try:
        verify(workdir / "artifact", read_manifest(workdir / "artifact"))
    except (DataError, UserError):
        return None
    return results


def write_text(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    write_atomically(path, lambda file: file.write(text.encode()))
