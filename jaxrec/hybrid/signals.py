"""What a blend reads beside its parts: how much an item is asked for lately, and how much is known of the asker."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data.interactions import SECONDS_PER_DAY, Interactions
from jaxrec.ranker import Query

HALF_LIVES = (1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 90.0)  # days
NAMES = ("popularity, logarithm", "popularity", *(f"popularity, half-life {days:g} days" for days in HALF_LIVES), "new")
"""An item's age is left out: it grows with the data, so what a blend learns of it on an earlier cut is wrong later."""
STANDING = ("always", "history length", "since the last event")
"""What the weights of a blend may depend on, see `standing`."""


def item_signals(log: Interactions, num_items: int) -> np.ndarray:
    """float32 [items, len(NAMES)], standardised over the items that somebody has.

    The number of events, its logarithm, and the number where an event counts 2^(-age / half-life) before the end of the
    log. new: 1 for an item that nobody has, whose other signals are 0, the mean.
    """
    ever = np.bincount(log.item_rows, minlength=num_items)
    columns = [np.log1p(ever), ever]
    ages = (log.timestamps.max(initial=0) - log.timestamps) / SECONDS_PER_DAY
    for days in HALF_LIVES:
        columns.append(np.bincount(log.item_rows, weights=np.exp2(-ages / days), minlength=num_items))
    raw, had = np.stack(columns, axis=1), ever > 0
    known = raw[had] if had.any() else raw
    standard = np.where(had[:, None], (raw - known.mean(axis=0)) / np.maximum(known.std(axis=0), 1e-6), 0.0)
    return np.concatenate([standard, ~had[:, None]], axis=1).astype(np.float32)


def new_item_signals(count: int) -> jax.Array:
    """The signals of items that nobody has, float32 [count, len(NAMES)]."""
    return jnp.zeros((count, len(NAMES)), jnp.float32).at[:, -1].set(1.0)


def standing(query: Query) -> jax.Array:
    """float32 [batch, len(STANDING)]: 1; the logarithm of the number of events; of the days since the latest one; the
    last two about centred, with an order of magnitude near 1, so that one strength of regularisation suits all."""
    there = query.history >= 0
    count = there.sum(axis=1).astype(jnp.float32)
    since = jnp.where(there, query.ages, jnp.inf).min(axis=1)
    since = jnp.where(jnp.isfinite(since), since, 0.0)
    return jnp.stack([jnp.ones_like(count), (jnp.log1p(count) - 4.0) / 1.5, (jnp.log1p(since) - 2.0) / 2.0], axis=1)


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
