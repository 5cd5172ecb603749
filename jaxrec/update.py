"""New events and items folded into a trained job's artifact, without learning everything anew."""

import json
import os
import tempfile
import time
import urllib.request
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxrec.data.holdout import RandomPerUser, TimeCutoff
from jaxrec.data.interactions import Histories
from jaxrec.data.sources.rejoined import Rejoined
from jaxrec.data.sources.with_events import WithEvents
from jaxrec.errors import UserError
from jaxrec.experiment import Experiment
from jaxrec.hybrid.hybrid import Hybrid
from jaxrec.hybrid.ranker import Weights
from jaxrec.job import export_ranker
from jaxrec.method import settled
from jaxrec.run import Prepared, Say, read_data, say_once, setting_of, with_text
from jaxrec.serve.artifact import MANIFEST, Manifest, read_manifest
from jaxrec.serve.tensors import read_tensors
from jaxrec.workdir import experiment_of, local_workdir


def update_job(workdir: Path, events: Path, out: Path | None = None, *, say: Say = say_once) -> Path:
    """Write the artifact of a finished workdir again, knowing all of its data and what a service's log has.

    A blend keeps its weights, and its parts are fitted anew to all events; other methods are fitted anew, those that
    gradient steps train too. It keeps users and has longest lists as the artifact before. What stood at `out` (by
    default the workdir's artifact) is replaced when the new one is whole. Raises UserError for a workdir without a job
    or a log that is not there, and as the stages of a job.
    """
    workdir, began = local_workdir(workdir), time.perf_counter()
    out = out or workdir / "artifact"
    experiment = _rejoined(experiment_of(workdir))
    experiment = replace(experiment, source=WithEvents(experiment.source, str(events)))
    prepared = with_text(read_data(experiment, say), say)
    with tempfile.TemporaryDirectory(prefix="jaxrec-update-") as place:
        setting = setting_of(prepared, Path(place), say=say, quiet=True)
        ranker = updated(prepared, setting, workdir / "artifact")
    log, before = prepared.dataset.interactions, _manifest(workdir / "artifact")
    export_ranker(
        prepared,
        ranker,
        out,
        histories=Histories.of(log, prepared.dataset.num_users),
        keep_users=before is None or before.users > 0,
        k_max=None if before is None or before.k_max == min(before.items, 100) else before.k_max,
    )
    say(f"artifact: {out}, knows {len(log):,} events; {time.perf_counter() - began:.0f} s")
    return out


def _rejoined(experiment: Experiment) -> Experiment:
    """A job on ready splits as one on all of their rows: what has happened since may stand in any of them. What the
    given validation decided is decided by a cut like those that blends learn from."""
    rule, cleaning = experiment.holdout, experiment.cleaning
    if not hasattr(rule, "like"):
        return experiment
    source = Rejoined(experiment.source, rule.like(experiment.source, cleaning))
    timed = cleaning.timestamps != "ignore" and "timestamp" in source.load().interactions.column_names
    return replace(experiment, source=source, holdout=TimeCutoff() if timed else RandomPerUser())


def updated(prepared: Prepared, setting, artifact: Path):
    """The ranker of all that the log has, with the weights of the artifact where it is a blend."""
    everything = replace(prepared.data, train=prepared.dataset.interactions.by_time())
    method = settled(prepared.experiment.method, prepared.data, setting.within("settled"))
    setting = setting.within("whole")
    weights = stored_weights(artifact) if isinstance(method, Hybrid) else None
    if weights is not None:
        found = method.refitted(everything, setting, weights)
        if found is not None:
            return found
        setting.say("  the parts that fit or their signals are others than before: the weights are learned anew")
    return method.fit(everything, setting)


def _manifest(artifact: Path) -> Manifest | None:
    """Of what is to be replaced; None where there is nothing."""
    return read_manifest(artifact) if (artifact / MANIFEST).is_file() else None


def stored_weights(artifact: Path) -> Weights | None:
    """Of a blend; None where the artifact holds none."""
    path = artifact / "shared.safetensors"
    if not (artifact / MANIFEST).is_file() or not path.is_file():
        return None
    tensors = read_tensors(path)
    if any(f"weights/{name}" not in tensors for name in Weights._fields):
        return None
    return Weights(*(jnp.asarray(np.array(tensors[f"weights/{name}"])) for name in Weights._fields))


def reload_service(address: str) -> str:
    """What the service at `address` answers with, once it has loaded its artifact again. The token is that of the
    environment variable JAXREC_TOKEN. Raises UserError where it does not."""
    token = os.environ.get("JAXREC_TOKEN")
    headers = {"authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(address.rstrip("/") + "/v1/reload", b"", headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            return json.load(answer)["model"]
    except (OSError, ValueError) as error:
        said = f"the service did not load the artifact ({error}); it goes on with the old one"
        raise UserError(f"--reload {address}: {said}") from error
