"""What is asked (Query), what can answer it (Ranker), and the one way to rank."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import Array

from jaxrec.item_axis import count_items

PyTree = Any
BEHAVIOUR, CONTENT, FEATURES, POPULARITY, CONTEXT = READS = (
    "behaviour",
    "content",
    "features",
    "popularity",
    "context",
)
"""What a score can come from: who chose what, the items' texts and features, what is known of the asker beside the
history, how much an item is asked for, ever and lately, where and when the request comes from."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Query:
    """All that is known when a recommendation is asked for, for a batch of askers.

    history: int32 [batch, length], item rows, oldest first, -1 where padded (at the end).
    weights: float32 [batch, length], rating or event weight, 0 where padded.
    ages: float32 [batch, length], days between the event and the asking, 0 where padded.
    features: float32 [batch, user features], imputed and standardised; width 0 where there are none.
    text: float32 [batch, text dim], a unit vector, or zeros for "said nothing"; width 0 where there is no text.
    context: float32 [batch, values], see `jaxrec.data.context.Contexts.hot`; None where none is read.
    """

    history: Array
    weights: Array
    ages: Array
    features: Array
    text: Array
    context: Array | None = None


class Arrays(NamedTuple):
    """A ranker's arrays. shared: any pytree. items: a pytree whose every leaf has an axis of items, the one that
    `jaxrec.item_axis` says."""

    shared: PyTree
    items: PyTree


class Ranker(Protocol):
    """Anything that ranks: arrays and two pure functions, trained or closed-form alike.

    `user` may read all items (to look up the history); `score` sees a block of items at a time, so memory is bounded
    whatever the catalog, and rows can be added to `arrays.items` for items that training never saw.

    A ranker may have more, and is asked for it only where it has it: `embed_items`, `user_profile`, `item_profile`;
    reads: one of `READS`, what its scores come from, BEHAVIOUR where it does not say; linear: True where the scores of
    a weighted sum of askers are that sum of their scores; `score_by_source(shared, items, user)`, a dict of float32
    [batch, block] by what is read, whose sum is `score`; and shares: a tuple of `Share`, where it has parts.
    """

    arrays: Arrays
    history_length: int

    def user(self, arrays: Arrays, query: Query) -> PyTree:
        """The asker's side; every leaf has a leading batch axis."""
        ...

    def score(self, shared: PyTree, items: PyTree, user: PyTree) -> Array:
        """Scores float32 [batch, block] of a block of items for each asker."""
        ...


class Share(NamedTuple):
    """What a part of a ranker is worth. alone: the metric that it reaches by itself, None where it cannot rank; adds:
    what the whole loses without it; seconds: of its fit, 0 where another part's fit is its own."""

    part: str
    alone: float | None
    adds: float
    seconds: float


class Ranking(NamedTuple):
    """The best items first. scores: float32 [batch, k]; rows: int32 [batch, k], -1 where fewer than k are allowed."""

    scores: Array
    rows: Array


def is_linear(ranker: Ranker) -> bool:
    """Whether the scores of a weighted sum of askers are that sum of their scores."""
    return getattr(ranker, "linear", False)


def num_items(arrays: Arrays) -> int:
    return count_items(arrays.items)


def products(askers: Array, items: Array) -> Array:
    """askers float32 [batch, dim] times items float32 [block, dim], exact: float32 [batch, block].

    A barrier stands behind it: XLA's CPU backend melts a product of few rows and what is done with it into one loop,
    ten times as slow as the product. The contraction is named, since `items.T` would be written out for a lone asker.
    """
    return jax.lax.optimization_barrier(jnp.einsum("bd,nd->bn", askers, items, precision="highest"))


def score_all(ranker: Ranker, arrays: Arrays, query: Query) -> Array:
    """Scores float32 [batch, items] over the whole catalog."""
    return ranker.score(arrays.shared, arrays.items, ranker.user(arrays, query))


def mask_scores(scores: Array, seen: Array, allowed: Array) -> Array:
    """-inf at what may not be recommended.

    scores: float32 [batch, items]; seen: int32 [batch, any], item rows, -1 for padding; allowed: bool [items].
    """
    items = scores.shape[1]
    batch = jnp.arange(scores.shape[0])[:, None]
    dropped = jnp.zeros(scores.shape, bool).at[batch, jnp.where(seen < 0, items, seen)].set(True, mode="drop")
    return jnp.where(dropped | ~allowed[None, :], -jnp.inf, scores)


def rank(ranker: Ranker, arrays: Arrays, query: Query, seen: Array, allowed: Array, *, k: int) -> Ranking:
    """The k best allowed, unseen items of the catalog for each asker; equal scores keep catalog order.

    Pure; the same function runs in evaluation and in the exported artifact. seen and allowed as in `mask_scores`.
    """
    scores, rows = jax.lax.top_k(mask_scores(score_all(ranker, arrays, query), seen, allowed), k)
    return Ranking(scores, jnp.where(jnp.isneginf(scores), -1, rows).astype(jnp.int32))
