"""Several rankers as one: a weighted sum of their scores and of the items' signals."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrec.history_matrix import Held
from jaxrec.hybrid.signals import latest, new_item_signals, standing
from jaxrec.item_axis import map_items, shape_of_items, take_items
from jaxrec.ranker import BEHAVIOUR, POPULARITY, Arrays, PyTree, Query, Ranker, Share

NEW = -1  # the last signal: whether nobody has the item


class Weights(NamedTuple):
    """What is learned: from the asker's standing to the weight of each part and of each signal.

    parts, new_parts: float32 [standing, parts], for all items and on top for those that nobody has; signals: float32
    [standing, signals].
    """

    parts: jax.Array
    new_parts: jax.Array
    signals: jax.Array


class Asker(NamedTuple):
    """parts: what each part knows of the askers. mean, std: float32 [batch, parts], of each part's scores over the
    probe. weights: float32 [batch, parts], new_weights likewise, signal_weights: float32 [batch, signals]."""

    parts: tuple[PyTree, ...]
    mean: jax.Array
    std: jax.Array
    weights: jax.Array
    new_weights: jax.Array
    signal_weights: jax.Array


@dataclass(frozen=True)
class HybridRanker:
    """shared: {"parts": of each store, "weights": Weights, "probe": the items of the stores that scores are
    standardised over, "blank": one row of zeros like the items of each store}. items: {"parts": of each store,
    "signals": float32 [items, signals]}.

    parts: the rankers without their arrays; stores: which store each one's arrays are, since parts may share them.
    shares: what each part is worth, for reports; no part of what is ranked by.
    """

    arrays: Arrays
    parts: tuple[Ranker, ...]
    stores: tuple[int, ...]
    history_length: int
    shares: tuple[Share, ...] = field(default=(), compare=False)

    @property
    def stripped(self) -> "HybridRanker":
        """The same without arrays: what programs are compiled for."""
        return replace(self, arrays=None)

    def asked(self, arrays: Arrays, query: Query) -> tuple[PyTree, ...]:
        """What each part knows of the askers."""
        found: list[PyTree] = []
        for part, store in zip(self.parts, self.stores, strict=True):
            own = Arrays(arrays.shared["parts"][store], arrays.items["parts"][store])
            known = _after(query, found)
            if part.history_length < self.history_length:
                known = latest(known, part.history_length)
            found.append(part.user(own, known))
        return tuple(found)

    def part_scores(self, shared: PyTree, items: PyTree, asked: tuple[PyTree, ...]) -> list[jax.Array]:
        """Each part's own scores, float32 [batch, block]; parts of one store are asked at once, so that it is read
        once."""
        found: dict[int, jax.Array] = {}
        for store in dict.fromkeys(self.stores):
            alike = [p for p, own in enumerate(self.stores) if own == store]
            users, axes = _together([asked[p] for p in alike])
            score = jax.vmap(self.parts[alike[0]].score, in_axes=(None, None, axes))
            scores = score(shared["parts"][store], items[store], users)
            # one product, then what is done with it: see `jaxrec.ranker.products`
            found |= zip(alike, jax.lax.optimization_barrier(scores), strict=True)
        return [found[p] for p in range(len(self.parts))]

    def spread(self, shared: PyTree, asked: tuple[PyTree, ...]) -> tuple[jax.Array, jax.Array]:
        """Mean and standard deviation of each part's scores over the probe, float32 [batch, parts]."""
        scores = self.part_scores(shared, shared["probe"], asked)
        mean, std = (jnp.stack([f(part, axis=1) for part in scores], axis=1) for f in (jnp.mean, jnp.std))
        return mean, std + 1e-6

    def user(self, arrays: Arrays, query: Query) -> Asker:
        asked, weights, about = self.asked(arrays, query), arrays.shared["weights"], standing(query)
        mean, std = self.spread(arrays.shared, asked)
        return Asker(asked, mean, std, about @ weights.parts, about @ weights.new_parts, about @ weights.signals)

    def score(self, shared: PyTree, items: PyTree, user: Asker) -> jax.Array:
        return sum(term for _, term in self._terms(shared, items, user))

    def score_by_source(self, shared: PyTree, items: PyTree, user: Asker) -> dict[str, jax.Array]:
        """By how much each source lifts an item above the mean of the probe: float32 [batch, block] by one of READS."""
        found: dict[str, jax.Array] = {}
        for source, term in self._terms(shared, items, user):
            found[source] = found[source] + term if source in found else term
        return found

    def _terms(self, shared: PyTree, items: PyTree, user: Asker) -> Iterator[tuple[str, jax.Array]]:
        """(what it comes from, float32 [batch, block]) of the signals and of each part; the score is their sum."""
        new = items["signals"][:, NEW][None, :]
        yield POPULARITY, user.signal_weights @ items["signals"].T
        for p, scores in enumerate(self.part_scores(shared, items["parts"], user.parts)):
            standard = (scores - user.mean[:, p, None]) / user.std[:, p, None]
            weight = user.weights[:, p, None] + new * user.new_weights[:, p, None]
            yield getattr(self.parts[p], "reads", BEHAVIOUR), standard * weight

    def embed_items(self, shared: PyTree, text: jax.Array, features: jax.Array) -> PyTree:
        """What `arrays.items` holds, for new items: parts that cannot read content know nothing of them."""
        count, parts = text.shape[0], []

        def repeated(axis: int, leaf: jax.Array) -> jax.Array:
            return jnp.broadcast_to(leaf, shape_of_items(count, axis, leaf))

        for store, (s, blank) in enumerate(zip(shared["parts"], shared["blank"], strict=True)):
            part = self.parts[self.stores.index(store)]
            if hasattr(part, "embed_items"):
                parts.append(part.embed_items(s, text, features))
            else:
                parts.append(map_items(repeated, blank))
        return {"parts": tuple(parts), "signals": new_item_signals(count)}


def _together(users: list[PyTree]) -> tuple[PyTree, PyTree]:
    """(what several parts of one store know of the same askers, stacked; along which axis each leaf is). They ask after
    the same items, weighed in different ways, so that the rows of these are read once."""

    def is_held(leaf: PyTree) -> bool:
        return isinstance(leaf, Held)

    def stacked(*alike: PyTree) -> PyTree:
        if is_held(alike[0]):
            return Held(jnp.stack([one.matrix for one in alike]), alike[0].rows)
        return jnp.stack(alike)

    axes = jax.tree.map(lambda leaf: Held(0, None) if is_held(leaf) else 0, users[0], is_leaf=is_held)
    return jax.tree.map(stacked, *users, is_leaf=is_held), axes


def _after(query: Query, found: list[PyTree]) -> Query:
    """The query, but not before all of these parts have been asked: where two parts solve equations (such as two iALS)
    at the same time in one program, XLA's runtime for few CPU cores can wait for itself for ever. All of them, since
    one that reads no history may be asked before those that stand in front of it."""
    if not found:
        return query
    firsts = jnp.stack([jnp.ravel(jax.tree.leaves(one)[0])[0].astype(jnp.float32) for one in found])
    there = (firsts == firsts).any()  # always so, but XLA cannot know
    return replace(query, history=jnp.where(there, query.history, -1))


def join(rankers: tuple[Ranker, ...], signals: jax.Array, probe: jax.Array, weights: Weights) -> HybridRanker:
    """The blend of fitted rankers. signals: float32 [items, signals]; probe: int32 [any], rows of items that somebody
    has: how a part's scores are spread over them is what its score of an item is measured by."""
    stored = {id(ranker.arrays): ranker.arrays for ranker in rankers}
    items = tuple(arrays.items for arrays in stored.values())
    shared: dict[str, Any] = {
        "parts": tuple(arrays.shared for arrays in stored.values()),
        "weights": weights,
        "probe": take_items(items, probe),
        "blank": jax.tree.map(jnp.zeros_like, take_items(items, slice(1))),
    }
    arrays = Arrays(shared, {"parts": items, "signals": jnp.asarray(signals)})
    length = max(ranker.history_length for ranker in rankers)
    stores = tuple(list(stored).index(id(ranker.arrays)) for ranker in rankers)
    return HybridRanker(arrays, tuple(replace(ranker, arrays=None) for ranker in rankers), stores, length)
