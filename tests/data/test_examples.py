"""Histories cut into what is read and what is to be predicted."""

import time

import numpy as np
import pytest

from jaxrec.data.examples import Examples, ExampleSource
from jaxrec.data.interactions import SECONDS_PER_DAY, Interactions

ITEMS, USERS = 40, 9
LENGTHS = np.array([12, 1, 2, 0, 7, 20, 3, 5, 9])  # user 1 has one event, user 3 none


def log(lengths=LENGTHS, items=ITEMS, seed=0) -> Interactions:
    """Each user's items are different ones; rows in no order; a weight that names its event."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(len(lengths)), lengths)
    rows = np.concatenate([rng.permutation(items)[:n] for n in lengths])
    times = rng.permutation(len(users)) * SECONDS_PER_DAY + 1_000_000
    order = rng.permutation(len(users))
    weights = np.arange(1, len(users) + 1)
    return Interactions(
        users[order].astype(np.int32), rows[order].astype(np.int32), times[order], weights[order].astype(np.float32)
    )


def source(events=None, num_users=USERS, **options) -> ExampleSource:
    events = log() if events is None else events
    features = np.arange(num_users * 2, dtype=np.float32).reshape(num_users, 2)
    text = -np.arange(num_users * 3, dtype=np.float32).reshape(num_users, 3)
    return ExampleSource.of(Examples(**options), events, num_users, ITEMS, features, text)


def examples(made: ExampleSource, draws=30, seed=0):
    """(user, batch, row in it) of every user, many times."""
    rng = np.random.default_rng(seed)
    for _ in range(draws):
        batch = made.gather(np.arange(len(made)), rng)
        for row, user in enumerate(made.users):
            yield user, batch, row


def events_of(user, events=None):
    """{item: (time, weight)} of a user."""
    events = log() if events is None else events
    mine = events.take(events.user_rows == user)
    return dict(zip(mine.item_rows.tolist(), zip(mine.timestamps, mine.weights, strict=True), strict=True))


CUTS = pytest.mark.parametrize("cut", ["random", "time"])


@CUTS
def test_an_example_divides_the_events_of_its_user(cut):
    for user, batch, row in examples(source(cut=cut)):
        read, wanted = (x[row][x[row] >= 0].tolist() for x in (batch.history, batch.targets))
        assert read and wanted  # at least one of each
        assert len({*read, *wanted}) == len(read) + len(wanted)
        assert {*read, *wanted} == set(events_of(user))  # all of them, where nothing is cut to a length


@CUTS
def test_what_is_read_is_in_order_with_its_weights_and_ages(cut):
    for user, batch, row in examples(source(cut=cut), draws=5):
        there = batch.history[row] >= 0
        times, weights = (
            np.array(x) for x in zip(*[events_of(user)[i] for i in batch.history[row][there]], strict=True)
        )
        assert (np.diff(times) > 0).all()
        assert (np.diff(there.astype(int)) <= 0).all()  # padding stands at the end
        np.testing.assert_array_equal(batch.weights[row][there], weights)
        np.testing.assert_allclose(batch.ages[row][there], (times[-1] - times) / SECONDS_PER_DAY)
        assert (batch.weights[row][~there] == 0).all() and (batch.ages[row][~there] == 0).all()


def test_in_time_what_is_to_be_predicted_follows_what_is_read():
    moments = set()
    for user, batch, row in examples(source(cut="time", num_targets=3)):
        times = {item: at for item, (at, _) in events_of(user).items()}
        read, wanted = (x[row][x[row] >= 0] for x in (batch.history, batch.targets))
        later = sorted((at, item) for item, at in times.items() if at > max(times[i] for i in read))
        assert [item for _, item in later[:3]] == wanted.tolist()  # the very next ones
        if user == 8:
            moments.add(len(read))
    assert moments == set(range(1, 9))  # every moment is drawn


def test_at_random_a_share_is_hidden_whatever_its_place():
    made = source(hidden=0.3)
    hidden = {user: [] for user in made.users}
    for user, batch, row in examples(made, draws=300):
        hidden[user].append(set(batch.targets[row][batch.targets[row] >= 0].tolist()))
    for user, drawn in hidden.items():
        length = LENGTHS[user]
        count = int(np.clip(np.round(0.3 * length), 1, length - 1))
        assert {len(items) for items in drawn} == {count}
        share = np.array([[item in items for items in drawn] for item in events_of(user)]).mean(axis=1)
        assert (np.abs(share - count / length) < 5 * np.sqrt(0.25 / 300)).all()


@CUTS
def test_long_histories_are_cut_to_the_newest_and_targets_to_a_sample(cut):
    made = source(cut=cut, history_length=4, num_targets=2, hidden=0.5)
    for user, batch, row in examples(made):
        assert batch.history.shape == batch.weights.shape == batch.ages.shape == (len(made), 4)
        assert batch.targets.shape == batch.target_weights.shape == batch.log_q.shape == (len(made), 2)
        read, wanted = (x[row][x[row] >= 0].tolist() for x in (batch.history, batch.targets))
        times = {item: at for item, (at, _) in events_of(user).items()}
        assert set(read) | set(wanted) <= set(times) and not set(read) & set(wanted)
        assert len(wanted) == min(2, max(1, len(wanted)))
        if cut == "time":
            newest = sorted(times, key=times.get)
            end = newest.index(read[-1]) + 1
            assert read == newest[max(0, end - 4) : end]
        else:
            skipped = set(times) - set(read) - set(wanted)  # older than what is read, or hidden and not drawn
            count = int(np.clip(np.round(0.5 * LENGTHS[user]), 1, LENGTHS[user] - 1))
            assert len(read) == min(4, LENGTHS[user] - count) and len(wanted) == min(2, count)
            younger = sum(times[item] > times[read[0]] for item in skipped)
            assert younger <= count - len(wanted)


def test_dtypes_are_those_of_a_query():
    batch = source().gather(np.array([0, 1]), np.random.default_rng(0))
    kinds = {name: str(column.dtype) for name, column in batch._asdict().items()}
    assert kinds == dict.fromkeys(kinds, "float32") | {"history": "int32", "targets": "int32"}


def test_users_with_less_than_two_events_teach_nothing_and_the_others_keep_their_own_side():
    made = source()
    assert made.users.tolist() == [0, 2, 4, 5, 6, 7, 8] and len(made) == 7
    batch = made.gather(np.array([2, 0]), np.random.default_rng(0))
    np.testing.assert_array_equal(batch.features, made.features[[4, 0]])
    np.testing.assert_array_equal(batch.text, made.text[[4, 0]])


@pytest.mark.parametrize(("cut", "num_targets"), [("random", 64), ("random", 1), ("time", 64)])
def test_log_q_is_how_often_an_item_is_a_target(cut, num_targets):
    made = source(cut=cut, num_targets=num_targets)
    rng, everybody = np.random.default_rng(0), np.arange(len(made))
    drawn = np.zeros(len(made.log_share))
    for _ in range(600):
        targets = made.gather(everybody, rng).targets
        np.add.at(drawn, targets[targets >= 0], 1)
    share, often = drawn / drawn.sum(), np.exp(made.log_share)
    seen = drawn > 0
    assert np.isfinite(made.log_share).all()
    assert np.abs(share - often)[seen].sum() < 0.1


def test_a_targets_weight_halves_with_its_age():
    end = log().timestamps.max()
    for user, batch, row in examples(source(half_life_days=10.0), draws=3):
        there = batch.targets[row] >= 0
        age = [(end - events_of(user)[item][0]) / SECONDS_PER_DAY for item in batch.targets[row][there]]
        np.testing.assert_allclose(batch.target_weights[row][there], 0.5 ** (np.array(age) / 10), rtol=1e-5)
        assert (batch.target_weights[row][~there] == 0).all()
    for _, batch, row in examples(source(), draws=1):
        np.testing.assert_array_equal(batch.target_weights[row], batch.targets[row] >= 0)


def test_what_is_drawn_depends_on_the_generator_alone():
    made, which = source(), np.array([3, 1, 5])
    one, same, other = (made.gather(which, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.history != other.history).any()


def test_repeated_events_stay_apart():
    """A log that keeps repeats: an item may stand on both sides, but each event on one."""
    repeats = Interactions(*(np.array(x) for x in ([0] * 6, [3, 3, 3, 5, 5, 3], np.arange(6), np.ones(6))))
    batch = source(repeats, 1, hidden=0.5).gather(np.array([0]), np.random.default_rng(0))
    both = [*batch.history[0][batch.history[0] >= 0], *batch.targets[0][batch.targets[0] >= 0]]
    assert sorted(both) == [3, 3, 3, 3, 5, 5]


@pytest.mark.parametrize(
    ("options", "message"),
    [({"cut": "last"}, "cut is 'last'; use 'random' or 'time'"), ({"hidden": 1.0}, "hidden is 1.0; it is a share")],
)
def test_options_that_cannot_be_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Examples(**options)


def test_a_batch_is_gathered_at_once():
    """Python work does not grow with the batch: 4,096 users take far less than 4,096 times one user."""
    lengths = np.full(4_096, 30)
    made = source(log(lengths), len(lengths))
    rng = np.random.default_rng(0)

    def seconds(which):
        begun = time.process_time()
        for _ in range(5):
            made.gather(which, rng)
        return time.process_time() - begun

    seconds(np.arange(8))
    assert seconds(np.arange(4_096)) < 4_096 / 8 * max(seconds(np.arange(8)), 1e-3)
