"""A whole job that is killed, stopped or damaged and started again ends as one that was left alone."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import own_data
import pytest
from own_data import jaxrec, train
from safetensors.numpy import load_file

MESHES = {1: {"mesh__data": 1}, 8: {"mesh__data": 4, "mesh__model": 2}}
OPTIONS = {
    "baselines": "[]",
    "method__train__num_steps": 60,
    "method__train__log_every": 1,
    "method__train__checkpoint_every": 7,
    "method__train__evaluate_every": 20,
}
TIMES = ("seconds", "steps_per_second")


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    own_data.write_tables(folder)
    return {"source__interactions": folder / "log.csv", "source__catalog": folder / "items.csv"}


@pytest.fixture(scope="module")
def alone(tables, tmp_path_factory):
    """Workdirs of uninterrupted runs, by the number of devices; made when first asked for."""
    made: dict[int, Path] = {}

    def run(devices: int) -> Path:
        if devices not in made:
            made[devices] = tmp_path_factory.mktemp("alone") / "run"
            said = train(made[devices], **tables, **OPTIONS, **MESHES[devices])
            assert said.code == 0, said.err
        return made[devices]

    return run


def start(workdir, tables, devices, **more):
    """The same job as a process of its own."""
    words = own_data.sets(**tables, **OPTIONS, **MESHES[devices], **more)
    command = [sys.executable, "-m", "jaxrec.cli", "train", "--config", str(own_data.YOUR_DATA), "--debug"]
    return subprocess.Popen(
        [*command, "--workdir", str(workdir), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu", own_data.QUICK.upper(): "1"},
    )


def wait_for_step(process, step):
    for line in process.stderr:
        if line.startswith(f"step {step}/"):
            return
    raise AssertionError(f"the job ended before step {step}")


def check_same(workdir, expected):
    """Parameters, item vectors and metrics, bit for bit; every line of the log once."""
    for name in ("shared", "items"):
        ours, theirs = (load_file(path / "artifact" / f"{name}.safetensors") for path in (workdir, expected))
        assert list(ours) == list(theirs)
        assert all(ours[key].tobytes() == theirs[key].tobytes() for key in ours)
    ours, theirs = (json.loads((path / "results.json").read_text()) for path in (workdir, expected))
    assert ours == theirs
    ours, theirs = (log(path) for path in (workdir, expected))
    assert ours == theirs


def log(workdir):
    entries = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in entry.items() if name not in TIMES} for entry in entries]


@pytest.mark.parametrize("devices", MESHES)
def test_killed_at_a_random_step(tmp_path, tables, alone, devices):
    process = start(tmp_path / "run", tables, devices)
    step = random.randint(2, 55)
    wait_for_step(process, step)
    process.kill()
    process.communicate()
    assert not (tmp_path / "run" / "results.json").exists()
    said = train(tmp_path / "run", **tables, **OPTIONS, **MESHES[devices])
    assert said.code == 0, said.err
    if step > 20:  # a checkpoint of step 7 or later was on disk by then
        assert "going on from step " in said.err
    check_same(tmp_path / "run", alone(devices))


def test_a_signal_saves_and_exits_with_42(tmp_path, tables, alone):
    process = start(tmp_path / "run", tables, 1)
    wait_for_step(process, 23)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 42
    saved = said.split(" is saved in ")[0].rsplit(" ", 1)[1]
    assert int(saved) >= 23 and "Start the same command again to go on" in said
    again = train(tmp_path / "run", **tables, **OPTIONS, **MESHES[1])
    assert again.code == 0 and f"going on from step {saved} of 60" in again.err
    check_same(tmp_path / "run", alone(1))


def _truncate(step: Path) -> None:
    path = max((p for p in step.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    path.write_bytes(path.read_bytes()[:-20])


def _flip_a_bit(step: Path) -> None:
    path = max((p for p in (step / "state").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _empty(step: Path) -> None:
    for path in step.rglob("*"):
        if path.is_file():
            path.unlink()


def copy_unfinished(source: Path, to: Path) -> list[Path]:
    """A run that trained but did not get to its results; its checkpoints, newest first."""
    import shutil

    shutil.copytree(source, to)
    (to / "results.json").unlink()
    shutil.rmtree(to / "artifact")
    steps = [path for path in (to / "checkpoints").iterdir() if path.name.isdigit()]
    return sorted(steps, key=lambda path: -int(path.name))


@pytest.mark.parametrize("damage", [_truncate, _flip_a_bit, _empty])
def test_a_damaged_newest_checkpoint_falls_back(tmp_path, tables, alone, damage):
    newest, before, *_ = copy_unfinished(alone(1), tmp_path / "run")
    damage(newest)
    said = train(tmp_path / "run", **tables, **OPTIONS, **MESHES[1])
    assert said.code == 0, said.err
    assert f"checkpoint {newest} is not usable" in said.err and f"going back to step {before.name}" in said.err
    check_same(tmp_path / "run", alone(1))


def test_no_usable_checkpoint_is_exit_5(tmp_path, tables, alone):
    for step in copy_unfinished(alone(1), tmp_path / "run"):
        _flip_a_bit(step)
    for said in (
        train(tmp_path / "run", **tables, **OPTIONS, **MESHES[1]),
        jaxrec("evaluate", "--workdir", tmp_path / "run"),
    ):
        assert said.code == 5
        assert "no usable checkpoint in" in said.error and "start again with another workdir" in said.error


def test_a_finished_run_only_says_so(tables, alone):
    before = {path: path.stat().st_mtime_ns for path in alone(1).rglob("*")}
    said = train(alone(1), **tables, **OPTIONS, **MESHES[1])
    assert said.code == 0 and "done already" in said.out
    assert {path: path.stat().st_mtime_ns for path in alone(1).rglob("*")} == before


def test_a_run_that_lost_its_results_is_only_judged_again(tmp_path, tables, alone):
    copy_unfinished(alone(1), tmp_path / "run")
    said = train(tmp_path / "run", **tables, **OPTIONS, **MESHES[1])
    assert said.code == 0 and "already done: 60 steps" in said.err
    check_same(tmp_path / "run", alone(1))


def test_another_config_is_refused(tables, alone):
    said = train(alone(1), **tables, **OPTIONS, **MESHES[1], method__optimizer__peak_learning_rate=0.5)
    assert said.code == 2
    assert "holds another experiment: method.optimizer.peak_learning_rate was 0.003 and is now 0.5" in said.error


def test_how_it_runs_and_what_it_is_compared_with_may_differ(tmp_path, tables, alone):
    copy_unfinished(alone(1), tmp_path / "run")
    other = {
        "name": "renamed",
        "baselines": '[{"$class": "jaxrec.classic.popularity:Popular"}]',
        "method__train__log_every": 7,
        "method__train__keep": 5,
        "mesh__data": 2,
    }
    said = train(tmp_path / "run", **tables, **(OPTIONS | other))
    assert said.code == 0 and "already done: 60 steps" in said.err
    found = json.loads((tmp_path / "run" / "results.json").read_text())
    assert found["experiment"]["name"] == "renamed" and list(found["rankers"]) == ["Two-tower", "Popular"]


@pytest.mark.parametrize("verb", [("train", "--config", own_data.YOUR_DATA, "--debug"), ("evaluate",), ("export",)])
def test_an_address_is_no_workdir(tmp_path, monkeypatch, verb):
    monkeypatch.chdir(tmp_path)
    said = jaxrec(*verb, "--workdir", "gs://bucket/run")
    assert said.code == 2 and "workdir gs://bucket/run is an address, not a folder: mount it" in said.error
    assert not list(tmp_path.iterdir())


def test_a_loss_that_is_not_finite_is_exit_3(tmp_path, tables):
    options = {
        "method__optimizer": "SGD",
        "method__optimizer__learning_rate": 1e20,
        "method__train__checkpoint_every": 1,
    }
    said = train(tmp_path / "run", **tables, **(OPTIONS | options), **MESHES[1])
    assert said.code == 3
    assert "is not finite (" in said.error and "the last good checkpoint is step" in said.error
    assert not (tmp_path / "run" / "artifact").exists()


def test_an_option_that_keeps_the_first_step_from_running_can_be_mended(tmp_path, tables):
    said = train(tmp_path / "run", **tables, method__train__num_steps=4)
    assert said.code == 2 and "optimizer.warmup_steps=5 fills the run of 4 steps" in said.error
    said = train(tmp_path / "run", **tables, method__train__num_steps=6)
    assert said.code == 0, said.err


def test_a_refit_keeps_the_schedule_though_warming_up_takes_longer_than_the_best_step(tmp_path, tables):
    options = OPTIONS | {
        "method__optimizer__warmup_steps": 59,
        "method__train__log_every": 10,
        "method__train__higher_is_better": "false",
    }
    said = train(tmp_path / "run", **tables, **options, **MESHES[1], holdout="RandomPerUser", holdout__refit="true")
    assert said.code == 0, said.err
    rates = [
        {e["step"]: e["learning_rate"] for e in log(path) if e["split"] == "train"}
        for path in (tmp_path / "run", tmp_path / "run" / "refit")
    ]
    best = min((e for e in log(tmp_path / "run") if e["split"] == "valid"), key=lambda e: e["ndcg@10"])["step"]
    assert f"training: {best} steps of" in said.out and max(rates[1]) == best < 59
    assert rates[1] == {step: rate for step, rate in rates[0].items() if step <= best}
