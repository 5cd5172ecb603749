"""Two processes on this machine train the demo's debug config as one would."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import own_data
import pytest
from safetensors.numpy import load_file

from jaxrec.serve.recommender import Recommender

CONFIG = own_data.ROOT / "configs" / "movielens_100k.py"
OPTIONS = own_data.sets(
    encoder="BagOfWords",
    baselines='[{"$class": "jaxrec.classic.ease:Ease"}]',
    method__optimizer="SGD",
    method__optimizer__learning_rate=0.3,
    holdout__refit="false",
    method__train__num_steps=10,
)
"""No weights to fetch, and an optimizer that does not amplify rounding."""


def command(workdir, *more):
    return [
        *("train", "--config", str(CONFIG), "--debug", "--workdir", str(workdir), *OPTIONS),
        *map(str, more),
    ]


def run_two(one, other, *more):
    """Exit codes and words of two processes of one job, each given its workdir."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    environment |= {"JAX_PLATFORMS": "cpu", own_data.QUICK.upper(): "1"}
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "jaxrec.cli"),
                *command((one, other)[index], *more, "--coordinator", f"127.0.0.1:{port}"),
                *("--num-processes", "2", "--process-id", str(index)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        for index in range(2)
    ]
    try:
        told = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], told


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What two processes said, and their workdir."""
    workdir = tmp_path_factory.mktemp("two") / "run"
    codes, told = run_two(workdir, workdir)
    assert codes == [0, 0], told
    return workdir, told


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("one") / "run"
    said = own_data.jaxrec(*command(workdir, "--set", "mesh.data=2"))
    assert said.code == 0, said.err
    return workdir


def test_parameters_agree_with_one_process(said, one):
    for name in ("shared", "items"):
        ours, theirs = (load_file(path / "artifact" / f"{name}.safetensors") for path in (said[0], one))
        assert list(ours) == list(theirs)
        for key in ours:
            np.testing.assert_allclose(ours[key], theirs[key], atol=1e-5, err_msg=key)


def test_metrics_agree_with_one_process(said, one):
    ours, theirs = (json.loads((path / "results.json").read_text())["rankers"] for path in (said[0], one))
    for ranker in theirs:
        for metric, cell in theirs[ranker]["metrics"].items():
            assert ours[ranker]["metrics"][metric]["mean"] == pytest.approx(cell["mean"], abs=2e-3), (ranker, metric)
    losses = [
        [e["loss"] for e in map(json.loads, (path / "metrics.jsonl").read_text().splitlines()) if e["split"] == "train"]
        for path in (said[0], one)
    ]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert len(losses[0]) == 2


def test_one_artifact_and_one_voice(said, one):
    workdir, (first, second) = said
    found = sorted(str(path.relative_to(workdir)) for path in workdir.rglob("*") if "tensorboard" not in str(path))
    assert not [name for name in found if "partial" in name or "tmp" in name]
    assert {path.name for path in workdir.iterdir()} == {path.name for path in one.iterdir()}
    assert "10 steps of 32 examples on 2 cpu devices" in first and "Recommendations for user" in first
    assert "Recommendations for user" not in second and "step " not in second
    assert len(Recommender.load(workdir / "artifact").recommend("1", k=10)) == 10


def test_processes_that_share_no_folder_all_say_so(tmp_path):
    codes, told = run_two(tmp_path / "one", tmp_path / "other")
    assert codes == [2, 2], told
    for words in told:
        assert f"{'one' if words is told[0] else 'other'} is not one folder for all: processes 1 do not see" in words
    assert not list(tmp_path.iterdir())


def test_what_the_first_process_refuses_all_refuse(said):
    codes, told = run_two(said[0], said[0], "--set", "seed=9")
    assert codes == [2, 2] and all("holds another experiment: seed was 0 and is now 9" in words for words in told)
