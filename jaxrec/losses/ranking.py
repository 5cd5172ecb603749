"""Ranking losses over scores: one value per example (an asker with one or more positives)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

MASKED = -1e9  # finite, so that a row with nothing left has a finite gradient


def _mean_over_targets(
    values: Float[Array, "batch targets"], weights: Float[Array, "batch targets"]
) -> Float[Array, " batch"]:
    return (values * weights).sum(axis=-1) / jnp.maximum(weights.sum(axis=-1), 1e-6)


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
    rows: Int[Array, " rows"],
    log_q: Float[Array, " rows"],
    positives: Int[Array, "batch targets"],
    weights: Float[Array, "batch targets"],
    own: Int[Array, "batch targets"],
) -> Float[Array, " batch"]:
    """Sampled softmax over the batch's own items with log-q correction (Yi et al., RecSys 2019, eq. 4-5).

    rows: the item of each column, log_q: log of its chance to stand in a batch. positives: each asker's target items
    (-1 padded); own: the column of each target. Columns that hold another copy of one's own positive are no negatives.
    """
    corrected = scores - log_q[None, :]
    is_positive = (rows[None, None, :] == positives[:, :, None]).any(axis=1) | (rows < 0)[None, :]
    negatives = jax.nn.logsumexp(jnp.where(is_positive, MASKED, corrected), axis=-1)
    picked = jnp.take_along_axis(corrected, own, axis=-1)
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
