"""Whole jobs: train to artifact, and the same again from what a workdir holds."""

import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrec.config import to_json
from jaxrec.data.fingerprint import fingerprint
from jaxrec.data.interactions import Histories
from jaxrec.dials import dial_effects
from jaxrec.errors import UserError
from jaxrec.evaluate.evaluator import Evaluation
from jaxrec.experiment import Experiment
from jaxrec.method import Setting, reads_text
from jaxrec.parallel.placement import from_first
from jaxrec.ranker import Ranker
from jaxrec.run import (
    Prepared,
    Say,
    check_inputs,
    check_options,
    fit_final,
    judge,
    judge_all,
    known_histories,
    read_data,
    say_once,
    setting_of,
    with_text,
)
from jaxrec.serve.export import export, gathered
from jaxrec.serve.model_card import Card
from jaxrec.summary import PROTOCOLS
from jaxrec.train.logs import read_metrics
from jaxrec.workdir import (
    RESULTS,
    check_same_data,
    check_shared,
    claim,
    experiment_of,
    finished_results,
    local_workdir,
    write_text,
)


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
    workdir = local_workdir(workdir)
    check_shared(workdir)
    done = from_first(lambda: finished_results(experiment, workdir))
    check_options(experiment)
    prepared = read_data(experiment, say)
    data = fingerprint(prepared.dataset, prepared.holdout)
    from_first(lambda: check_same_data(data, workdir))
    if done is not None:
        finished = Finished(workdir, done)
        say(f"done already: {workdir} holds the finished run of this very experiment; nothing to train")
        _show(finished, say)
        return finished
    prepared = with_text(prepared, say)
    check_inputs(prepared)
    claim(experiment, data, workdir)  # not before the data is known to be good: what is refused leaves nothing behind
    setting = setting_of(prepared, workdir, say=say, quiet=quiet)
    ranker, final = fit_final(experiment.method, prepared, setting), prepared.final
    say("evaluating: the whole catalog is ranked for every judged user, ours beside the simple methods")
    judged = judge_all(prepared, ranker, setting)
    say("exporting: one artifact for cpu, cuda and tpu")
    metrics = {name: {m: c for m, c in result.means.items() if np.isfinite(c)} for name, result in judged.items()}
    histories = known_histories(prepared)
    export_ranker(final, ranker, workdir / "artifact", metrics=metrics, histories=histories)
    vectors = map_vectors(final, ranker)  # all processes take part, though only the first one writes
    shares = getattr(ranker, "shares", ())
    results = from_first(lambda: _write_results(final, judged, shares, histories, vectors, workdir, command, notice))
    finished = Finished(workdir, results)
    _show(finished, say)
    return finished


def _write_results(final, judged, shares, histories, vectors, workdir, command, notice) -> dict[str, Any]:
    from jaxrec.evaluate.report import write_report
    from jaxrec.serve.recommender import Recommender
    from jaxrec.summary import history_titles, report_of, table_rows

    recommender = Recommender.load(workdir / "artifact")
    ours = judged[final.experiment.method.name]
    users = shown_users(final, histories, ours.user_rows)
    history, command = read_metrics(workdir), command or "jaxrec train"
    dials = dial_effects(ours, final.judged("test"), final.text)
    about = {"users": users, "shares": shares, "dials": dials, "command": command, "notice": notice}
    report = report_of(final, judged, history, recommender, vectors, **about)
    write_report(workdir / "report.html", report)
    first = users[0]
    shown = recommender.recommend(first, k=min(10, recommender.manifest.k_max))
    results = {
        "experiment": json.loads(to_json(experiment_of(workdir))),
        "protocol": final.holdout.name,
        "counts": final.holdout.counts(),
        "notice": notice,
        "rankers": {name: result.to_json() for name, result in judged.items()},
        "table": table_rows(judged),
        "shares": [share._asdict() for share in shares],
        "user": first,
        "history": history_titles(final, first)[-8:],
        "recommendations": [item.to_json() for item in shown],
    }
    text = json.dumps(results, indent=1, ensure_ascii=False)
    write_text(workdir / RESULTS, text)
    return json.loads(text)


def shown_users(prepared: Prepared, histories: Histories, judged: Sequence[int]) -> list[str]:
    """Up to three users whose recommendations are shown; the one the experiment names comes first."""
    ids, wanted = prepared.dataset.user_map, prepared.experiment.show_user
    rows = [int(row) for row in judged if histories.lengths[row] >= 3][:3] or [int(judged[0])]
    users = [str(ids.take(row)) for row in rows]
    if wanted is not None and int(ids.find([wanted])[0]) >= 0:
        users = [wanted, *[user for user in users if user != wanted]]
    return users[:3]


def map_vectors(prepared: Prepared, ranker: Ranker) -> np.ndarray | None:
    """Where the items stand in the report's map, float32 [items, dim]: as the ranker places them, else by their texts;
    None where there is neither. With several processes all must call."""
    shared, items = ranker.arrays
    if hasattr(ranker, "item_profile"):
        return gathered(ranker.item_profile(shared, items))[: prepared.dataset.num_items]
    return prepared.text if prepared.text.shape[1] else None


def export_ranker(
    prepared: Prepared,
    ranker: Ranker,
    path: Path,
    *,
    metrics: dict[str, Any] | None = None,
    histories: Histories | None = None,
    keep_users: bool = True,
    k_max: int | None = None,
) -> None:
    """Write the artifact; with several processes all must call."""
    name, holdout = prepared.experiment.name, prepared.holdout
    own = getattr(ranker, "encoder", None)  # trained along
    encoder = prepared.encoder if own is None else own
    listens = own is not None or reads_text(prepared.experiment.method)
    said = encoder is not None or prepared.dataset.catalog.features.values.shape[1]  # of items that are new
    export(
        ranker,
        prepared.dataset,
        path,
        histories=histories,
        keep_users=keep_users,
        encoder=encoder,
        item_text=encoder.dim if encoder else 0 if said else None,
        user_text_vectors=prepared.user_text if listens else None,
        item_text_vectors=prepared.text if own is None else None,
        name=name,
        metrics=metrics,
        experiment=json.loads(to_json(prepared.experiment)),
        card=Card(dataset=name, protocol=PROTOCOLS.get(holdout.name, holdout.name)),
        k_max=k_max,
    )


def restored(workdir: Path, say: Say = say_once) -> tuple[Prepared, Setting, Ranker]:
    """Data (before the refit), setting and ranker of a workdir: what was trained is restored, what is in closed form is
    fitted again. Raises UserError where nothing was trained.
    """
    workdir = local_workdir(workdir)
    prepared = read_data(experiment_of(workdir), say)
    data = fingerprint(prepared.dataset, prepared.holdout)
    from_first(lambda: check_same_data(data, workdir))
    prepared = with_text(prepared, say)
    setting = setting_of(prepared, workdir, say=say)
    return prepared, setting, fit_final(prepared.experiment.method, prepared, replace(setting, restore=True))


def export_job(workdir: Path, out: Path, *, k_max: int | None = None, keep_users: bool = True) -> Path:
    """Export what a workdir has trained, again and elsewhere if need be; metrics come from the finished run."""
    workdir = Path(workdir)
    prepared, _, ranker = restored(workdir)
    metrics, results = None, workdir / RESULTS
    if results.is_file():
        rankers = json.loads(results.read_text(encoding="utf-8"))["rankers"]
        metrics = {name: {m: cell["mean"] for m, cell in r["metrics"].items()} for name, r in rankers.items()}
    export_ranker(
        prepared.final,
        ranker,
        out,
        metrics=metrics,
        histories=known_histories(prepared),
        keep_users=keep_users,
        k_max=k_max,
    )
    return out


def evaluate_job(workdir: Path, part: str, say: Say = say_once) -> tuple[Prepared, dict[str, Evaluation]]:
    """Evaluations by name of a trained workdir: on "test" beside the baselines, on "valid" ours alone."""
    prepared, setting, ranker = restored(workdir, say)
    if part == "test":
        return prepared.final, judge_all(prepared, ranker, setting)
    if prepared.experiment.holdout.refit:
        raise UserError("the final model was trained on validation too (holdout.refit); evaluate it on --part test")
    return prepared, {prepared.experiment.method.name: judge(prepared, ranker, part)}


def _show(finished: Finished, say: Say) -> None:
    from jaxrec.serve.explain import Reason
    from jaxrec.serve.recommender import Recommendation
    from jaxrec.summary import print_recommendations, print_table

    if jax.process_index() != 0:
        return
    results = finished.results
    print_table(results["table"], f"protocol {results['protocol']}")
    if shares := results.get("shares"):
        most = max(shares, key=lambda share: share["adds"])
        say(f"of its parts {most['part']} adds most, NDCG@10 {most['adds']:+.3f} on inner cuts; all are in the report")
    picks = [Recommendation(**(p | {"reason": Reason(p["reason"]["text"])})) for p in results["recommendations"]]
    print_recommendations(f"user {results['user']}", results["history"], picks)
    if results["notice"]:
        say(results["notice"])
    say(f"artifact: {finished.artifact}")
    say(f"report:   {finished.report}")
    command = "jaxrec" if shutil.which("jaxrec") else os.path.relpath(sys.argv[0])
    say(f"ask it:   {command} recommend --artifact {finished.artifact} --user {shlex.quote(results['user'])} --k 10")
