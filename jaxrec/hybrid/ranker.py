"""Several rankers as one: a weighted sum of their scores and of the items' signals."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.history_matrix import Held
from jaxrec.hybrid.signals import LOGGED, NAMES, NEW, latest, new_item_signals, standing
from jaxrec.hybrid.spread import moments, probe_items
from jaxrec.item_axis import map_items, shape_of_items, take_items
from jaxrec.ranker import BEHAVIOUR, CONTENT, POPULARITY, Arrays, PyTree, Query, Ranker, Share, is_linear


class Weights(NamedTuple):
    """What is learned: from the asker's standing to the weight of each part and of each signal.

    parts, new_parts: float32 [standing, parts], for all items and on top for those that nobody has; signals: float32
    [standing, signals].
    """

    parts: jax.Array
    new_parts: jax.Array
    signals: jax.Array


class Asker(NamedTuple):
    """stores: of each store what its parts know of the askers, weighed and summed where it is summed, else a tuple of
    each. scale: float32 [batch, parts], what a part's score counts by its weight and the spread of its scores; zero:
    float32 [batch, stores], what a store's parts count where their scores are 0; new_scale, new_zero: what comes on top
    for items that nobody has. signal_weights: float32 [batch, signals]."""

    stores: tuple[PyTree, ...]
    scale: jax.Array
    new_scale: jax.Array
    zero: jax.Array
    new_zero: jax.Array
    signal_weights: jax.Array


@dataclass(frozen=True)
class HybridRanker:
    """shared: {"parts": of each store, "weights": Weights, "probe": of each store the `probe_items` that scores are
    standardised by, "blank": one row of zeros like the items of each store}. items: {"parts": of each store, "signals":
    float32 [items, signals]}.

    parts: the rankers without their arrays; stores: which store each one's arrays are, since parts may share them.
    summed: of each store whether its askers are weighed and summed before it is asked: once, however many its parts.
    shares: what each part is worth, for reports; no part of what is ranked by.
    """

    arrays: Arrays
    parts: tuple[Ranker, ...]
    stores: tuple[int, ...]
    summed: tuple[bool, ...]
    history_length: int
    shares: tuple[Share, ...] = field(default=(), compare=False)

    @property
    def stripped(self) -> "HybridRanker":
        """The same without arrays: what programs are compiled for."""
        return replace(self, arrays=None)

    def asked(self, arrays: Arrays, query: Query) -> tuple[PyTree, ...]:
        """What each part knows of the askers; linear ones solve nothing, and need not wait for the others."""
        found: list[PyTree] = []
        before: list[PyTree] = []
        for part, store in zip(self.parts, self.stores, strict=True):
            own = Arrays(arrays.shared["parts"][store], arrays.items["parts"][store])
            known = query if is_linear(part) else _after(query, before)
            if part.history_length < self.history_length:
                known = latest(known, part.history_length)
            found.append(part.user(own, known))
            if not is_linear(part):
                before.append(found[-1])
        return tuple(found)

    @property
    def alike(self) -> list[list[int]]:
        """The parts of each store."""
        return [[p for p, own in enumerate(self.stores) if own == store] for store in range(len(self.summed))]

    def part_scores(self, shared: PyTree, items: PyTree, asked: tuple[PyTree, ...]) -> list[jax.Array]:
        """Each part's own scores, float32 [batch, block]; parts of one store are asked at once, so that it is read
        once."""
        found: dict[int, jax.Array] = {}
        for store, alike in enumerate(self.alike):
            scores = self._scores_of(store, shared, items, tuple(asked[p] for p in alike))
            found |= zip(alike, scores, strict=True)
        return [found[p] for p in range(len(self.parts))]

    def _scores_of(self, store: int, shared: PyTree, items: PyTree, asked: tuple[PyTree, ...]) -> jax.Array:
        """Of the parts of one store, float32 [parts, batch, block]."""
        users, axes = _together(asked)
        score = jax.vmap(self.parts[self.stores.index(store)].score, in_axes=(None, None, axes))
        # one product, then what is done with it: see `jaxrec.ranker.products`
        return jax.lax.optimization_barrier(score(shared["parts"][store], items[store], users))

    def spread(self, shared: PyTree, asked: tuple[PyTree, ...]) -> tuple[jax.Array, jax.Array]:
        """Mean and standard deviation of each part's scores over the probe, float32 [batch, parts]."""
        probe = shared["probe"]
        of_parts = zip(self.stores, self.part_scores(shared, probe, asked), strict=True)
        mean, std = zip(*(moments(probe[store], scores) for store, scores in of_parts), strict=True)
        return jnp.stack(mean, axis=1), jnp.stack(std, axis=1) + 1e-6

    def user(self, arrays: Arrays, query: Query) -> Asker:
        asked, weights, about = self.asked(arrays, query), arrays.shared["weights"], standing(query)
        mean, std = self.spread(arrays.shared, asked)
        scale, new_scale = about @ weights.parts / std, about @ weights.new_parts / std

        def zero(scale: jax.Array) -> jax.Array:
            return jnp.stack([-(scale * mean)[:, alike].sum(axis=1) for alike in map(np.array, self.alike)], axis=1)

        stores = []
        for alike, summed in zip(self.alike, self.summed, strict=True):
            known = tuple(asked[p] for p in alike)
            stores.append(_summed(known, scale[:, np.array(alike)]) if summed else known)
        return Asker(tuple(stores), scale, new_scale, zero(scale), zero(new_scale), about @ weights.signals)

    def score(self, shared: PyTree, items: PyTree, user: Asker) -> jax.Array:
        return sum(term for _, term in self._terms(shared, items, user))

    def score_by_source(self, shared: PyTree, items: PyTree, user: Asker) -> dict[str, jax.Array]:
        """By how much each source lifts an item above the mean of the probe: float32 [batch, block] by one of READS."""
        found: dict[str, jax.Array] = {}
        for source, term in self._terms(shared, items, user):
            found[source] = found[source] + term if source in found else term
        return found

    def _terms(self, shared: PyTree, items: PyTree, user: Asker) -> Iterator[tuple[str, jax.Array]]:
        """(what it comes from, float32 [batch, block]) of the signals and of each store; the score is their sum."""
        new = items["signals"][:, NEW][None, :]
        if items["signals"].shape[1] > len(NAMES):
            yield CONTENT, user.signal_weights[:, :LOGGED] @ items["signals"][:, :LOGGED].T
        yield POPULARITY, user.signal_weights[:, LOGGED:] @ items["signals"][:, LOGGED:].T
        for store, (alike, known) in enumerate(zip(self.alike, user.stores, strict=True)):
            part = self.parts[alike[0]]
            total = user.zero[:, store, None] + new * user.new_zero[:, store, None]
            if self.summed[store]:  # nothing of items that nobody has: what is added for them is in `new_zero`
                total = total + part.score(shared["parts"][store], items["parts"][store], known)
            else:
                for p, scores in zip(alike, self._scores_of(store, shared, items["parts"], known), strict=True):
                    total = total + scores * (user.scale[:, p, None] + new * user.new_scale[:, p, None])
            yield getattr(part, "reads", BEHAVIOUR), total

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
        return {"parts": tuple(parts), "signals": new_item_signals(count, shared["weights"].signals.shape[1])}


def _is_held(leaf: PyTree) -> bool:
    return isinstance(leaf, Held)


def _summed(users: tuple[PyTree, ...], scale: jax.Array) -> PyTree:
    """What several parts of one store know of the same askers, each weighed by a column of scale, float32 [batch,
    parts]: of a ranker that is linear in the asker."""

    def total(*alike: PyTree) -> PyTree:
        leaves = [one.matrix if _is_held(one) else one for one in alike]
        sums = sum(leaf * scale[:, p, None] for p, leaf in enumerate(leaves))
        return Held(sums, alike[0].rows) if _is_held(alike[0]) else sums

    return jax.tree.map(total, *users, is_leaf=_is_held)


def _together(users: tuple[PyTree, ...]) -> tuple[PyTree, PyTree]:
    """(what several parts of one store know of the same askers, stacked; along which axis each leaf is). They ask after
    the same items, weighed in different ways, so that the rows of these are read once."""

    def stacked(*alike: PyTree) -> PyTree:
        if _is_held(alike[0]):
            return Held(jnp.stack([one.matrix for one in alike]), alike[0].rows)
        return jnp.stack(alike)

    axes = jax.tree.map(lambda leaf: Held(0, None) if _is_held(leaf) else 0, users[0], is_leaf=_is_held)
    return jax.tree.map(stacked, *users, is_leaf=_is_held), axes


def _after(query: Query, found: list[PyTree]) -> Query:
    """The query, but not before all of these parts have been asked: where two parts solve equations (such as two iALS)
    at the same time in one program, XLA's runtime for few CPU cores can wait for itself for ever. All of these, since
    one that reads no history may be asked before those that stand in front of it."""
    if not found:
        return query
    firsts = jnp.stack([jnp.ravel(jax.tree.leaves(one)[0])[0].astype(jnp.float32) for one in found])
    there = (firsts == firsts).any()  # always so, but XLA cannot know
    return replace(query, history=jnp.where(there, query.history, -1))


def join(rankers: tuple[Ranker, ...], signals: jax.Array, probe: jax.Array, weights: Weights) -> HybridRanker:
    """The blend of fitted rankers. signals: float32 [items, signals], those of the items' numbers first; probe: int32
    [any], rows of items that somebody has: how a part's scores are spread over them is what its score of an item is
    measured by."""
    stored = {id(ranker.arrays): ranker.arrays for ranker in rankers}
    items = tuple(arrays.items for arrays in stored.values())
    shared: dict[str, Any] = {
        "parts": tuple(arrays.shared for arrays in stored.values()),
        "weights": weights,
        "probe": tuple(probe_items(of_store, probe) for of_store in items),
        "blank": jax.tree.map(jnp.zeros_like, take_items(items, slice(1))),
    }
    arrays = Arrays(shared, {"parts": items, "signals": jnp.asarray(signals)})
    length = max(ranker.history_length for ranker in rankers)
    stores = tuple(list(stored).index(id(ranker.arrays)) for ranker in rankers)
    new = np.flatnonzero(np.asarray(signals)[:, NEW])
    summed = tuple(_may_be_summed(rankers[stores.index(store)], new) for store in range(len(stored)))
    return HybridRanker(arrays, tuple(replace(ranker, arrays=None) for ranker in rankers), stores, summed, length)


def _may_be_summed(ranker: Ranker, new: np.ndarray) -> bool:
    """Whether what it scores is linear in the asker, and 0 for items that nobody has, which weigh otherwise.

    new: rows of these; later ones are blank."""
    if not is_linear(ranker) or hasattr(ranker, "embed_items"):
        return False
    return not any(bool(leaf.any()) for leaf in jax.tree.leaves(take_items(ranker.arrays.items, new)))
