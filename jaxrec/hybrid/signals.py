"""What a blend reads beside its parts: how an item is asked for, its numbers, and how much is known of the asker."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data.interactions import SECONDS_PER_DAY, Interactions
from jaxrec.ranker import Query

HALF_LIVES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 90.0)  # days
NAMES = (
    "popularity, logarithm",
    "popularity",
    *(f"popularity, half-life {days:g} days" for days in HALF_LIVES),
    "hours of its users before it",
    "weight",
    "new",
)
"""The last signals of an item; before them stand those of its numbers, see `item_signals`.

An item's age is left out: it grows with the data, so what a blend learns of it on an earlier cut is wrong later."""
NEW = -1  # the last signal: whether nobody has the item
LOGGED = -len(NAMES)  # where the signals that are made of the log begin, after those made of the item's numbers
SHRINK = 10.0  # events that stand for all items, beside those of the item, in a mean over its events
KNOTS = (0.25, 0.5, 0.75)  # quantiles of a number, where the line that is learned of it may bend
MOST_NUMBERS = 16  # of a catalog; where there are more they are a vector, and left to the parts that read content
STANDING = ("always", "history length", "since the last event", "since the first event")
"""What the weights of a blend may depend on, see `standing`."""


def item_signals(log: Interactions, numbers: np.ndarray) -> np.ndarray:
    """float32 [items, numbers x (1 + len(KNOTS)) + len(NAMES)], standardised over the items that somebody has.

    numbers: float32 [items, numbers], of the catalog. Each makes a line that may bend: itself, and how far it is above
    each knot; where there are more than MOST_NUMBERS none does. The number of events, its logarithm, and the number
    where an event counts 2^(-age / half-life) before the end of the log. Of its events the mean logarithm of the hours
    since the first event of the user: what is taken on a first visit and what by those who come back; and the mean
    weight (the rating). new: 1 for an item that nobody has, whose other signals are 0, the mean: what its numbers say
    is left to the parts that read content, which order new items as well without (validation of C, MovieLens-100K).
    """
    numbers = numbers if numbers.shape[1] <= MOST_NUMBERS else numbers[:, :0]
    ever = np.bincount(log.item_rows, minlength=len(numbers))
    had = ever > 0
    columns = [*_lines(numbers, had), np.log1p(ever), ever]
    ages = (log.timestamps.max(initial=0) - log.timestamps) / SECONDS_PER_DAY
    for days in HALF_LIVES:
        columns.append(np.bincount(log.item_rows, weights=np.exp2(-ages / days), minlength=len(numbers)))
    columns.append(_mean_of_events(np.log1p(_hours(log)), log, ever))
    columns.append(_mean_of_events(log.weights, log, ever))
    raw = np.stack(columns, axis=1)
    known = raw[had] if had.any() else raw
    standard = np.where(had[:, None], (raw - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1e-6), 0.0)
    return np.concatenate([standard, ~had[:, None]], axis=1).astype(np.float32)


def new_item_signals(count: int, width: int) -> jax.Array:
    """The signals of items that nobody has, float32 [count, width]."""
    return jnp.zeros((count, width), jnp.float32).at[:, NEW].set(1.0)


def _lines(numbers: np.ndarray, had: np.ndarray) -> list[np.ndarray]:
    """Of each number itself and how far it is above each knot, float64 [items] each, so that their weighted sum is a
    line with bends."""
    numbers = numbers.astype(np.float64)
    knots = np.quantile(numbers[had] if had.any() else numbers, KNOTS, axis=0)
    return [
        column
        for number, bends in zip(numbers.T, knots.T, strict=True)
        for column in (number, *(np.maximum(number - knot, 0.0) for knot in bends))
    ]


def _hours(log: Interactions) -> np.ndarray:
    """Of each event, float64 [n], since the first of its user."""
    first = np.full(log.user_rows.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(first, log.user_rows, log.timestamps)
    return (log.timestamps - first[log.user_rows]) / 3_600


def _mean_of_events(values: np.ndarray, log: Interactions, ever: np.ndarray) -> np.ndarray:
    """Of each item, float64 [items], drawn to the mean of all where there are few."""
    total = np.bincount(log.item_rows, weights=values, minlength=len(ever))
    return (total + SHRINK * (values.mean() if len(values) else 0.0)) / (ever + SHRINK)


def standing(query: Query) -> jax.Array:
    """float32 [batch, len(STANDING)]: 1; the logarithm of the number of events, of the days since the latest one and
    since the first: who comes back wants other items than who is here for the first time. All but the 1 about centred,
    with an order of magnitude near 1, so that one strength of regularisation suits all."""
    there = query.history >= 0
    count = there.sum(axis=1).astype(jnp.float32)
    last = jnp.where(there, query.ages, jnp.inf).min(axis=1)
    last = jnp.where(jnp.isfinite(last), last, 0.0)
    first = jnp.where(there, query.ages, 0.0).max(axis=1)
    of_events = (jnp.log1p(count) - 4.0) / 1.5, (jnp.log1p(last) - 2.0) / 2.0, (jnp.log1p(first) - 3.0) / 2.0
    return jnp.stack([jnp.ones_like(count), *of_events], axis=1)


def latest(query: Query, length: int) -> Query:
    """The query with its last `length` events alone, for a part that reads no more; padding stays at the end.

    No branch on the width of the query: it is not known where a function for all widths is exported.
    """
    count = (query.history >= 0).sum(axis=1, keepdims=True)
    at = jnp.maximum(count - length, 0) + jnp.arange(length)[None, :]
    there = at < count
    at = jnp.minimum(at, query.history.shape[1] - 1)

    def pick(values: jax.Array, missing: float) -> jax.Array:
        return jnp.where(there, jnp.take_along_axis(values, at, axis=1), missing).astype(values.dtype)

    shorter = {"history": pick(query.history, -1), "weights": pick(query.weights, 0), "ages": pick(query.ages, 0)}
    return replace(query, **shorter)
