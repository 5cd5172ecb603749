"""Whole jobs: train to artifact, and the same again from what a workdir holds."""

import contextlib
import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrec.config import from_json, to_json
from jaxrec.data.fingerprint import fingerprint
from jaxrec.data.interactions import Histories
from jaxrec.errors import DataError, UserError
from jaxrec.evaluate.evaluator import Evaluation
from jaxrec.experiment import Experiment
from jaxrec.files import write_atomically
from jaxrec.parallel.placement import from_first
from jaxrec.ranker import Ranker
from jaxrec.run import (
    MODEL_NAME,
    Prepared,
    Say,
    check_inputs,
    check_options,
    judge,
    judge_all,
    known_histories,
    ranker_of,
    read_data,
    restore,
    say_once,
    train_and_refit,
    with_text,
)
from jaxrec.serve.artifact import read_manifest, verify
from jaxrec.serve.export import export, gathered
from jaxrec.serve.model_card import Card
from jaxrec.summary import PROTOCOLS
from jaxrec.train.checkpoints import FOLDER as CHECKPOINTS
from jaxrec.train.progress import first_difference

EXPERIMENT, DATA, RESULTS = "experiment.json", "data.json", "results.json"
SEEN_WITHIN = 10.0  # seconds; network folders tell of new files late


@dataclass(frozen=True)
class Finished:
    """What a job leaves: the artifact, the report, and what was printed."""

    workdir: Path
    results: dict[str, Any]

    @property
    def artifact(self) -> Path:
        return self.workdir / "artifact"

    @property
    def report(self) -> Path:
        return self.workdir / "report.html"


def run_job(
    experiment: Experiment,
    workdir: Path,
    *,
    command: str = "",
    notice: str = "",
    say: Say = say_once,
    quiet: bool = False,
) -> Finished:
    """From data to artifact and report. What an earlier call of the same job finished is not done again.

    Raises UserError where the workdir holds another experiment, and what the stages raise.
    """
    workdir = _local(workdir)
    _check_shared(workdir)
    done = from_first(lambda: _done(experiment, workdir))
    check_options(experiment)
    prepared = read_data(experiment, say)
    data = fingerprint(prepared.dataset, prepared.holdout)
    from_first(lambda: _check_same_data(data, workdir))
    if done is not None:
        finished = Finished(workdir, done)
        say(f"done already: {workdir} holds the finished run of this very experiment; nothing to train")
        _show(finished, say)
        return finished
    prepared = with_text(prepared, say)
    check_inputs(prepared)
    _claim(experiment, data, workdir)  # not before the data is known to be good: what is refused leaves nothing behind
    final, fitted, params = train_and_refit(prepared, workdir, say=say, quiet=quiet)
    ranker = ranker_of(final, params)
    say("evaluating: the whole catalog is ranked for every judged user, ours beside the simple methods")
    judged = judge_all(final, ranker, say)
    say("exporting: one artifact for cpu, cuda and tpu")
    metrics = {name: {m: c for m, c in result.means.items() if np.isfinite(c)} for name, result in judged.items()}
    histories = known_histories(prepared)
    export_ranker(final, params, ranker, workdir / "artifact", metrics=metrics, histories=histories)
    vectors = gathered(ranker.arrays.items["vector"])  # all processes take part, though only the first one writes
    results = from_first(
        lambda: _write_results(final, judged, fitted.history, histories, vectors, workdir, command, notice)
    )
    finished = Finished(workdir, results)
    _show(finished, say)
    return finished


def _write_results(final, judged, history, histories, vectors, workdir, command, notice) -> dict[str, Any]:
    from jaxrec.evaluate.report import write_report
    from jaxrec.serve.recommender import Recommender
    from jaxrec.summary import history_titles, report_of, table_rows

    recommender = Recommender.load(workdir / "artifact")
    users = shown_users(final, histories, judged[MODEL_NAME].user_rows)
    report = report_of(
        final, judged, history, recommender, vectors, users=users, command=command or "jaxrec train", notice=notice
    )
    write_report(workdir / "report.html", report)
    first = users[0]
    shown = recommender.recommend(first, k=min(10, recommender.manifest.k_max))
    results = {
        "experiment": json.loads(to_json(_original(workdir))),
        "protocol": final.holdout.name,
        "counts": final.holdout.counts(),
        "notice": notice,
        "rankers": {name: result.to_json() for name, result in judged.items()},
        "table": table_rows(judged),
        "user": first,
        "history": history_titles(final, first)[-8:],
        "recommendations": [item.to_json() for item in shown],
    }
    text = json.dumps(results, indent=1, ensure_ascii=False)
    _write(workdir / RESULTS, text)
    return json.loads(text)


def shown_users(prepared: Prepared, histories: Histories, judged: Sequence[int]) -> list[str]:
    """Up to three users whose recommendations are shown; the one the experiment names comes first."""
    ids, wanted = prepared.dataset.user_map, prepared.experiment.show_user
    rows = [int(row) for row in judged if histories.lengths[row] >= 3][:3] or [int(judged[0])]
    users = [str(ids.take(row)) for row in rows]
    if wanted is not None and int(ids.find([wanted])[0]) >= 0:
        users = [wanted, *[user for user in users if user != wanted]]
    return users[:3]


def export_ranker(
    prepared: Prepared,
    params: Any,
    ranker: Ranker,
    path: Path,
    *,
    metrics: dict[str, Any] | None = None,
    histories: Histories | None = None,
    k_max: int | None = None,
) -> None:
    """Write the artifact; with several processes all must call."""
    name, holdout = prepared.experiment.name, prepared.holdout
    encoder = prepared.encoder
    said = encoder is not None or prepared.dataset.catalog.features.values.shape[1]  # of items that are new
    if encoder is not None and prepared.tuned:
        encoder = prepared.tuned.trained(encoder, params)
    export(
        ranker,
        prepared.dataset,
        path,
        histories=histories,
        encoder=encoder,
        item_text=encoder.dim if encoder else 0 if said else None,
        user_text_vectors=prepared.user_text,
        name=name,
        metrics=metrics,
        experiment=json.loads(to_json(prepared.experiment)),
        card=Card(dataset=name, protocol=PROTOCOLS.get(holdout.name, holdout.name)),
        k_max=k_max,
    )


def restored(workdir: Path, say: Say = say_once) -> tuple[Prepared, Any, Ranker]:
    """Data, trained parameters and ranker of a workdir. Raises UserError where nothing was trained."""
    workdir = _local(workdir)
    prepared = read_data(_original(workdir), say)
    data = fingerprint(prepared.dataset, prepared.holdout)
    from_first(lambda: _check_same_data(data, workdir))
    prepared, params = restore(with_text(prepared, say), workdir)
    return prepared, params, ranker_of(prepared, params)


def export_job(workdir: Path, out: Path, *, k_max: int | None = None, keep_users: bool = True) -> Path:
    """Export what a workdir has trained, again and elsewhere if need be; metrics come from the finished run."""
    workdir = Path(workdir)
    prepared, params, ranker = restored(workdir)
    metrics, results = None, workdir / RESULTS
    if results.is_file():
        rankers = json.loads(results.read_text(encoding="utf-8"))["rankers"]
        metrics = {name: {m: cell["mean"] for m, cell in r["metrics"].items()} for name, r in rankers.items()}
    histories = known_histories(prepared) if keep_users else None
    export_ranker(prepared, params, ranker, out, metrics=metrics, histories=histories, k_max=k_max)
    return out


def evaluate_job(workdir: Path, part: str, say: Say = say_once) -> tuple[Prepared, dict[str, Evaluation]]:
    """Evaluations by name of a trained workdir: on "test" beside the baselines, on "valid" ours alone."""
    prepared, _, ranker = restored(workdir, say)
    if part == "test":
        return prepared, judge_all(prepared, ranker, say)
    if prepared.experiment.holdout.refit:
        raise UserError("the final model was trained on validation too (holdout.refit); evaluate it on --part test")
    return prepared, {MODEL_NAME: judge(prepared, ranker, part)}


def _original(workdir: Path) -> Experiment:
    path = workdir / EXPERIMENT
    if not path.is_file():
        raise UserError(f"{workdir}: no {EXPERIMENT} here; train first: jaxrec train --workdir {workdir} ...")
    return from_json(path.read_text(encoding="utf-8"))


def _done(experiment: Experiment, workdir: Path) -> dict[str, Any] | None:
    """The results of the finished job of this very experiment. Raises UserError where the workdir holds what another
    experiment has trained.
    """
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"workdir {workdir} is a file: give a folder")
    results = _finished(experiment, workdir)
    if results is None and _trained(workdir) and (workdir / EXPERIMENT).is_file():
        saved, now = json.loads(to_json(_original(workdir))), json.loads(to_json(experiment))
        if found := first_difference(saved, now):
            where, old, new = found
            raise UserError(
                f"{workdir} holds another experiment: {where} was {old!r} and is now {new!r}. "
                "Give another --workdir, or remove this one"
            )
    return results


def _local(workdir: str | Path) -> Path:
    """The workdir as a path. Raises UserError for an address such as gs://bucket/run."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(workdir)):  # a Path has lost one slash of two
        raise UserError(
            f"workdir {re.sub(':/+', '://', str(workdir), count=1)} is an address, not a folder: mount it "
            "(a bucket with gcsfuse, say) and give the mounted path"
        )
    return Path(workdir)


def _check_shared(workdir: Path) -> None:
    """Raises UserError on every process where they do not all see what the first one writes into the workdir."""
    if jax.process_count() == 1:
        return
    from jax.experimental.multihost_utils import process_allgather

    def write() -> list[str | None]:
        name = f".shared-{secrets.token_hex(8)}"
        try:
            _write(workdir / name, "")
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


def _claim(experiment: Experiment, data: str, workdir: Path) -> None:
    """The workdir belongs to this experiment, on this data, from now on."""
    if jax.process_index() == 0:
        _write(workdir / DATA, json.dumps({"fingerprint": data}))
        _write(workdir / EXPERIMENT, to_json(experiment))


def _trained(workdir: Path) -> bool:
    return (workdir / RESULTS).is_file() or any(p.name.isdigit() for p in (workdir / CHECKPOINTS).glob("*"))


def _check_same_data(data: str, workdir: Path) -> None:
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


def _show(finished: Finished, say: Say) -> None:
    from jaxrec.serve.explain import Reason
    from jaxrec.serve.recommender import Recommendation
    from jaxrec.summary import print_recommendations, print_table

    if jax.process_index() != 0:
        return
    results = finished.results
    print_table(results["table"], f"protocol {results['protocol']}")
    picks = [Recommendation(**(p | {"reason": Reason(p["reason"]["text"])})) for p in results["recommendations"]]
    print_recommendations(f"user {results['user']}", results["history"], picks)
    if results["notice"]:
        say(results["notice"])
    say(f"artifact: {finished.artifact}")
    say(f"report:   {finished.report}")
    command = "jaxrec" if shutil.which("jaxrec") else os.path.relpath(sys.argv[0])
    say(f"ask it:   {command} recommend --artifact {finished.artifact} --user {results['user']} --k 10")


def _write(path: Path, text: str) -> None:
    write_atomically(path, lambda file: file.write(text.encode()))
