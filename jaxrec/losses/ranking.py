"""Ranking losses over scores: one value per example (an asker with one or more positives)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

MASKED = -1e9  # finite, so that a row with nothing left has a finite gradient


def _mean_over_targets(
    values: Float[Array, "batch targets"], weights: Float[Array, "batch targets"]
) -> Float[Array, " batch"]:
    return (values * weights).sum(axis=-1) / jnp.maximum(weights.sum(axis=-1), 1e-6)


def holds(own: Int[Array, "batch some"], rows: Int[Array, " rows"]) -> Bool[Array, "batch rows"]:
    """Whether each asker's own items (-1 where padded) are the item of each column; by search, so that no array of
    [batch, some, rows] is made."""
    ordered = jnp.sort(rows)
    place = jnp.minimum(jnp.searchsorted(ordered, own), rows.shape[0] - 1)
    found = (own >= 0) & (ordered[place] == own)
    asker = jnp.arange(own.shape[0])[:, None]
    marked = jnp.zeros((own.shape[0], rows.shape[0]), bool)
    marked = marked.at[asker, jnp.where(found, place, rows.shape[0])].set(True, mode="drop")
    return marked[:, jnp.searchsorted(ordered, rows)]


def full_softmax(
    scores: Float[Array, "batch items"],
    targets: Int[Array, "batch targets"],
    weights: Float[Array, "batch targets"],
    excluded: Bool[Array, "batch items"],
) -> Float[Array, " batch"]:
    """-log softmax(scores) at the targets, over the whole catalog but what is excluded (weighted mean over targets).

    A target is -1 with weight 0 where padded. With weights 1 this is the multinomial likelihood of Liang et al.,
    arXiv:1802.05814, eq. 2, per event.
    """
    log_likelihood = jax.nn.log_softmax(jnp.where(excluded, MASKED, scores), axis=-1)
    picked = jnp.take_along_axis(log_likelihood, jnp.maximum(targets, 0), axis=-1)
    return _mean_over_targets(-picked, weights)


def in_batch_softmax(
    scores: Float[Array, "batch rows"],
    own: Int[Array, "batch targets"],
    weights: Float[Array, "batch targets"],
    is_negative: Bool[Array, "batch rows"],
    log_count: Float[Array, "batch rows"],
) -> Float[Array, " batch"]:
    """Sampled softmax over the batch's own items with log-q correction (Yi et al., RecSys 2019).

    own: the column of each target. log_count: log of how many columns would hold the column's item on average, if all
    columns but the asker's own were drawn from the log: so the negatives estimate their sum over the catalog without
    bias. The target itself is no draw and is not corrected (Khrylchenko et al., RecSys 2025, arXiv:2507.09331).
    log_count = 0 is the plain softmax over the columns.
    """
    negatives = jax.nn.logsumexp(jnp.where(is_negative, scores - log_count, MASKED), axis=-1)
    picked = jnp.take_along_axis(scores, own, axis=-1)
    return _mean_over_targets(jnp.logaddexp(picked, negatives[:, None]) - picked, weights)


def bpr(
    positive: Float[Array, "batch targets"],
    negative: Float[Array, "batch negatives"],
    weights: Float[Array, "batch targets"],
    is_negative: Bool[Array, "batch negatives"],
) -> Float[Array, " batch"]:
    """-log sigmoid(s_pos - s_neg), mean over true negatives and targets (Rendle et al., UAI 2009, arXiv:1205.2618)."""
    pairs = jax.nn.softplus(negative[:, None, :] - positive[:, :, None])
    share = is_negative / jnp.maximum(is_negative.sum(axis=-1, keepdims=True), 1)
    return _mean_over_targets((pairs * share[:, None, :]).sum(axis=-1), weights)


def binary_cross_entropy(
    positive: Float[Array, "batch targets"],
    negative: Float[Array, "batch negatives"],
    weights: Float[Array, "batch targets"],
    is_negative: Bool[Array, "batch negatives"],
) -> Float[Array, " batch"]:
    """-log sigmoid(s_pos) - mean over true negatives of log(1 - sigmoid(s_neg)) (arXiv:1708.05031, eq. 7)."""
    share = is_negative / jnp.maximum(is_negative.sum(axis=-1, keepdims=True), 1)
    against = (jax.nn.softplus(negative) * share).sum(axis=-1)
    return _mean_over_targets(jax.nn.softplus(-positive), weights) + against
