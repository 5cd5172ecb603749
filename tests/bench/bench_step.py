"""What the loop costs a step, against the same task in a hand-written optax loop.

Run: pytest -m bench -s tests/bench/bench_step.py
"""

import sys
import time
from pathlib import Path

import jax
import optax
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "train"))
import toy  # noqa: E402

from jaxrec.parallel.mesh import MeshShape  # noqa: E402
from jaxrec.train.loop import Train  # noqa: E402
from jaxrec.train.optimizers import AdamW  # noqa: E402
from jaxrec.train.step import init_key  # noqa: E402

STEPS, WARM = 2_000, 200


class OneBatch:
    """The same batch again and again, so that only the loop is timed. `began` is set after the warm-up."""

    def __init__(self):
        self.batch, self.count, self.began = toy.first_batch(), 0, 0.0

    def __next__(self):
        self.count += 1
        if self.count == WARM:
            self.began = time.perf_counter()
        return self.batch

    def get_state(self):
        return self.count


def by_hand(batches):
    task, optimizer, constants = toy.Toy(), optax.adamw(1e-3), jax.device_put(toy.constants())
    params = task.init(init_key(0), constants, batches.batch)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, batch, number):
        key = jax.random.fold_in(jax.random.key(0), number)
        grads, metrics = task.gradients(params, constants, batch, key)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, metrics

    for number in range(STEPS):
        params, state, metrics = step(params, state, jax.device_put(next(batches)), number)
    return jax.block_until_ready(params)


@pytest.mark.bench
def test_overhead_of_the_loop(tmp_path):
    seconds = {}
    for name in ("by hand", "loop"):
        batches = OneBatch()
        if name == "loop":
            train = Train(num_steps=STEPS, batch_size_global=toy.BATCH, log_every=50, checkpoint_every=None)
            shape = MeshShape(data=1)
            toy.run(tmp_path, train=train, task=toy.Toy(), optimizer=AdamW(1e-3), shape=shape, data=batches)
        else:
            by_hand(batches)
        seconds[name] = (time.perf_counter() - batches.began) / (STEPS - WARM)
    print({name: f"{1e6 * value:.0f} us a step" for name, value in seconds.items()})
    assert seconds["loop"] - seconds["by hand"] < 1e-3  # a real step takes many milliseconds
