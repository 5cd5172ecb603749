"""How the rows of a log are cut: in time, in each user, at random. What is made of the parts: `jaxrec.data.holdout`."""

import numpy as np

from jaxrec.data.dataset import Dataset
from jaxrec.data.ids import IdMap
from jaxrec.data.interactions import Interactions
from jaxrec.data.leaks import check_user_time_order
from jaxrec.data.timestamps import show
from jaxrec.errors import DataError, UserError


def timed(dataset: Dataset, rule: str) -> Interactions:
    """The log by time; ties keep file order. rule: for what DataError says of a log without times."""
    log = dataset.interactions.by_time()
    if len(log) and log.timestamps[0] == log.timestamps[-1]:
        what = "no timestamps" if log.timestamps[0] == 0 else f"one timestamp only, {show(log.timestamps[0])}"
        raise DataError(
            f"{rule} cuts by time, and the log has {what}. If a column holds them, say --map timestamp=THEIR_NAME; "
            "if there are none, choose a holdout without time: --set holdout=RandomPerUser"
        )
    return log


def check_shares(valid: float, test: float) -> None:
    """Raises UserError for shares of the data that leave nothing to train on, or nothing to judge."""
    if not (valid >= 0 and test > 0 and valid + test < 1):
        raise UserError(
            f"valid_fraction={valid:g} and test_fraction={test:g} are shares of the rows: together they must be below "
            "1, and the test's above 0"
        )


def cut_ends(rows: int, valid: float, test: float) -> tuple[int, int]:
    """Where train and validation end, by shares of all rows."""
    check_shares(valid, test)
    return int(rows * (1 - valid - test) + 1e-6), int(rows * (1 - test) + 1e-6)


def counted_ends(rows: int, valid: float, test: float) -> tuple[int, int]:
    """Ends of train and validation by RecBole's rule: int(ratio * n), the rest to train, one to an empty part."""
    ends = [int(valid * rows + 1e-9), int(test * rows + 1e-9)]
    train = rows - sum(ends)
    for part, ratio in ((1, test), (0, valid)):
        if train > 1 and 0 < ratio * rows < 1:
            ends[part] += 1
            train -= 1
    return train, train + ends[0]


def random_parts(log: Interactions, dataset: Dataset, valid: float, test: float, random) -> np.ndarray:
    """0, 1 or 2 per row."""
    check_shares(valid, test)
    part = np.zeros(len(log), np.int8)
    order = np.argsort(log.user_rows, kind="stable")
    ends = np.cumsum(np.bincount(log.user_rows, minlength=dataset.num_users))
    starts = np.concatenate([[0], ends[:-1]])
    for user in in_string_order(dataset.user_map, np.arange(dataset.num_users)):
        rows = random.permutation(order[starts[user] : ends[user]])
        first, second = counted_ends(len(rows), valid, test)
        part[rows[first:second]] = 1
        part[rows[second:]] = 2
    return part


def last_rows(period: Interactions, dataset: Dataset) -> tuple[Interactions, Interactions]:
    """(all that comes before, each user's last row); the period is sorted by time, and ties keep file order."""
    lengths = np.bincount(period.user_rows, minlength=dataset.num_users)[period.user_rows]
    last = place_in_user(period) == lengths - 1
    before, targets = period.take(~last), period.take(last)
    check_user_time_order((before, before.take(np.zeros(0, np.int64)), targets), dataset)
    return before, targets


def joined(*parts: Interactions | None) -> Interactions:
    """One log of those that there are, in this order."""
    first, *rest = (part for part in parts if part is not None)
    for part in rest:
        first = first.then(part)
    return first


def place_in_user(log: Interactions) -> np.ndarray:
    """How many earlier rows of the same user there are, int64 [n]; log is sorted by time."""
    order = np.argsort(log.user_rows, kind="stable")
    users = log.user_rows[order]
    place = np.empty(len(log), np.int64)
    place[order] = np.arange(len(log)) - np.searchsorted(users, users)
    return place


def items_of(log: Interactions, dataset: Dataset) -> np.ndarray:
    """Which items the log has, bool [items]."""
    return np.bincount(log.item_rows, minlength=dataset.num_items) > 0


def in_string_order(ids: IdMap, rows: np.ndarray) -> np.ndarray:
    """The rows, sorted by their outside ids as strings, whatever order the file has."""
    return rows[np.argsort(ids.take(rows).astype(str), kind="stable")]


def drawn(ids: IdMap, rows: np.ndarray, seed: int) -> np.ndarray:
    """The rows in an order that the seed and the ids alone decide."""
    return np.random.RandomState(seed).permutation(in_string_order(ids, rows))
