"""The weights of a blend: those that bring what was chosen to the top of the list."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxrec.hybrid.lessons import Lessons, some_users
from jaxrec.hybrid.ranker import Weights
from jaxrec.hybrid.signals import NEW

LIST = 10  # the length of list that is optimised
SOFTNESS = 0.2  # of the comparison of two scores, in standard deviations of a part's scores
STEPS, FURTHER = 100, 30  # optimizer steps
RATE = 0.05
STRENGTHS = (0.3, 3.0, 30.0)  # of regularisation, beside one user, among which held-out users choose
PAIRS = 1_024  # the number of positives is rounded up to a multiple, so that few programs are compiled
PARTS_OF_USERS = 4
USERS_THAT_CHOOSE = 1_000
PULL = 100.0  # beside one user, of weights for NDCG towards those of the softmax
BY_STANDING = 10.0  # times as strong for weights that change with the asker: each speaks of fewer users


class Learned(NamedTuple):
    """weights: learned from all users. strength: of regularisation, and gain: mean NDCG@10 of users that the weights
    were not learned from, at that strength."""

    weights: Weights
    strength: float
    gain: float


def blended(weights: Weights, lessons: Lessons) -> jax.Array:
    """float32 [users, candidates]; what `HybridRanker.score` computes, -inf where not allowed."""
    per_part, per_new = lessons.standing @ weights.parts, lessons.standing @ weights.new_parts
    new = lessons.signals[..., NEW]
    total = jnp.einsum("ucp,up->uc", lessons.parts, per_part)
    total = total + new * jnp.einsum("ucp,up->uc", lessons.parts, per_new)
    total = total + jnp.einsum("ucs,us->uc", lessons.signals, lessons.standing @ weights.signals)
    return jnp.where(lessons.allowed, total, -jnp.inf)


def ndcg(weights: Weights, lessons: Lessons, balance: float | None = None) -> jax.Array:
    """NDCG@10 of each user, float32 [users], of the positives that are learned from; balance: see `learn`."""
    scores = blended(weights, lessons)
    chosen = jnp.take_along_axis(scores, lessons.wanted, axis=1)
    better = (scores[:, None, :] > chosen[:, :, None]).sum(axis=-1)
    return _gain(1.0 + better, jnp.where(lessons.there & (better < LIST), 1.0, 0.0), lessons, balance)


def _gain(ranks: jax.Array, counted: jax.Array, lessons: Lessons, balance: float | None) -> jax.Array:
    discounted = counted / jnp.log2(1.0 + ranks)
    ideals = jnp.cumsum(1.0 / jnp.log2(jnp.arange(LIST) + 2.0))

    def gain(those: jax.Array) -> jax.Array:
        ideal = ideals[jnp.clip(those.sum(axis=1), 1, LIST) - 1]
        return jnp.where(those, discounted, 0.0).sum(axis=1) / ideal

    return _balanced(gain, lessons, balance)


def _balanced(of: Callable[[jax.Array], jax.Array], lessons: Lessons, balance: float | None) -> jax.Array:
    """float32 [users], what is said of positives (bool, as `Lessons.there`): of all, or of each kind by its share."""
    if balance is None:
        return of(lessons.there)
    new = jnp.take_along_axis(lessons.signals[..., NEW], lessons.wanted, axis=1) > 0
    return (1.0 - balance) * of(lessons.there & ~new) + balance * of(lessons.there & new)


def _smooth(weights: Weights, lessons: Lessons, balance: float | None, pairs: int) -> jax.Array:
    """NDCG@10 with smooth ranks: rank_i = 1 + sum over j of sigmoid((s_j - s_i) / softness) (Qin, Liu and Li,
    Information Retrieval 2010), and a smooth end of the list. pairs: at least as many as there are positives; most
    users have few, and only these are compared."""
    scores = jnp.where(lessons.allowed, blended(weights, lessons), -1e9)
    chosen = jnp.take_along_axis(scores, lessons.wanted, axis=1)
    (at,) = jnp.nonzero(lessons.there.ravel(), size=pairs, fill_value=lessons.there.size)
    rivals = scores.at[at // lessons.there.shape[1]].get(mode="clip", indices_are_sorted=True)
    own = chosen.ravel().at[at].get(mode="clip")
    ranked = 0.5 + jax.nn.sigmoid((rivals - own[:, None]) / SOFTNESS).sum(axis=-1)
    ranks = jnp.ones(chosen.size).at[at].set(ranked, mode="drop").reshape(chosen.shape)
    return _gain(ranks, jnp.where(lessons.there, jax.nn.sigmoid(LIST + 0.5 - ranks), 0.0), lessons, balance)


def _likelihood(weights: Weights, lessons: Lessons, balance: float | None) -> jax.Array:
    """Mean log share of the softmax that each of the positives has."""
    scores = jnp.where(lessons.allowed, blended(weights, lessons), -1e9)
    chosen = jnp.take_along_axis(scores, lessons.wanted, axis=1) - jax.nn.logsumexp(scores, axis=1, keepdims=True)

    def mean(those: jax.Array) -> jax.Array:
        return jnp.where(those, chosen, 0.0).sum(axis=1) / jnp.maximum(those.sum(axis=1), 1)

    return _balanced(mean, lessons, balance)


def fit(lessons: Lessons, counted: jax.Array, strength: float, balance: float | None) -> Weights:
    """Weights learned from nothing. counted: float32 [users], 0 leaves a user out. strength: of regularisation, beside
    one user."""
    parts, signals, about = lessons.parts.shape[-1], lessons.signals.shape[-1], lessons.standing.shape[-1]
    start = jnp.zeros((about, parts)).at[0].set(1.0 / parts)
    weights = Weights(start, jnp.zeros((about, parts)), jnp.zeros((about, signals)))
    return _taught(weights, lessons, counted, strength, steps=STEPS, balance=balance, pairs=_pairs(lessons))


def fit_further(
    weights: Weights, lessons: Lessons, counted: jax.Array, strength: float, balance: float | None
) -> Weights:
    """Weights that were learned from other scores, brought to these by a few steps."""
    return _taught(weights, lessons, counted, strength, steps=FURTHER, balance=balance, pairs=_pairs(lessons))


def _pairs(lessons: Lessons) -> int:
    """How many positives there are, rounded up."""
    return max(1, -(-int(np.asarray(lessons.there).sum()) // PAIRS)) * PAIRS


@partial(jax.jit, static_argnames=("steps", "balance", "pairs"))
def _taught(
    weights: Weights,
    lessons: Lessons,
    counted: jax.Array,
    strength: jax.Array,
    *,
    steps: int,
    balance: float | None,
    pairs: int,
) -> Weights:
    """By softmax first, whose slopes reach everywhere, pulled to nothing; then by smooth NDCG, pulled to what the
    softmax found: alone it clings to the few items at the top of these users' lists, which are others tomorrow."""
    nothing, smooth = jax.tree.map(jnp.zeros_like, weights), partial(_smooth, pairs=pairs)
    weights = _descended(weights, nothing, _likelihood, steps, lessons, counted, strength, balance)
    return _descended(weights, weights, smooth, steps, lessons, counted, PULL, balance)


def _descended(
    weights: Weights,
    home: Weights,
    of: Callable[[Weights, Lessons, float | None], jax.Array],
    steps: int,
    lessons: Lessons,
    counted: jax.Array,
    strength: jax.Array | float,
    balance: float | None,
) -> Weights:
    """home: where the weights are pulled to."""
    optimizer = optax.adam(optax.cosine_decay_schedule(RATE, steps))

    def cost(weights: Weights) -> jax.Array:
        mean = (of(weights, lessons, balance) * counted).sum() / jnp.maximum(counted.sum(), 1.0)
        away = jax.tree.map(jnp.subtract, weights, home)
        size = sum(jnp.square(leaf[0]).sum() + BY_STANDING * jnp.square(leaf[1:]).sum() for leaf in away)
        return strength * size / jnp.maximum(counted.sum(), 1.0) - mean

    def step(carry, _):
        weights, state = carry
        updates, state = optimizer.update(jax.grad(cost)(weights), state)
        return (optax.apply_updates(weights, updates), state), None

    (weights, _), _ = jax.lax.scan(step, (weights, optimizer.init(weights)), None, length=steps)
    return weights


judge = jax.jit(ndcg, static_argnames="balance")


def learn(lessons: Lessons, *, seed: int, balance: float | None = None) -> Learned:
    """The weights, at the strongest regularisation that users whom they were not learned from do not tell from the
    best: worse by no more than the standard error (Breiman et al., Classification and Regression Trees, 1984).

    balance: None for NDCG as it is; else (1 - balance) NDCG of items that somebody has + balance NDCG of new ones, each
    beside its own ideal list.
    """
    lessons, few = jax.device_put(lessons), jax.device_put(some_users(lessons, USERS_THAT_CHOOSE, seed))
    part = np.arange(len(few.standing)) % PARTS_OF_USERS
    found = []
    for strength in STRENGTHS:
        values = np.zeros(len(part))
        for left_out in range(PARTS_OF_USERS):
            weights = fit(few, jnp.asarray(part != left_out, jnp.float32), strength, balance)
            values[part == left_out] = np.asarray(judge(weights, few, balance))[part == left_out]
        found.append(values)
    gains = np.stack(found)
    short = gains[gains.mean(axis=1).argmax()] - gains
    chosen = int(np.flatnonzero(short.mean(axis=1) <= short.std(axis=1) / np.sqrt(len(part)))[-1])
    weights = fit(lessons, jnp.ones(len(lessons.standing)), STRENGTHS[chosen], balance)
    return Learned(weights, STRENGTHS[chosen], float(gains[chosen].mean()))
