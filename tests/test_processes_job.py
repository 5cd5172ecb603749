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
    encoder="BagOfWords", optimizer="SGD", optimizer__learning_rate=0.3, holdout__refit="false", train__num_steps=10
)
"""No weights to fetch, and an optimizer that does not amplify rounding."""


def command(workdir, *more):
    return [
        *("train", "--config", str(CONFIG), "--debug", "--workdir", str(workdir), *OPTIONS),
        *map(str, more),
    ]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What two processes said, and their workdir."""
    workdir = tmp_path_factory.mktemp("two") / "run"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-m", "jaxrec.cli"),
                *command(workdir, "--coordinator", f"127.0.0.1:{port}", "--num-processes", 2, "--process-id", index),
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
    assert [process.returncode for process in processes] == [0, 0], told
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
    assert "10 steps of 32 users on 2 cpu devices" in first and "Recommendations for user" in first
    assert "Recommendations for user" not in second and "step " not in second
    assert len(Recommender.load(workdir / "artifact").recommend("1", k=10)) == 10
