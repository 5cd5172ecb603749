"""SLIST: a linear model of what follows what, in closed form."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import numpy as np

from jaxrec.classic.interaction_matrix import (
    ASKING,
    RECENCY,
    add_pairs,
    all_cooccurrence,
    history_length_of,
    inert_recency,
)
from jaxrec.classic.linear import LinearRanker, check_size, diagonal_free
from jaxrec.data.interactions import Interactions
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.item_axis import BY_HISTORY
from jaxrec.method import HERE, Between, Ranges, Setting
from jaxrec.ranker import Arrays

MATRICES = 5  # of items x items float32, held at the peak of the fit


@dataclass(frozen=True)
class Slist:
    """min |Y - S B|^2 + whole |X - X B|^2 + l2 |B|^2 with diag(B) = 0, solved (Choe et al., WWW 2021). S and Y have a
    row for each event of each user: what came before it, the k-th last with weight 1 / k, and what came from it on,
    the k-th with weight 1 / k, both of `window` events at most. X has a row for each user. Scores are a history's
    weighted sum of rows of B.

    whole: how much who has what counts beside what follows what. Harmonic weights stand in place of the exponential
    ones of the paper; without times the order is that of the file. tau, base: the events of a history weigh
    base + exp(-rank / tau) when asked; see `history_matrix.recency`. max_gigabytes: a catalog that needs more is
    refused. history_length: None for room for all.
    """

    l2: float = 100.0
    whole: float = 0.3
    window: int = 20
    tau: float | None = 4.0
    base: float = 0.05
    max_gigabytes: float = 8.0
    history_length: int | None = None

    name: ClassVar[str] = "SLIST"
    reads_text: ClassVar[bool] = False
    asking: ClassVar[tuple[str, ...]] = ASKING
    ranges: ClassVar[Ranges] = {
        "l2": Between(20, 2_000, log=True),
        "whole": (0.1, 0.3, 1.0, 3.0),
        **RECENCY,
    }
    inert = property(inert_recency)

    def fit(self, data: TrainingData, setting: Setting = HERE) -> LinearRanker:
        """Raises UserError when the catalog is too large for an item by item matrix, or an option is out of range."""
        items = data.dataset.num_items
        check_size("SLIST", items, items, MATRICES, self.max_gigabytes, "items x items")
        if self.l2 <= 0 or self.whole < 0 or self.window < 1:
            raise UserError(
                "Slist needs l2 above 0, whole of at least 0 and a window of at least 1 event, "
                f"not l2={self.l2:g}, whole={self.whole:g} and window={self.window}"
            )
        both = self.whole * all_cooccurrence(data)
        weights = diagonal_free(*_moments(data.train, both, self.window), self.l2)
        length = history_length_of(self, data.train)
        return LinearRanker(Arrays({}, {BY_HISTORY: weights}), length, self.tau, self.base)


def _moments(train: Interactions, both: jax.Array, window: int) -> tuple[jax.Array, jax.Array]:
    """(both + S^T S, both + S^T Y), float32 [items, items] like both, which is symmetric and given away.

    The pairs of a user's events that lie `lag` apart are added a lag at a time. Two events meet in the rows of S that
    come after both: how many do says what the pair counts in S^T S.
    """
    num_items = both.shape[0]
    log = train.by_time()
    order = np.argsort(log.user_rows, kind="stable")
    users, rows = log.user_rows[order], log.item_rows[order]
    longest = int(np.bincount(users).max(initial=1))
    window = min(window, longest)
    after = np.minimum(np.searchsorted(users, users, side="right") - 1 - np.arange(len(users)), window)
    harmonic = 1.0 / np.arange(1, window + 1)
    beyond = np.append(harmonic, np.zeros(window))
    met = np.convolve(harmonic, harmonic)
    half, onward = both / 2, both
    for lag in range(min(2 * window, longest)):
        ours = np.where(users == np.roll(users, -lag), rows, num_items)  # num_items is outside of the counts
        ours[len(users) - lag :] = num_items
        theirs = np.roll(rows, -lag)
        if lag < window:
            shared = np.append(0.0, np.cumsum(harmonic * beyond[lag : lag + window]))
            weights = shared[np.roll(after, -lag)] * (1.0 if lag else 0.5)
            half = add_pairs(half, ours, theirs, weights.astype(np.float32))
        if lag:
            onward = add_pairs(onward, ours, theirs, np.float32(met[lag - 1]))
    return half + half.T, onward
