"""A training job as its own process: python job.py WORKDIR DEVICES [COORDINATOR COUNT ID].

Prints "step N" as it goes and at the end a digest of the state; exits as the jaxrec command does.
"""

import hashlib
import os
import sys
import time

if __name__ == "__main__":
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={sys.argv[2]}"

import jax  # noqa: E402
import toy  # noqa: E402

from jaxrec.errors import JaxrecError  # noqa: E402
from jaxrec.parallel.mesh import MeshShape, start_distributed  # noqa: E402
from jaxrec.parallel.placement import data_shard, to_host  # noqa: E402
from jaxrec.train.loop import Train  # noqa: E402
from jaxrec.train.optimizers import SGD  # noqa: E402

JOB = {
    "train": Train(num_steps=40, batch_size_global=toy.BATCH, log_every=7, checkpoint_every=5, evaluate_every=10),
    "task": toy.Toy(noise=0.1),
    "optimizer": SGD(0.5, momentum=0.9),
}


def validate(params, _):
    return {"ndcg@10": -float(abs(to_host(params)["user"]["bias"]).sum())}


class Slow:
    """The toy batches, slow enough to be interrupted anywhere; `log` is called with each step's number."""

    def __init__(self, shard=(0, 1), pause=0.0, log=None):
        self._inner, self._pause, self._log, self._step = toy.batches(shard=shard), pause, log, 0

    def __next__(self):
        self._step += 1
        if self._log:
            self._log(self._step)
        time.sleep(self._pause)
        return next(self._inner)

    def get_state(self):
        return self._inner.get_state()

    def set_state(self, state):
        self._inner.set_state(state)
        self._step = state["next_index"]


def digest(result):
    leaves = jax.tree.leaves(to_host((result.state, result.params)))
    return hashlib.sha256(b"".join(x.tobytes() for x in leaves) + repr(result.history).encode()).hexdigest()


def main(workdir, _devices, *distributed):
    if distributed:
        address, count, index = distributed
        start_distributed(address, int(count), int(index), heartbeat_timeout_seconds=10)
    shape = MeshShape(model=2 if jax.device_count() > 1 else 1)
    data = Slow(data_shard(shape.make()), 0.02, lambda step: print("step", step, flush=True))
    try:
        result = toy.run(workdir, shape=shape, data=data, validate=validate, quiet=False, **JOB)
    except JaxrecError as error:
        print(error, flush=True)
        sys.exit(error.exit_code)
    print("digest", digest(result), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
