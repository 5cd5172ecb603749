"""Two processes on this machine train as one, are stopped by a signal to one of them, and go on."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import job
import numpy as np
import toy

from jaxrec.parallel.mesh import MeshShape
from jaxrec.parallel.partition import PARAM_RULES, partition_shardings
from jaxrec.parallel.placement import to_host
from jaxrec.train.checkpoints import abstract, restore_params
from jaxrec.train.logs import read_metrics
from jaxrec.train.step import init_key


def start_two(workdir):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    script = str(Path(__file__).with_name("job.py"))
    environment = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    return [
        subprocess.Popen(
            [sys.executable, script, str(workdir), "4", address, "2", str(index)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        for index in range(2)
    ]


def test_two_processes_agree_with_one(tmp_path):
    first, second = start_two(tmp_path / "two")
    try:
        for line in first.stdout:
            if line.strip() == "step 12":
                break
        second.send_signal(signal.SIGTERM)  # one of them hears it, both save the same step
        said = [process.communicate(timeout=60)[0] for process in (first, second)]
    finally:
        first.kill(), second.kill()
    assert [first.returncode, second.returncode] == [42, 42], said
    saved = {re.search(r"step (\d+) is saved", text).group(1) for text in said}
    assert len(saved) == 1

    first, second = start_two(tmp_path / "two")
    try:
        said = [process.communicate(timeout=60)[0] for process in (first, second)]
    finally:
        first.kill(), second.kill()
    assert [first.returncode, second.returncode] == [0, 0], said
    assert f"going on from step {saved.pop()} of 40" in said[0] and "going on" not in said[1]
    digests = {re.search(r"digest (\w+)", text).group(1) for text in said}
    assert len(digests) == 1

    shape = MeshShape(model=2)
    one = toy.run(tmp_path / "one", shape=shape, validate=job.validate, **job.JOB)
    shapes = jax.eval_shape(toy.Toy().init, init_key(0), toy.constants(), toy.first_batch())
    wanted = abstract(shapes, partition_shardings(shapes, PARAM_RULES, shape.make()))
    _, params = restore_params(tmp_path / "two", wanted)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), to_host(params), to_host(one.params))
    steps = [(entry["step"], entry["split"]) for entry in read_metrics(tmp_path / "two")]
    assert steps == [(entry["step"], entry["split"]) for entry in one.history]
