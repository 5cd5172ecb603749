"""The loop as one call: histories, early stopping, divergence, refusals, and the same result on any mesh."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest
import toy

from jaxrec.errors import DivergedError, UserError
from jaxrec.parallel.mesh import MeshShape
from jaxrec.parallel.placement import to_host
from jaxrec.train.logs import read_metrics
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import SGD, AdamW

pytestmark = pytest.mark.usefixtures("quick_compile_all")

ONE = MeshShape(data=1)
TRAIN = Train(num_steps=12, batch_size_global=toy.BATCH, log_every=5, checkpoint_every=4)


NOISY, QUICK = toy.Toy(noise=0.1), SGD(0.5)


def run(workdir, *, task=NOISY, optimizer=QUICK, train=TRAIN, shape=ONE, **options):
    return toy.run(workdir, train=train, task=task, optimizer=optimizer, shape=shape, **options)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, to_host(a), to_host(b))


def test_it_learns_and_tells(tmp_path):
    result = run(tmp_path, train=Train(num_steps=60, batch_size_global=16, log_every=10), task=toy.Toy())
    losses = [entry["loss"] for entry in result.history]
    assert [entry["step"] for entry in result.history] == [10, 20, 30, 40, 50, 60]
    assert losses[0] > 1.5 * losses[-1]
    assert (result.stopped_because, result.best_step, result.traces) == ("num_steps", None, 1)
    written = read_metrics(tmp_path)
    assert [{k: e[k] for k in result.history[0]} for e in written] == result.history
    assert all(e["steps_per_second"] > 0 for e in written)
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("log_every", [1, 3, 100])
def test_every_window_is_logged_once(tmp_path, log_every):
    train = Train(num_steps=7, batch_size_global=16, log_every=log_every, checkpoint_every=2)
    steps = [entry["step"] for entry in run(tmp_path, train=train).history]
    assert steps == sorted({*range(log_every, 8, log_every), 7})


@pytest.mark.parametrize(
    "shape", [MeshShape(), MeshShape(model=2), MeshShape(strategy="pmap")], ids=["8x1", "4x2", "pmap"]
)
def test_every_mesh_ends_alike_under_sgd(tmp_path, shape):
    one = run(tmp_path / "one", task=toy.Toy())
    many = run(tmp_path / "many", task=toy.Toy(), shape=shape)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), to_host(one.params), to_host(many.params))
    assert many.traces == 1
    rows = 16 if shape.model == 2 else 32
    assert many.params["items"]["embedding"].addressable_shards[0].data.shape == (rows, 8)


def test_nothing_is_compiled_after_the_first_steps(tmp_path):
    compiled = []
    steps_done = []

    class Watched:
        def __init__(self):
            self.inner = toy.batches()

        def __next__(self):
            steps_done.append(len(compiled))
            return next(self.inner)

        def get_state(self):
            return self.inner.get_state()

    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
    )
    result = run(tmp_path, data=Watched(), train=Train(num_steps=9, batch_size_global=16, checkpoint_every=None))
    assert result.traces == 1
    assert steps_done[1] > 0 and len(set(steps_done[1:])) == 1


def test_another_batch_shape_is_said(tmp_path, capsys):
    class Shrinking:
        count = 0

        def __next__(self):
            self.count += 1
            return toy.first_batch(16 if self.count < 3 else 8)

        def get_state(self):
            return self.count

    train = Train(num_steps=4, batch_size_global=16)
    assert run(tmp_path, train=train, data=Shrinking(), quiet=False).traces == 2
    assert "warning: step 3 was compiled again" in capsys.readouterr().err


def test_early_stopping_keeps_the_best_parameters(tmp_path):
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.9])
    seen = []

    def validate(params, table):
        np.testing.assert_array_equal(to_host(table)["items"]["text"], toy.constants()["items"]["text"])
        seen.append(to_host(params))
        return {"ndcg@10": next(scores), "recall@10": 0.0}

    train = Train(num_steps=40, batch_size_global=16, evaluate_every=4, patience=2, checkpoint_every=3)
    result = run(tmp_path, validate=validate, train=train)
    assert (result.stopped_because, result.best_step, int(result.state.step)) == ("patience", 8, 16)
    assert result.best_metrics == {"ndcg@10": 0.5, "recall@10": 0.0}
    assert_same(result.params, seen[1])
    assert_same(result.state.params, seen[3])
    again = run(tmp_path, validate=None, train=train, data=toy.batches())
    assert (again.stopped_because, again.best_step, again.resumed_from, again.traces) == ("patience", 8, 16, 0)
    assert_same(again.params, result.params)
    assert again.history == result.history


def test_validation_at_the_end_even_without_an_interval(tmp_path):
    result = run(tmp_path, validate=lambda params, _: {"ndcg@10": 0.2})
    assert (result.best_step, [e["step"] for e in result.history if e["split"] == "valid"]) == (12, [12])


def test_a_finished_run_says_so(tmp_path, capsys):
    first = run(tmp_path)
    second = run(tmp_path, quiet=False)
    assert "already done: 12 steps, stopped by num_steps" in capsys.readouterr().err
    assert_same(first.state, second.state)


def test_another_experiment_is_refused(tmp_path):
    saved = {"seed": 7, "train": {"num_steps": 12, "log_every": 5}, "optimizer": {"learning_rate": 0.5}}
    run(tmp_path, experiment_json=json.dumps(saved))
    other = saved | {"optimizer": {"learning_rate": 0.4}}
    with pytest.raises(UserError, match="optimizer.learning_rate was 0.5 there and is 0.4 now. Set it back to go on"):
        run(tmp_path, experiment_json=json.dumps(other))
    same = saved | {"train": {"num_steps": 12, "log_every": 50}}
    assert run(tmp_path, experiment_json=json.dumps(same)).traces == 0


def poisoned():
    return toy.batches(rows=toy.Rows(rows=160, bad_row=16 * 6), shuffle=False)  # in the batch of step 7


@pytest.mark.parametrize("log_every", [1, 5, 100])
def test_a_loss_that_is_not_a_number_stops_with_its_step(tmp_path, log_every):
    train = Train(num_steps=20, batch_size_global=16, log_every=log_every, checkpoint_every=3)
    with pytest.raises(DivergedError, match="step 7 is not finite .*the last good checkpoint is step 6") as caught:
        run(tmp_path, task=toy.Toy(), data=poisoned(), train=train)
    assert caught.value.exit_code == 3
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["3", "6"]
    with pytest.raises(DivergedError, match="nothing was saved before it"):
        run(tmp_path / "none", task=toy.Toy(), data=poisoned(), train=Train(20, 16, checkpoint_every=None))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size_global": 12, "accumulate": 2}, r"does not divide by 16 .*; 16 would"),
        ({"num_steps": 0}, "train.num_steps=0 must be at least 1"),
        ({"patience": 0}, "train.patience=0"),
        ({"keep": 1}, "keep at least 2"),
    ],
)
def test_wrong_numbers_are_named(tmp_path, changes, message):
    fields = {"num_steps": 4, "batch_size_global": 16} | changes
    with pytest.raises(UserError, match=message):
        run(tmp_path, train=Train(**fields), shape=MeshShape())


def test_data_that_ends_is_an_error(tmp_path):
    class Two:
        left = 2

        def __next__(self):
            if not self.left:
                raise StopIteration
            self.left -= 1
            return toy.first_batch()

    with pytest.raises(UserError, match="the data ended after 2 batches and method.train.num_steps is 12"):
        run(tmp_path, data=Two())


def test_frozen_and_warm_started_leaves(tmp_path):
    def trainable(params):
        return jax.tree.map(lambda _: True, params) | {"items": {"embedding": False}}

    table = np.full((toy.ITEMS, toy.DIM), 0.25, np.float32)
    result = run(
        tmp_path,
        optimizer=AdamW(0.01),
        trainable=trainable,
        warm_start=lambda params: params | {"items": {"embedding": table}},
        shape=MeshShape(model=2),
    )
    np.testing.assert_array_equal(to_host(result.params["items"]["embedding"]), table)
    assert float(np.abs(to_host(result.params["user"]["bias"])).max()) > 0


def test_stop_at_ends_a_schedule_early_and_goes_on_after_a_stop(tmp_path):
    optimizer = AdamW(0.01, warmup_steps=8)  # longer than what is done of it
    whole = run(tmp_path / "whole", optimizer=optimizer, train=replace(TRAIN, log_every=1))
    short = replace(TRAIN, log_every=1, stop_at=6)

    class Breaks:
        def __init__(self):
            self._inner, self._left = toy.batches(), 5
            self.get_state, self.set_state = self._inner.get_state, self._inner.set_state

        def __next__(self):
            self._left -= 1
            if not self._left:
                raise KeyboardInterrupt
            return next(self._inner)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "short", optimizer=optimizer, train=short, data=Breaks())
    early = run(tmp_path / "short", optimizer=optimizer, train=short)
    assert (early.resumed_from, early.stopped_because) == (4, "num_steps")
    assert early.history == whole.history[:6]  # the rate climbs as it did in the whole run
    assert run(tmp_path / "short", optimizer=optimizer, train=short).traces == 0
    with pytest.raises(UserError, match="train.stop_at=13 is past method.train.num_steps=12"):
        run(tmp_path / "never", train=replace(TRAIN, stop_at=13))
