"""Interactions as columns of rows, and the same grouped by user."""

from dataclasses import dataclass, fields

import numpy as np

SECONDS_PER_DAY = 86_400


@dataclass(frozen=True, eq=False)
class Interactions:
    """Columns of equal length [n], in file order.

    user_rows, item_rows: int32. timestamps: int64 UTC seconds (0 where the log has none).
    weights: float32, finite; the rating or the number of events. context: int32 [n, columns], see
    `jaxrec.data.context.Contexts.codes`; without columns where none is given.
    """

    user_rows: np.ndarray
    item_rows: np.ndarray
    timestamps: np.ndarray
    weights: np.ndarray
    context: np.ndarray | None = None

    def __post_init__(self):
        if self.context is None:
            object.__setattr__(self, "context", np.zeros((len(self.user_rows), 0), np.int32))
        lengths = {f.name: len(getattr(self, f.name)) for f in fields(self)}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"columns differ in length: {lengths}")

    def __len__(self) -> int:
        return len(self.user_rows)

    def take(self, where: np.ndarray) -> "Interactions":
        """The interactions at an index or boolean array, in that order."""
        return Interactions(*(getattr(self, f.name)[where] for f in fields(self)))

    def by_time(self) -> "Interactions":
        """Sorted by timestamp; ties keep file order, never the order of ids."""
        return self.take(np.argsort(self.timestamps, kind="stable"))

    def then(self, later: "Interactions") -> "Interactions":
        """These interactions followed by `later`."""
        return Interactions(*(np.concatenate([getattr(self, f.name), getattr(later, f.name)]) for f in fields(self)))


def distinct_pairs(interactions: Interactions, num_items: int) -> tuple[np.ndarray, np.ndarray]:
    """(user rows, item rows), int32 [pairs], by user: who has what, however often and however rated."""
    keys = np.sort(interactions.user_rows.astype(np.int64) * num_items + interactions.item_rows)
    keys = keys[np.diff(keys, prepend=-1) > 0]  # np.unique hashes, which takes tens of times as long
    return (keys // num_items).astype(np.int32), (keys % num_items).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Histories:
    """Interactions grouped by user, oldest first (compressed sparse rows).

    User u's events are [offsets[u], offsets[u + 1]) of item_rows, timestamps and weights; offsets is int64 [users + 1].
    """

    offsets: np.ndarray
    item_rows: np.ndarray
    timestamps: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, interactions: Interactions, num_users: int) -> "Histories":
        ordered = interactions.by_time()
        ordered = ordered.take(np.argsort(ordered.user_rows, kind="stable"))
        offsets = np.zeros(num_users + 1, np.int64)
        np.cumsum(np.bincount(ordered.user_rows, minlength=num_users), out=offsets[1:])
        return cls(offsets, ordered.item_rows, ordered.timestamps, ordered.weights)

    @property
    def num_users(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Events per user, int64 [users]."""
        return np.diff(self.offsets)

    def latest(self, user_rows: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions of each user's last `length` events, oldest first: (positions int64, mask bool), both [n, length].

        Padding stands at the end; a padded position is 0 and its mask False.
        """
        ends = self.offsets[user_rows + 1]
        counts = np.minimum(ends - self.offsets[user_rows], length)
        steps = np.arange(length)
        mask = steps[None, :] < counts[:, None]
        return np.where(mask, (ends - counts)[:, None] + steps[None, :], 0), mask
