"""One method in one draw: trials on validation, a refit with the best, one test. All of it can be interrupted."""

import gc
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import jax
import numpy as np
from filelock import Timeout

from jaxrec.config import from_json, to_json
from jaxrec.data.fingerprint import fingerprint
from jaxrec.data.training import TrainingData
from jaxrec.errors import DataError, DivergedError, Preempted, UserError
from jaxrec.evaluate.evaluator import Evaluation, Judged, evaluate
from jaxrec.experiment import Experiment
from jaxrec.method import Method, Setting, as_fitted, asked_options, inert
from jaxrec.ranker import Ranker
from jaxrec.run import Prepared, prepare
from jaxrec.study.cost import forget_peak, peak, timed
from jaxrec.study.search import may_read_text, options_of, propose, with_options
from jaxrec.study.stored import TRIALS, Folder, Tested, Trial
from jaxrec.study.study import Study, is_random, keyed, reseeded
from jaxrec.train.progress import first_difference

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Loaded:
    """What all methods of one draw share, prepared once in a process."""

    prepared: Prepared
    data: TrainingData

    @cached_property
    def refit(self) -> TrainingData:
        """Train and validation together."""
        return self.data.on(self.prepared.holdout.refit())

    @cached_property
    def valid(self) -> Judged:
        return self.prepared.judged("valid")

    @cached_property
    def test(self) -> Judged:
        return Judged.of(self.prepared.dataset, self.refit.holdout, "test")

    @property
    def item_vectors(self) -> np.ndarray:
        """What the diversity of lists is measured by: texts, or features where there are none."""
        return self.prepared.text if self.data.has_text else self.prepared.dataset.catalog.features.values

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.prepared.dataset, self.prepared.holdout)

    def judge(self, ranker: Ranker, part: str, ks: tuple[int, ...], name: str) -> Evaluation:
        data = self.refit if part == "test" else self.data
        return evaluate(
            ranker,
            data.dataset,
            data.holdout,
            part,
            ks=ks,
            name=name,
            user_text=self.prepared.user_text,
            judged=self.test if part == "test" else self.valid,
            item_vectors=self.item_vectors if part == "test" else None,
        )


def load(study: Study, say: Say) -> Loaded:
    """The data of a study's first draw. Raises DataError and UserError for what cannot be used."""
    reads = any(may_read_text(method) for method in study.methods)
    return _load(to_json(replace(study, methods=(), trials=1, seeds=1)), reads, say)


@lru_cache(maxsize=1)  # the next draw or study takes the place of the last
def _load(study_json: str, reads_text: bool, say: Say) -> Loaded:
    study = from_json(study_json)
    experiment = Experiment(
        study.name,
        study.source,
        study.cleaning,
        study.holdout,
        study.encoder if reads_text else None,
        baselines=(),
        seed=study.seed,
    )
    prepared = prepare(experiment, say)
    return Loaded(prepared, prepared.data)


@dataclass(frozen=True)
class Work:
    """One method in one draw. study: of that draw alone; folder: of the method in it."""

    study: Study
    key: str
    folder: Folder
    say: Say = field(default=print, compare=False)

    @property
    def method(self) -> Method:
        return keyed(self.study.methods)[self.key]

    def setting(self, name: str, seed: int = 0) -> Setting:
        folder = self.folder.path / "fits" / name
        return Setting(folder, seed=self.study.seed + seed, say=_silent, quiet=True)


def run(work: Work) -> str | None:
    """Search, refit and test, what was done before left as it is. The reason, in a line, where the method is left out.

    The compiled programs are dropped at the end: a process may map memory in so many pieces only, 65,530 under Linux,
    and the programs of a few blends are more. Raises UserError where the workdir holds a test of this method with other
    options than the search now finds best, and where another process works on it.
    """
    try:
        with work.folder.held():
            return _run(work)
    except Timeout:
        raise UserError(
            f"another process works on {work.key} in {work.folder.path}: wait for it, or give other --methods"
        ) from None
    finally:
        jax.clear_caches()


def _run(work: Work) -> str | None:
    seeds = range(work.study.seeds if is_random(work.method) else 1)
    done, trials = {test.seed for test in work.folder.tests()}, work.folder.trials()
    if done and not trials:
        raise UserError(
            f"{work.folder.path} holds a test of {work.key} and not the trials that led to it: bring {TRIALS} back, or "
            "remove the folder"
        )
    if done >= set(seeds):
        work.say(f"{work.key}: tested already")
    loaded = None if done >= set(seeds) else load(work.study, work.say)
    if loaded is not None:
        _ = loaded.valid, loaded.test  # where nobody can be judged, that is no fault of a method
    best = search(work, loaded)
    if isinstance(best, str):
        work.say(f"{work.key}: left out: {best}")
        return best
    chosen = with_options(work.method, best.options)
    for test in work.folder.tests():
        tested = from_json(test.method)  # options that came later have their defaults
        if differs := first_difference(*(json.loads(to_json(method)) for method in (tested, chosen))):
            where, before, now = differs
            raise UserError(
                f"{work.folder.path}: {work.key} was tested already with {where}={before!r}, and would now be tested "
                f"with {now!r}: a test is made once. Give another --workdir"
            )
    for seed in seeds:
        if seed not in done:
            try:
                _test(work, loaded, best, reseeded(chosen, seed), to_json(chosen), seed)
            except FAILURES as error:
                return f"the refit failed: {_line(error)}"
    shutil.rmtree(work.folder.path / "fits", ignore_errors=True)
    return None


FAILURES = (UserError, DataError, DivergedError, MemoryError, FloatingPointError, jax.errors.JaxRuntimeError)


def search(work: Work, loaded: Loaded | None) -> Trial | str:
    """The best of the trials, the first of equals; or why there is none. loaded: None where all is done."""
    given = options_of(work.method)
    trials, kept = [replace(t, options=given | t.options) for t in work.folder.trials()], None
    while loaded is not None and len(trials) < work.study.trials:
        if refused(trials):
            break
        tried = [(trial.options, trial.value) for trial in trials]
        options = propose(work.method, tried, work.study.trials, work.study.seed)
        if options is None:
            break
        trial = _known(work, options, trials)
        if trial is None:
            trial, kept = _trial(work, loaded, options, len(trials), kept)
        work.folder.add_trial(trial)
        trials.append(trial)
        _tell(work, trials)
        _forget_fits(work, trials)
    scored = [trial for trial in trials if trial.value is not None]
    if not scored:
        return next((trial.error for trial in trials if trial.error), "no trial gave a value")
    return max(scored, key=lambda trial: (trial.value, -trial.number))


DIVERGED = "DivergedError"


def refused(trials: Sequence[Trial]) -> bool:
    """Whether the data is not for the method as given, such as where there is no text."""
    return len(trials) == 1 and trials[0].error is not None and not trials[0].error.startswith(DIVERGED)


def refusal(folder: Folder) -> str | None:
    """Why an earlier call left a method out, where it did for what the method said to the data."""
    trials = folder.trials()
    return trials[0].error if refused(trials) else None


def _known(work: Work, options: dict[str, Any], trials: list[Trial]) -> Trial | None:
    """The trial, where an earlier one differs from it in options alone that are of no account: it found the same."""

    def of_account(options: dict[str, Any]) -> dict[str, Any] | None:
        try:
            idle = inert(with_options(work.method, options))
        except UserError:
            return None
        return {path: value for path, value in options.items() if path not in idle}

    wanted = of_account(options)
    same = (t for t in trials if t.value is not None and wanted is not None and of_account(t.options) == wanted)
    return next((replace(trial, number=len(trials), options=options, seconds=0.0) for trial in same), None)


class Fitted(NamedTuple):
    """The best fit so far: the next trials may only ask it in another way. method: see `as_fitted`."""

    method: Method
    ranker: Ranker
    value: float


def _trial(
    work: Work, loaded: Loaded, options: dict[str, Any], number: int, best: Fitted | None
) -> tuple[Trial, Fitted | None]:
    """The trial, and the best fit after it."""
    metric, k, began = work.study.metric, work.study.metric_k(), time.perf_counter()
    value = error = spread = None
    try:
        method = with_options(work.method, options)
        asked = asked_options(method)
        if asked and best is not None and best.method == as_fitted(method):
            ranker = replace(best.ranker, **asked)
        else:
            ranker = method.fit(loaded.data, work.setting(f"trial-{number}"))
        result = loaded.judge(ranker, "valid", (min(k, loaded.data.dataset.num_items),), method.name)
        name = metric if metric in result.values else next(n for n in result.values if _same_kind(n, metric))
        value, spread = result.means[name], result.standard_errors[name]
        if not np.isfinite(value):
            value, spread, error = None, None, f"{metric} is not a number"
        elif not np.isfinite(spread):
            spread = None
        if asked and value is not None and (best is None or value > best.value):
            best = Fitted(as_fitted(method), ranker, value)
    except Preempted:
        raise
    except FAILURES as failure:
        error = f"{DIVERGED}: {_line(failure)}" if isinstance(failure, DivergedError) else _line(failure)
    gc.collect()
    return Trial(number, options, value, spread, time.perf_counter() - began, error), best


def _test(work: Work, loaded: Loaded, best: Trial, method: Method, chosen: str, seed: int) -> None:
    """The one look at the test part. What validation decides (how long to train) is decided before the refit."""
    name = f"trial-{best.number}" if seed == 0 else f"seed-{seed}"
    setting = work.setting(name, seed)
    final = method.settled(loaded.data, setting) if hasattr(method, "settled") else method
    anew = forget_peak()
    data = replace(loaded.refit)  # nothing that another method has counted: the seconds are this one's own
    ranker, fit_seconds = timed(lambda: final.fit(data, setting.within("refit")))
    ks = tuple(k for k in work.study.ks if k <= loaded.data.dataset.num_items) or (loaded.data.dataset.num_items,)
    result = loaded.judge(ranker, "test", ks, method.name)
    memory, of_what = peak(anew)
    _, score_seconds = timed(lambda: loaded.judge(ranker, "test", ks, method.name))
    record = Tested(seed, method.name, best.options, chosen, fit_seconds, score_seconds, memory, of_what)
    work.folder.add_test(record, result)
    work.say(
        f"{work.key}: tested once{f' with seed {seed}' if seed else ''}: {described(best.options)}; "
        f"fitted in {fit_seconds:.1f} s, scored in {score_seconds:.1f} s"
    )


def _forget_fits(work: Work, trials: list[Trial]) -> None:
    """Checkpoints of all trials but the best: the best is settled where it was trained."""
    scored = [trial for trial in trials if trial.value is not None]
    keep = max(scored, key=lambda trial: (trial.value, -trial.number)).number if scored else -1
    for trial in trials:
        if trial.number != keep:
            shutil.rmtree(work.folder.path / "fits" / f"trial-{trial.number}", ignore_errors=True)


def _tell(work: Work, trials: list[Trial]) -> None:
    trial, metric = trials[-1], work.study.metric
    best = max((t.value for t in trials if t.value is not None), default=None)
    found = f"{metric} {trial.value:.4f}" if trial.value is not None else f"failed: {trial.error}"
    so_far = f", best {best:.4f}" if best is not None else ""
    work.say(
        f"{work.key}: trial {trial.number + 1} of {work.study.trials}: {found}{so_far}; "
        f"{described(trial.options)}; {trial.seconds:.1f} s"
    )


def described(options: dict[str, Any]) -> str:
    """Options in a line, for people."""
    return ", ".join(f"{path}={_short(value)}" for path, value in options.items()) or "no options"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _same_kind(name: str, metric: str) -> bool:
    return name.partition("@")[0] == metric.partition("@")[0]


def _line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _silent(text: str) -> None:
    """Methods say nothing while many are tried."""
