"""Next visit: a linear model of what people choose when they come back, in closed form."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.classic.interaction_matrix import (
    ASKING,
    RECENCY,
    USERS_TIMES_ITEMS,
    all_cooccurrence,
    history_length_of,
    inert_recency,
)
from jaxrec.classic.linear import LinearRanker, check_size, diagonal_free
from jaxrec.data.interactions import Histories
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.item_axis import BY_HISTORY
from jaxrec.method import HERE, Between, Ranges, Setting
from jaxrec.ranker import Arrays

MATRICES = 5  # of items x items float32, held at the peak of the fit
BEFORE, WITHIN = -0.25, -0.5  # powers of the number of events that a row of S and of Y counts by


@dataclass(frozen=True)
class NextVisit:
    """min |Y - S B|^2 + whole |X - X B|^2 + l2 |B|^2 with diag(B) = 0, solved. S and Y have a row for each visit but a
    user's first: Y what was chosen in it, each by n^(-1/2) of the n events of the visit; S all that came before, each
    by n^(-1/4) of those. X has a row for each user. Scores are a history's sum of rows of B.

    The least squares are those of SLIST (Choe et al., WWW 2021), over visits for events: what is chosen in one visit
    tells what a site showed together, what is chosen on a return tells what people come back for. A visit ends where
    `gap` minutes pass without an event; half an hour is the customary end of a session on the web. Where nobody comes
    back, or without times, `whole` is all that counts.

    visits: drawn at random where there are more. tau, base: see `history_matrix.recency`. max_gigabytes: a catalog that
    needs more is refused. history_length: None for room for all.
    """

    l2: float = 1_000.0
    whole: float = 0.005
    gap: float = 30.0
    visits: int = 100_000
    tau: float | None = None
    base: float = 0.05
    max_gigabytes: float = 8.0
    history_length: int | None = None

    name: ClassVar[str] = "Next visit"
    reads_text: ClassVar[bool] = False
    asking: ClassVar[tuple[str, ...]] = ASKING
    ranges: ClassVar[Ranges] = {
        "l2": Between(100, 10_000, log=True),
        "whole": Between(0.002, 0.2, log=True),
        **RECENCY,
    }
    inert = property(inert_recency)

    def fit(self, data: TrainingData, setting: Setting = HERE) -> LinearRanker:
        """Raises UserError when the catalog is too large for an item by item matrix, or an option is out of range."""
        items = data.dataset.num_items
        check_size(self.name, items, items, MATRICES, self.max_gigabytes, "items x items")
        if self.l2 <= 0 or self.whole < 0 or self.gap <= 0 or self.visits < 1:
            raise UserError(
                "NextVisit needs l2 and gap above 0, whole of at least 0 and at least 1 visit, "
                f"not l2={self.l2:g}, gap={self.gap:g}, whole={self.whole:g} and visits={self.visits}"
            )
        histories = Histories.of(data.train, data.dataset.num_users)
        returns = returns_of(histories, 60.0 * self.gap)
        if len(returns.starts) > self.visits:
            drawn = np.random.default_rng(setting.seed).permutation(len(returns.starts))[: self.visits]
            returns = Returns(*(column[np.sort(drawn)] for column in returns))
        gram = self.whole * all_cooccurrence(data)
        moments = gram.copy()
        visits = max(1, USERS_TIMES_ITEMS // items)
        for before, within in _blocks(histories.item_rows, returns, visits):
            gram, moments = _add_visits(gram, moments, before, within, visits=visits)
        weights = diagonal_free(gram, moments, self.l2)
        length = history_length_of(self, data.train)
        return LinearRanker(Arrays({}, {BY_HISTORY: weights}), length, self.tau, self.base)


class Returns(NamedTuple):
    """Visits but the first of each user, int64 [visits] each: of `Histories`, where the user's events begin, and where
    those of the visit begin and end."""

    firsts: np.ndarray
    starts: np.ndarray
    ends: np.ndarray


class Entries(NamedTuple):
    """Of some visits: (visit, from 0; item; value), padded to one length with visits that are outside."""

    visits: np.ndarray
    items: np.ndarray
    values: np.ndarray


def returns_of(histories: Histories, gap: float) -> Returns:
    """gap: seconds without an event after which a visit is over."""
    first = np.repeat(histories.offsets[:-1], histories.lengths)
    index = np.arange(len(first))
    late = np.diff(histories.timestamps, prepend=histories.timestamps[:1]) > gap
    begins = np.flatnonzero((index == first) | late)
    ends = np.append(begins[1:], len(index))
    again = begins > first[begins]
    return Returns(first[begins[again]], begins[again], ends[again])


def _blocks(item_rows: np.ndarray, returns: Returns, visits: int) -> Iterator[tuple[Entries, Entries]]:
    """(what came before each of `visits` visits at a time, what is in it)."""
    lows = np.arange(0, len(returns.starts), visits)
    widths = [
        max((int((end - start)[low : low + visits].sum()) for low in lows), default=0)
        for start, end in ((returns.firsts, returns.starts), (returns.starts, returns.ends))
    ]
    for low in lows:
        firsts, starts, ends = (column[low : low + visits] for column in returns)
        yield (
            _entries(item_rows, firsts, starts, BEFORE, widths[0], visits),
            _entries(item_rows, starts, ends, WITHIN, widths[1], visits),
        )


def _entries(
    item_rows: np.ndarray, starts: np.ndarray, ends: np.ndarray, power: float, width: int, outside: int
) -> Entries:
    """The events from starts to ends, each by the number of them to that power."""
    counts = ends - starts
    at = np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
    pad = (0, width - len(at))
    rows = np.repeat(np.arange(len(starts), dtype=np.int32), counts)
    values = np.repeat((counts**power).astype(np.float32), counts)
    return Entries(np.pad(rows, pad, constant_values=outside), np.pad(item_rows[at], pad), np.pad(values, pad))


@partial(jax.jit, static_argnames="visits", donate_argnums=(0, 1))
def _add_visits(
    gram: jax.Array, moments: jax.Array, before: Entries, within: Entries, *, visits: int
) -> tuple[jax.Array, jax.Array]:
    """(gram + S^T S, moments + S^T Y)"""

    def matrix(entries: Entries) -> jax.Array:
        nothing = jnp.zeros((visits, gram.shape[0]), jnp.float32)
        return nothing.at[entries.visits, entries.items].set(entries.values, mode="drop")

    earlier = matrix(before)
    gram = gram + jnp.matmul(earlier.T, earlier, precision="highest")
    return gram, moments + jnp.matmul(earlier.T, matrix(within), precision="highest")
