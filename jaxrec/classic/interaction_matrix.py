"""The user by item matrix of ones and zeros that the classic rankers share; never held whole."""

from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data.interactions import Interactions, distinct_pairs
from jaxrec.data.training import TrainingData
from jaxrec.method import Method, Ranges, at_least

USERS_TIMES_ITEMS = 2**25  # cells of the matrix held at once while counting: 128 MB
PAIRS_AT_ONCE = 2**22
SLOWER = 500  # one scattered addition takes as long as so many multiplications in a matrix product
RECENCY: Ranges = {"tau": (None, 4.0, 8.0, 16.0, 32.0), "base": (0.05, 0.1, 0.2)}
ASKING = tuple(RECENCY)  # of no account until somebody asks: fits that differ in nothing else are one


def inert_recency(method: Method) -> frozenset[str]:
    """`Method.inert` where RECENCY is all that may be of no account: events weigh alike whatever `base` is."""
    return frozenset({"base"} if method.tau is None else ())


def item_counts(interactions: Interactions, num_items: int) -> np.ndarray:
    """How many users have each item, int64 [items]."""
    return np.bincount(distinct_pairs(interactions, num_items)[1], minlength=num_items)


def rarity(counts: np.ndarray, number: int) -> np.ndarray:
    """ln(number / (1 + count))^2, float64 like counts: the square of the inverse document frequency of TF-IDF, where
    `number` documents were counted."""
    return np.log(number / (1.0 + counts)) ** 2


def history_length_of(method: Method, interactions: Interactions) -> int:
    """How many events its ranker reads: as it says, or room for all. Raises UserError for a length below 1, and for
    events that weigh by a tau not above 0."""
    at_least(method, history_length=1, **{"tau": 1e-3} if hasattr(method, "tau") else {})
    return method.history_length or roomy_history_length(interactions)


def roomy_history_length(interactions: Interactions) -> int:
    """Half as much again as the longest history, rounded up to a power of two: room for all that is known of a user,
    later events included."""
    longest = np.bincount(interactions.user_rows).max() if len(interactions) else 1
    return 1 << int(np.ceil(np.log2(max(1.5 * longest, 1))))


def cooccurrence(
    pairs: tuple[np.ndarray, np.ndarray],
    num_users: int,
    num_items: int,
    start: int = 0,
    size: int | None = None,
    user_weights: np.ndarray | None = None,
) -> jax.Array:
    """How many users have both items: rows [start, start + size) of X^T W X, float32 [size, items], exact to 2^24.

    pairs: from `distinct_pairs`. W: diagonal, user_weights float32 [users], or None for ones. X is built for a block of
    users at a time, on the device; where the catalog is large and histories are short, the pairs of items that users
    have are counted one by one instead: the sums are the same.
    """
    size = num_items if size is None else size
    counts = jnp.zeros((size, num_items), jnp.float32)
    lengths = np.bincount(pairs[0], minlength=num_users).astype(np.float64)
    if SLOWER * np.square(lengths).sum() < num_users * float(num_items) ** 2:
        for ours, theirs, users in _item_pairs(pairs, lengths.astype(np.int64), start, size):
            counts = add_pairs(counts, ours, theirs, 1.0 if user_weights is None else user_weights[users])
        return counts
    users = max(1, min(num_users, USERS_TIMES_ITEMS // num_items))
    roots = np.sqrt(np.ones(len(pairs[0])) if user_weights is None else user_weights[pairs[0]])
    for block in _user_blocks(pairs, roots.astype(np.float32), num_users, users):
        counts = _add_block(counts, *block, start, users=users)
    return counts


def all_cooccurrence(data: TrainingData) -> jax.Array:
    """X^T X of all that is trained on, float32 [items, items], counted once for all who ask."""
    users, items = data.dataset.num_users, data.dataset.num_items
    return data.once("cooccurrence", lambda: cooccurrence(distinct_pairs(data.train, items), users, items))


def _item_pairs(
    pairs: tuple[np.ndarray, np.ndarray], lengths: np.ndarray, start: int, size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(item row - start, item row, user row) of all pairs of items of each user whose first is in the block, int32
    [some]; padded with (size, 0, 0), which is outside of the counts."""
    user_rows, item_rows = pairs
    here = np.flatnonzero((item_rows >= start) & (item_rows < start + size))
    begins = np.concatenate([[0], np.cumsum(lengths)])
    ends = np.cumsum(lengths[user_rows[here]])
    total = int(ends[-1]) if len(ends) else 0
    width = min(PAIRS_AT_ONCE, 1 << total.bit_length())
    for low in range(0, total, width):
        at = np.arange(low, min(low + width, total))
        row = np.searchsorted(ends, at, side="right")
        users = user_rows[here[row]]
        second = item_rows[begins[users] + at - (ends[row] - lengths[users])]
        pad = (0, width - len(at))
        first = np.pad(item_rows[here[row]] - start, pad, constant_values=size)
        yield first.astype(np.int32), np.pad(second, pad).astype(np.int32), np.pad(users, pad)


def _user_blocks(
    pairs: tuple[np.ndarray, np.ndarray], values: np.ndarray, num_users: int, users: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(user rows, item rows, values) of the pairs of `users` users at a time, user rows counted from the block's first;
    padded to one length with the user row `users`, which is outside of the block."""
    user_rows, item_rows = pairs
    starts = np.arange(0, num_users, users)
    ends = np.searchsorted(user_rows, np.append(starts, num_users))
    width = int(np.diff(ends).max(initial=1))
    for first, low, high in zip(starts, ends[:-1], ends[1:], strict=True):
        pad = (0, width - (high - low))
        yield (
            np.pad(user_rows[low:high] - first, pad, constant_values=users).astype(np.int32),
            np.pad(item_rows[low:high], pad),
            np.pad(values[low:high], pad),
        )


@partial(jax.jit, donate_argnums=0)
def add_pairs(counts: jax.Array, ours: jax.Array, theirs: jax.Array, weights: jax.Array) -> jax.Array:
    """counts, given away, with weights added at [ours, theirs]; what lies outside is left out."""
    return counts.at[ours, theirs].add(weights, mode="drop")


@partial(jax.jit, static_argnames="users", donate_argnums=0)
def _add_block(
    counts: jax.Array, user_rows: jax.Array, item_rows: jax.Array, values: jax.Array, start: jax.Array, *, users: int
) -> jax.Array:
    matrix = jnp.zeros((users, counts.shape[1]), jnp.float32).at[user_rows, item_rows].set(values, mode="drop")
    some = jax.lax.dynamic_slice_in_dim(matrix, start, counts.shape[0], axis=1)
    return counts + jnp.matmul(some.T, matrix, precision="highest")
