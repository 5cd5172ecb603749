"""Histories cut into windows, and short ones laid side by side in rows, so that little is padding."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jaxrec.data.interactions import SECONDS_PER_DAY, Histories


class WindowBatch(NamedTuple):
    """Rows of sequences, [batch, positions]; the first six as in `jaxrec.models.sequence.Tokens`.

    targets: int32, the event after, -1 where there is none. target_weights: float32; their sum by row is 1
    in the mean over all rows, so that a mean over examples is a mean over targets.
    """

    rows: np.ndarray
    segments: np.ndarray
    places: np.ndarray
    gaps: np.ndarray
    waits: np.ndarray
    weights: np.ndarray
    targets: np.ndarray
    target_weights: np.ndarray


@dataclass(frozen=True, eq=False)
class WindowSource:
    """Examples are rows of `positions` tokens.

    A window is a start token and up to positions - 1 events, and every token is asked for the event after it. Histories
    of at most `positions` events are one window; longer ones are spread evenly over as few windows as cover them, which
    are moved by up to half a window whenever they are gathered.

    first: int64 [windows], its first event in the histories; room: int64 [windows, 2], how far it may move back and
    forth; sizes: int64 [windows], its targets; offsets: int64 [rows + 1], windows by row.
    """

    histories: Histories
    positions: int
    first: np.ndarray
    room: np.ndarray
    sizes: np.ndarray
    offsets: np.ndarray

    @classmethod
    def of(cls, histories: Histories, positions: int) -> "WindowSource":
        lengths = histories.lengths
        counts = -(-lengths // positions)
        users = np.repeat(np.arange(len(lengths)), counts)
        place = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
        free = np.maximum(lengths - positions, 0)[users]
        start = free * place // np.maximum(counts[users] - 1, 1)
        room = np.stack([np.minimum(start, positions // 2), np.minimum(free - start, positions // 2)], axis=1)
        sizes = np.minimum(lengths[users], positions)
        row = packed(sizes, positions)
        order = np.argsort(row, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(row))]).astype(np.int64)
        return cls(histories, positions, (histories.offsets[users] + start)[order], room[order], sizes[order], offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def gather(self, which: np.ndarray, rng: np.random.Generator) -> WindowBatch:
        counts = np.diff(self.offsets)[which]
        row = np.repeat(np.arange(len(which)), counts)
        segment = np.arange(len(row)) - np.repeat(np.cumsum(counts) - counts, counts)
        window = self.offsets[which][row] + segment
        back, forth = self.room[window].T
        first = self.first[window] + rng.integers(-back, forth + 1)
        sizes = self.sizes[window]
        before = np.cumsum(sizes) - sizes
        begins = before - before[np.maximum(np.cumsum(counts) - counts, 0)][row]  # of the window in its row
        place = np.arange(sizes.sum()) - np.repeat(before, sizes)  # of the token in its window
        where = np.repeat(row, sizes), np.repeat(begins, sizes) + place
        target = np.repeat(first, sizes) + place
        read, begun = np.maximum(target - 1, 0), place > 0
        log = self.histories
        days = (log.timestamps[target] - log.timestamps[read]) / SECONDS_PER_DAY
        gap = (log.timestamps[read] - log.timestamps[np.maximum(target - 2, 0)]) / SECONDS_PER_DAY

        def laid(values: np.ndarray, empty: float, dtype: type) -> np.ndarray:
            out = np.full((len(which), self.positions), empty, dtype)
            out[where] = values
            return out

        return WindowBatch(
            rows=laid(np.where(begun, log.item_rows[read], -1), -1, np.int32),
            segments=laid(np.repeat(segment, sizes), -1, np.int32),
            places=laid(np.repeat(sizes, sizes) - 1 - place, 0, np.int32),
            gaps=laid(np.where(place > 1, gap, 0), 0, np.float32),
            waits=laid(np.where(begun, days, 0), 0, np.float32),
            weights=laid(np.where(begun, log.weights[read], 0), 0, np.float32),
            targets=laid(log.item_rows[target], -1, np.int32),
            target_weights=laid(np.full(len(target), len(self) / self.sizes.sum()), 0, np.float32),
        )


def packed(sizes: np.ndarray, room: int) -> np.ndarray:
    """The row of each window, int64 [windows], rows from 0: those of a row fit into `room` together.

    Best fit, the largest first, all windows of one size at once: the work is room^2 steps, however many there are.
    """
    row = np.full(len(sizes), -1, np.int64)
    free = [np.zeros(0, np.int64) for _ in range(room + 1)]  # rows by the room that is left
    rows = 0
    by_size = np.argsort(-sizes, kind="stable")
    ends = np.searchsorted(-sizes[by_size], -np.arange(room, -1, -1), side="right")
    for size, start, end in zip(range(room, 0, -1), np.concatenate([[0], ends[:-1]]), ends, strict=False):
        waiting = by_size[start:end]
        left = size
        while len(waiting):
            if left > room:
                new = -(-len(waiting) // (room // size))
                free[room] = np.arange(rows, rows + new)
                rows, left = rows + new, room
            taken = min(len(waiting), len(free[left]))
            row[waiting[:taken]] = free[left][:taken]
            free[left - size] = np.concatenate([free[left - size], free[left][:taken]])
            waiting, free[left] = waiting[taken:], free[left][taken:]
            left += 1
            if left > room and len(waiting):
                left = size
                if all(not len(f) for f in free[size:]):
                    left = room + 1
    return row
