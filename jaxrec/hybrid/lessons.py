"""What a blend learns from: the scores of its parts, fitted on an inner training part, and what was chosen after it."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data.dataset import Dataset
from jaxrec.data.holdout import Holdout
from jaxrec.data.interactions import Histories
from jaxrec.data.queries import asking_context, asking_times, gather_queries
from jaxrec.hybrid.ranker import HybridRanker
from jaxrec.hybrid.signals import LOGGED, NEW, standing
from jaxrec.ranker import Arrays, Query, num_items

POSITIVES = 64  # of one user that are learned from, a sample where there are more
WIDEST = 1_024  # events of a history that the parts are asked with


class Lessons(NamedTuple):
    """parts: float32 [users, candidates, parts], standardised; signals: float32 [users, candidates, signals]; standing:
    float32 [users, standing]. wanted: int32 [users, up to POSITIVES], places among the candidates of what was chosen,
    those that are there first; there: bool, likewise. allowed: bool [users, candidates]."""

    parts: jax.Array
    signals: jax.Array
    standing: jax.Array
    wanted: jax.Array
    there: jax.Array
    allowed: jax.Array


def some_users(lessons: Lessons, count: int, seed: int) -> Lessons:
    """Those of up to `count` users, drawn at random and in random order."""
    order = np.random.default_rng(seed).permutation(len(lessons.standing))[:count]
    return jax.tree.map(lambda leaf: leaf[order], lessons)


def lessons_of(
    ranker: HybridRanker,
    dataset: Dataset,
    holdout: Holdout,
    *,
    users: int,
    candidates: int,
    seed: int,
    features: np.ndarray | None,
    text: np.ndarray | None,
    block: int = 64,
) -> Lessons:
    """The lessons of up to `users` users of the holdout's test, drawn at random.

    ranker: the parts fitted on holdout.train, joined with any weights. candidates: items per user, the best of each
    part and the most popular, of new items and of others alike; the whole catalog where it is no larger. What was
    chosen and is not among them teaches nothing.
    """
    draw = np.random.default_rng(seed)
    chosen = holdout.positives("test")
    past = holdout.history("test")
    histories = Histories.of(past, dataset.num_users)
    asked_at = asking_times(past, holdout.test, histories)
    context = asking_context(dataset.contexts, holdout.test, dataset.num_users)
    who = np.unique(chosen.user_rows)
    who = np.sort(draw.permutation(who)[:users])
    wanted = Histories.of(chosen, dataset.num_users)
    width = min(int(histories.lengths[who].max(initial=1)), WIDEST)
    items = num_items(ranker.arrays)
    depth = min(items, candidates)
    allowed = jnp.asarray(holdout.candidates("test"))
    found = []
    for start in range(0, len(who), block):
        rows = np.full(block, -1, np.int64)
        rows[: len(who[start : start + block])] = who[start : start + block]
        query = gather_queries(histories, rows, width, asked_at[np.maximum(rows, 0)], features, text, context)
        seen = gather_queries(histories, rows, int(histories.lengths[who].max()), 0).history
        targets = np.full((block, POSITIVES), -1, np.int32)
        for place, row in enumerate(rows):
            if row >= 0:
                own = np.unique(wanted.item_rows[wanted.offsets[row] : wanted.offsets[row + 1]])
                own = draw.permutation(own)[:POSITIVES]
                targets[place, : len(own)] = own
        lesson = _gather(ranker.stripped, ranker.arrays, Query(*query), seen, targets, allowed, depth=depth)
        real = min(block, len(who) - start)
        found.append([np.asarray(leaf)[:real] for leaf in lesson])
    return Lessons(*(np.concatenate(columns) for columns in zip(*found, strict=True)))


@partial(jax.jit, static_argnames=("ranker", "depth"))
def _gather(
    ranker: HybridRanker,
    arrays: Arrays,
    query: Query,
    seen: jax.Array,
    targets: jax.Array,
    allowed: jax.Array,
    *,
    depth: int,
) -> Lessons:
    asked = ranker.asked(arrays, query)
    mean, std = ranker.spread(arrays.shared, asked)
    scores = jnp.stack(ranker.part_scores(arrays.shared, arrays.items["parts"], asked), axis=-1)
    scores = (scores - mean[:, None, :]) / std[:, None, :]
    signals, about = arrays.items["signals"], standing(query)
    batch, items = scores.shape[:2]
    at = jnp.arange(batch)[:, None]
    had = jnp.zeros((batch, items), bool).at[at, jnp.where(seen < 0, items, seen)].set(True, mode="drop")
    may = allowed[None, :] & ~had
    is_target = jnp.zeros((batch, items), bool).at[at, jnp.where(targets < 0, items, targets)].set(True, mode="drop")
    if depth < items:  # chosen without a look at what is wanted: else whatever is odd would be wanted
        keys = jnp.concatenate([scores, jnp.broadcast_to(signals[None, :, LOGGED, None], (batch, items, 1))], axis=-1)
        new = signals[None, :, NEW] > 0
        places = jnp.where(new, _best_places(keys, may & new, depth), _best_places(keys, may & ~new, depth))
        order = jnp.argsort(jnp.where(may, places, items), axis=1)[:, :depth]
        scores = jnp.take_along_axis(scores, order[..., None], axis=1)
        signals, may = signals[order], jnp.take_along_axis(may, order, axis=1)
        is_target = jnp.take_along_axis(is_target, order, axis=1)
    else:
        signals = jnp.broadcast_to(signals[None], (batch, *signals.shape))
    there, wanted = jax.lax.top_k((is_target & may).astype(jnp.int32), min(POSITIVES, depth))
    return Lessons(scores, signals, about, wanted.astype(jnp.int32), there > 0, may)


def _best_places(keys: jax.Array, may: jax.Array, depth: int) -> jax.Array:
    """int32 [batch, items]: the best place, from 0, that an item has by any of the keys among those that may be there;
    depth where it is not among the first `depth` by any. keys: float32 [batch, items, keys]; may: bool [batch, items].

    Of two that are equal the first in the catalog comes first."""
    batch, items, _ = keys.shape
    lists = jnp.moveaxis(jnp.where(may[..., None], keys, -jnp.inf), 2, 1)
    _, best = jax.lax.top_k(lists, depth)
    at, places = jnp.arange(batch)[:, None, None], jnp.broadcast_to(jnp.arange(depth), best.shape)
    return jnp.full((batch, items), depth).at[at, best].min(places)
