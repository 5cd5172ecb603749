"""Batches through grain: by epoch, by host, and again from any step."""

import json
import time

import numpy as np
import pytest

from jaxrec.data.batches import make_batches
from jaxrec.data.examples import Examples, ExampleSource
from jaxrec.data.interactions import Interactions

USERS, ITEMS, SIZE = 24, 50, 8


def source(users=USERS) -> ExampleSource:
    """Every user has ten events; a feature tells who it is."""
    rng = np.random.default_rng(0)
    rows = np.concatenate([rng.permutation(ITEMS)[:10] for _ in range(users)]).astype(np.int32)
    who = np.repeat(np.arange(users), 10).astype(np.int32)
    log = Interactions(who, rows, np.arange(len(who)), np.ones(len(who), np.float32))
    names = np.arange(users, dtype=np.float32)[:, None]
    return ExampleSource.of(Examples(), log, users, ITEMS, names, np.zeros((users, 0), np.float32))


def take(batches, count):
    return [next(batches) for _ in range(count)]


def who(batch):
    return batch.features[:, 0].astype(int).tolist()


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_the_same_seed_gives_the_same_batches():
    one, same, other = (take(make_batches(source(), SIZE, seed), 6) for seed in (3, 3, 4))
    assert_same(one, same)
    assert [who(b) for b in one] != [who(b) for b in other]


def test_an_epoch_visits_each_user_once_in_an_order_of_its_own_and_draws_anew():
    batches = take(make_batches(source(), SIZE, 0), 9)
    epochs = [sum((who(b) for b in batches[start : start + 3]), []) for start in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(USERS)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    seen = [batch.targets[who(batch).index(5)] for batch in batches if 5 in who(batch)]
    assert len(seen) == 3 and not all((seen[0] == other).all() for other in seen[1:])


def test_a_batch_may_end_one_epoch_and_begin_the_next():
    batches = take(make_batches(source(20), SIZE, 0), 5)
    assert {(b.history.shape, b.targets.shape) for b in batches} == {((SIZE, 10), (SIZE, 10))}  # one shape for all
    flat = sum((who(b) for b in batches), [])
    assert sorted(flat[:20]) == sorted(flat[20:]) == list(range(20))


@pytest.mark.parametrize("hosts", [2, 4])
def test_the_hosts_parts_are_the_batch_of_one(hosts):
    whole = take(make_batches(source(), SIZE, 1), 4)
    parts = [take(make_batches(source(), SIZE, 1, process_index=i, process_count=hosts), 4) for i in range(hosts)]
    steps = zip(*parts, strict=True)
    together = [[np.concatenate(columns) for columns in zip(*step, strict=True)] for step in steps]
    assert_same(together, whole)
    assert {len(batch.history) for batch in parts[0]} == {SIZE // hosts}


def test_hosts_must_divide_the_batch():
    with pytest.raises(ValueError, match="batch_size_global=8 does not divide by 3 processes"):
        make_batches(source(), SIZE, 0, process_count=3)


@pytest.mark.parametrize("steps", [0, 1, 5])
def test_a_stored_state_goes_on_with_the_very_next_batch(steps):
    batches = make_batches(source(), SIZE, 2)
    take(batches, steps)
    state = json.loads(json.dumps(batches.get_state()))  # checkpoints keep it as JSON
    expected = take(batches, 4)
    again = make_batches(source(), SIZE, 2)
    again.set_state(state)
    assert_same(take(again, 4), expected)
    batches.set_state(state)  # and back in the same iterator
    assert_same(take(batches, 4), expected)


def test_little_is_read_ahead():
    """A read is a whole batch: hundreds of them ahead would fill the memory."""
    made, counted = source(), []

    class Counting:
        def __len__(self):
            return len(made)

        def gather(self, which, rng):
            counted.append(len(which))
            return made.gather(which, rng)

    batches = make_batches(Counting(), SIZE, 0)
    take(batches, 2)
    time.sleep(0.3)
    assert len(counted) <= 20
