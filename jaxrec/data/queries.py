"""What is known of users when a recommendation is asked for, as plain arrays."""

from typing import NamedTuple

import numpy as np

from jaxrec.data.context import Contexts
from jaxrec.data.interactions import SECONDS_PER_DAY, Histories, Interactions


class QueryArrays(NamedTuple):
    """The fields of `jaxrec.ranker.Query`, in its order, as numpy arrays; `Query(*arrays)` makes one.

    context: None where none is read."""

    history: np.ndarray
    weights: np.ndarray
    ages: np.ndarray
    features: np.ndarray
    text: np.ndarray
    context: np.ndarray | None = None

    def named(self) -> dict[str, np.ndarray]:
        """The fields that are there, by name."""
        return {name: values for name, values in self._asdict().items() if values is not None}


def gather_queries(
    histories: Histories,
    user_rows: np.ndarray,
    length: int,
    asked_at: np.ndarray | int,
    features: np.ndarray | None = None,
    text: np.ndarray | None = None,
    context: np.ndarray | None = None,
) -> QueryArrays:
    """The queries of some users: their last `length` events, oldest first, padded at the end.

    user_rows: int [n]; -1 asks for an empty query (padding of a block), also one without features and text.
    asked_at: UTC seconds, one or [n]; an event later than that gets age 0.
    features: float32 [users, dim] or None for width 0; text: float32 [users, dim], likewise; context: likewise, or None
    where none is read.
    """
    user_rows = np.asarray(user_rows)
    nobody = user_rows < 0
    known = np.where(nobody, 0, user_rows)
    events, mask = histories.latest(known, length)
    mask &= ~nobody[:, None]
    if not len(histories.item_rows):
        history = np.full(mask.shape, -1, np.int32)
        weights = ages = np.zeros(mask.shape, np.float32)
    else:
        history = np.where(mask, histories.item_rows[events], -1).astype(np.int32)
        weights = np.where(mask, histories.weights[events], 0).astype(np.float32)
        seconds = np.broadcast_to(asked_at, user_rows.shape)[:, None] - histories.timestamps[events]
        ages = np.where(mask, np.maximum(seconds, 0) / SECONDS_PER_DAY, 0).astype(np.float32)
    where = None if context is None else _rows_of(context, known, nobody)
    return QueryArrays(history, weights, ages, _rows_of(features, known, nobody), _rows_of(text, known, nobody), where)


def _rows_of(table: np.ndarray | None, rows: np.ndarray, nobody: np.ndarray) -> np.ndarray:
    if table is None or not table.shape[1]:
        return np.zeros((len(rows), 0), np.float32)
    return np.where(nobody[:, None], 0, table[rows]).astype(np.float32)


def asking_times(past: Interactions, future: Interactions, histories: Histories) -> np.ndarray:
    """When each user asks, in evaluation: UTC seconds, int64 [users]. No moment of a held-out event is used.

    Where everything held out comes after everything known (a global time cut), all ask at the end of the known data.
    Otherwise (leave-last-out, random, cold items) each user asks at the moment of their own last known event: the end
    of the data would be in the future of what is held out. Users without events ask at the end of the known data.
    """
    if not len(past):
        return np.zeros(histories.num_users, np.int64)
    end = past.timestamps.max()
    times = np.full(histories.num_users, end, np.int64)
    if len(future) and future.timestamps.min() < end:
        active = histories.lengths > 0
        times[active] = histories.timestamps[histories.offsets[1:][active] - 1]
    return times


def asking_context(contexts: Contexts, future: Interactions, num_users: int) -> np.ndarray | None:
    """Where each user asks from, in evaluation: float32 [users, width], as of the first of their held-out events, which
    is what a request comes with; zeros for users without any, None where no context is read."""
    if not contexts.columns:
        return None
    codes = np.full((num_users, len(contexts.columns)), -1, np.int32)
    later_first = np.argsort(future.timestamps, kind="stable")[::-1]
    codes[future.user_rows[later_first]] = future.context[later_first]  # the last one written is the first event
    return contexts.hot(codes)
