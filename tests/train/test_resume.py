"""Interrupted and started again equals left alone, bit for bit."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import job
import pytest
import toy

from jaxrec.errors import Preempted
from jaxrec.parallel.mesh import MeshShape
from jaxrec.train.logs import read_metrics

SHAPES = {1: MeshShape(data=1), 8: MeshShape(model=2)}


def finish(workdir, devices, *, data=None):
    return toy.run(workdir, shape=SHAPES[devices], data=data or job.Slow(), validate=job.validate, **job.JOB)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Digest of the uninterrupted run for each number of devices."""
    return {devices: job.digest(finish(tmp_path_factory.mktemp("alone"), devices)) for devices in SHAPES}


def start(workdir, devices, *more):
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("job.py")), str(workdir), str(devices), *map(str, more)],
        stdout=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "XLA_FLAGS"},
    )


def wait_for(process, text):
    for line in process.stdout:
        if line.strip() == text:
            return
    raise AssertionError(f"the job ended before it said {text!r}")


def logged_steps(workdir, split):
    return [entry["step"] for entry in read_metrics(workdir) if entry["split"] == split]


class Crash(Exception):
    pass


def crash_at(at):
    def log(step):
        if step == at:
            raise Crash

    return job.Slow(log=log)


@pytest.mark.parametrize("devices", SHAPES)
def test_a_run_that_crashes_twice_ends_bit_equal(tmp_path, alone, devices):
    for at in (9, 33):  # within epochs, within log windows, and past an evaluation
        with pytest.raises(Crash):
            finish(tmp_path, devices, data=crash_at(at))
    result = finish(tmp_path, devices)
    assert result.resumed_from == 30
    assert job.digest(result) == alone[devices]
    assert logged_steps(tmp_path, "train") == [7, 14, 21, 28, 35, 40]
    assert logged_steps(tmp_path, "valid") == [10, 20, 30, 40]


def test_a_signal_in_the_middle_of_a_window_saves_that_step(tmp_path, alone):
    def log(step):
        if step == 18:
            signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in the background
    with pytest.raises(Preempted, match="step 18 is saved .* Start the same command again to go on") as caught:
        finish(tmp_path, 1, data=job.Slow(log=log))
    assert caught.value.exit_code == 42
    assert signal.getsignal(signal.SIGINT) is before
    result = finish(tmp_path, 1)
    assert (result.resumed_from, job.digest(result)) == (18, alone[1])


@pytest.mark.parametrize("devices", SHAPES)
def test_sigkill_at_a_random_step(tmp_path, alone, devices):
    process = start(tmp_path, devices)
    wait_for(process, f"step {random.randint(2, 38)}")
    process.kill()
    process.communicate()
    result = finish(tmp_path, devices)
    assert result.resumed_from <= 40
    assert job.digest(result) == alone[devices]


def test_sigterm_exits_with_42_after_saving(tmp_path, alone):
    process = start(tmp_path, 1)
    wait_for(process, "step 22")
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 42
    result = finish(tmp_path, 1)
    assert result.resumed_from >= 22
    assert f"step {result.resumed_from} is saved" in said
    assert job.digest(result) == alone[1]


def test_it_goes_on_on_another_mesh(tmp_path):
    with pytest.raises(Crash):
        finish(tmp_path, 8, data=crash_at(31))
    result = finish(tmp_path, 1)
    assert result.resumed_from == 30 and int(result.state.step) == 40
