"""What a holdout must not let through. Each check raises DataError that prints both sides."""

from collections.abc import Sequence

import numpy as np

from jaxrec.data.dataset import Dataset
from jaxrec.data.ids import IdMap
from jaxrec.data.interactions import Interactions
from jaxrec.data.timestamps import show
from jaxrec.errors import DataError

PARTS = ("train", "validation", "test")


def pairs_of(log: Interactions) -> np.ndarray:
    """One int64 per row that stands for (user, item)."""
    return (log.user_rows.astype(np.int64) << 32) | log.item_rows


def check_time_order(parts: Sequence[Interactions]) -> None:
    """No part ends after the next one begins. parts: train, validation, test."""
    named = [(name, part) for name, part in zip(PARTS, parts, strict=True) if len(part)]
    for (before, early), (after, late) in zip(named, named[1:], strict=False):
        ends, begins = early.timestamps.max(), late.timestamps.min()
        if ends > begins:
            raise DataError(f"the holdout leaks: {before} ends at {show(ends)}, after {after} begins at {show(begins)}")


def check_periods(parts: Sequence[Interactions]) -> None:
    """As `check_time_order`, and no moment stands in two parts."""
    check_time_order(parts)
    named = [(name, part) for name, part in zip(PARTS, parts, strict=True) if len(part)]
    for (before, early), (after, late) in zip(named, named[1:], strict=False):
        if (moment := early.timestamps.max()) == late.timestamps.min():
            raise DataError(f"the holdout leaks: {before} and {after} both have rows at {show(moment)}")


def check_user_time_order(parts: Sequence[Interactions], dataset: Dataset) -> None:
    """No user has a row in one part that is later than a row in the next."""
    for early, late in ((parts[0], parts[1]), (parts[1], parts[2]), (parts[0], parts[2])):
        ends = np.full(dataset.num_users, np.iinfo(np.int64).min)
        np.maximum.at(ends, early.user_rows, early.timestamps)
        wrong = ends[late.user_rows] > late.timestamps
        if wrong.any():
            user = int(late.user_rows[wrong][0])
            raise DataError(
                f"the holdout leaks: user {dataset.user_map.ids[user].as_py()!r} has a row at {show(ends[user])} "
                f"before the cut and one at {show(late.timestamps[wrong][0])} after it"
            )


def check_disjoint(parts: Sequence[Interactions], dataset: Dataset) -> None:
    """No (user, item) pair stands in two parts."""
    for first in range(len(parts)):
        for second in range(first + 1, len(parts)):
            both = np.intersect1d(pairs_of(parts[first]), pairs_of(parts[second]))
            if both.size:
                user = dataset.user_map.ids[int(both[0] >> 32)].as_py()
                item = dataset.item_map.ids[int(both[0] & 0xFFFFFFFF)].as_py()
                raise DataError(
                    f"the holdout leaks: {both.size:,} pairs of user and item stand in {PARTS[first]} and in "
                    f"{PARTS[second]}, first user {user!r} with item {item!r}. Take them out of one part, "
                    "or merge repeated events with --set cleaning.duplicates=merge"
                )


def check_cold_items(train: Interactions, cold: np.ndarray, dataset: Dataset) -> None:
    """No item that is to be new stands in train. cold: bool [items]."""
    _check_new("items", train.item_rows, cold, dataset.item_map)


def check_cold_users(train: Interactions, cold: np.ndarray, dataset: Dataset) -> None:
    """No user who is to be new stands in train. cold: bool [users]."""
    _check_new("users", train.user_rows, cold, dataset.user_map)


def _check_new(what: str, trained: np.ndarray, new: np.ndarray, ids: IdMap) -> None:
    leaked = np.unique(trained[new[trained]])
    if leaked.size:
        first = ids.ids[int(leaked[0])].as_py()
        raise DataError(
            f"the holdout leaks: {leaked.size} of {int(new.sum())} {what} held out as new stand in train, "
            f"first {first!r}"
        )
