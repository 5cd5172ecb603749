from dataclasses import replace

import numpy as np
import pytest

from jaxrec.data.interactions import Histories, Interactions
from jaxrec.data.windows import WindowSource, packed

LENGTHS = np.array([3, 1, 0, 17, 8, 9, 2, 40, 5])
POSITIONS = 8
DAY = 86_400


@pytest.fixture(scope="module")
def histories() -> Histories:
    """User u's k-th event is item 100 u + k at day k (k + 1) / 2, so that the gap before it is k days; weight k + 1."""
    users = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
    place = np.arange(len(users)) - np.repeat(np.cumsum(LENGTHS) - LENGTHS, LENGTHS)
    times = DAY * place * (place + 1) // 2
    log = Interactions(
        users.astype(np.int32), (100 * users + place).astype(np.int32), times, (place + 1).astype(np.float32)
    )
    return Histories.of(log, len(LENGTHS))


@pytest.fixture(scope="module")
def source(histories) -> WindowSource:
    return WindowSource.of(histories, POSITIONS)


def segments_of(batch):
    """(row, positions) of each sequence of a batch."""
    for row, segments in enumerate(batch.segments):
        for segment in range(segments.max() + 1):
            yield row, np.flatnonzero(segments == segment)


def everything(source, seed=0):
    return source.gather(np.arange(len(source)), np.random.default_rng(seed))


def test_each_token_is_asked_for_the_event_after_it(source):
    batch = everything(source)
    for row, where in segments_of(batch):
        read, wanted = batch.rows[row, where], batch.targets[row, where]
        assert (np.diff(where) == 1).all() and read[0] == -1
        np.testing.assert_array_equal(read[1:], wanted[:-1])
        assert (np.diff(wanted) == 1).all()
        np.testing.assert_array_equal(batch.places[row, where], np.arange(len(where))[::-1])
        event = read[1:] % 100
        np.testing.assert_array_equal(batch.weights[row, where], [0, *(event + 1)])
        np.testing.assert_array_equal(batch.waits[row, where], [0, *(event + 1)])
        np.testing.assert_array_equal(batch.gaps[row, where], [0, 0, *event[1:]][: len(where)])


def test_short_histories_are_whole_and_stand_once(source):
    for seed in range(3):
        targets = everything(source, seed).targets
        wanted = np.sort(targets[targets >= 0])
        for user in np.flatnonzero((LENGTHS > 0) & (LENGTHS <= POSITIONS)):
            np.testing.assert_array_equal(
                wanted[wanted // 100 == user], 100 * user + np.arange(LENGTHS[user]), err_msg=str(user)
            )


def test_windows_that_do_not_move_cover_every_event(source, histories):
    still = everything(replace(source, room=np.zeros_like(source.room)))
    assert set(still.targets[still.targets >= 0]) == set(histories.item_rows)


def test_windows_of_long_histories_move_within_them(source):
    starts = {tuple(everything(source, seed).targets[:, 0]) for seed in range(20)}
    assert len(starts) > 5
    for seed in range(20):
        targets = everything(source, seed).targets
        assert (targets[targets >= 0] % 100 < LENGTHS[targets[targets >= 0] // 100]).all()


def test_padding_and_weights(source):
    batch = everything(source)
    there = batch.segments >= 0
    np.testing.assert_array_equal(there, batch.targets >= 0)
    np.testing.assert_array_equal(there, batch.target_weights > 0)
    assert not batch.weights[~there].any() and (batch.rows[~there] == -1).all()
    np.testing.assert_allclose(batch.target_weights.sum() / len(source), 1, rtol=1e-6)


def test_every_batch_has_one_shape_and_some_rows_alone_are_the_same(source):
    which = np.array([len(source) - 1, 0, 0])
    still = replace(source, room=np.zeros_like(source.room))
    some, whole = still.gather(which, np.random.default_rng(0)), everything(still)
    for a, b in zip(some, whole, strict=True):
        np.testing.assert_array_equal(a, b[which])


def test_packing_fits_and_wastes_little():
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 51, 5_000)
    row = packed(sizes, 50)
    filled = np.bincount(row, weights=sizes)
    assert filled.max() <= 50 and row.min() == 0 and len(filled) == row.max() + 1 and (filled > 0).all()
    assert len(filled) <= 1.02 * sizes.sum() / 50


def test_packing_by_hand():
    row = packed(np.array([2, 5, 3, 4, 1, 5]), 5)
    filled = np.bincount(row, weights=[2, 5, 3, 4, 1, 5])
    np.testing.assert_array_equal(filled, [5, 5, 5, 5])
    assert row[3] == row[4] and row[0] == row[2] and row[1] != row[5]


def test_nothing_to_pack():
    assert len(packed(np.zeros(0, np.int64), 5)) == 0
