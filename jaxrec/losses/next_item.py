"""Softmax over many items at many positions, in one pass that never holds all scores."""

import jax
import jax.numpy as jnp
from jax import Array

LARGEST = 1 << 23  # scores of a chunk: 32 MB of float32


def softmax_against(
    states: Array,
    owns: Array,
    own_bias: Array,
    columns: Array,
    bias: Array,
    rows: Array,
    targets: Array,
    weights: Array,
) -> Array:
    """Weighted sum of softmax cross-entropies, a scalar.

    states: [batch, positions, dim]; owns: [batch, positions, dim], the vectors of the targets; own_bias: [batch,
    positions]; columns: [columns, dim], what the targets are set against; bias: [columns], with minus the logarithm of
    the expected count where columns were drawn (Bengio and Senecal, 2008); rows: int [columns], which items these are,
    for a column that is the target itself does not count twice; targets: int [batch, positions]; weights: [batch,
    positions], 0 where there is no target.

    The gradients are found along with the value, a chunk of the batch at a time: no score is computed twice, and memory
    is bounded by `LARGEST` scores.
    """
    return _summed(states, owns, own_bias, columns, bias, rows, targets, weights)


@jax.custom_vjp
def _summed(states, owns, own_bias, columns, bias, rows, targets, weights):
    return _forward(states, owns, own_bias, columns, bias, rows, targets, weights)[0]


def _forward(states, owns, own_bias, columns, bias, rows, targets, weights):
    batch, positions = targets.shape
    chunks = _chunks(batch, positions * columns.shape[0])

    def split(x: Array) -> Array:
        """[chunks, batch / chunks, ...], strided, so that each device's rows stay on it."""
        return x.reshape(batch // chunks, chunks, *x.shape[1:]).swapaxes(0, 1)

    def merge(x: Array) -> Array:
        return x.swapaxes(0, 1).reshape(batch, *x.shape[2:])

    def one(total, part):
        value, to_columns, to_bias = total
        loss, (d_states, d_owns, d_own_bias, d_columns, d_bias) = _chunk(columns, bias, rows, *part)
        return (value + loss, to_columns + d_columns, to_bias + d_bias), (d_states, d_owns, d_own_bias)

    parts = (states, owns, own_bias, targets, weights)
    if chunks == 1:
        value, (d_states, d_owns, d_own_bias, d_columns, d_bias) = _chunk(columns, bias, rows, *parts)
        return value, (d_states, d_owns, d_own_bias, d_columns, d_bias)
    zeros = (jnp.zeros((), states.dtype), jnp.zeros_like(columns), jnp.zeros_like(bias))
    (value, d_columns, d_bias), found = jax.lax.scan(one, zeros, jax.tree.map(split, parts))
    return value, (*jax.tree.map(merge, found), d_columns, d_bias)


def _backward(residuals, cotangent):
    return (*(cotangent * gradient for gradient in residuals), None, None, None)


_summed.defvjp(_forward, _backward)


def _chunk(columns, bias, rows, states, owns, own_bias, targets, weights):
    """The loss of a chunk, and its gradients with regard to states, owns, own_bias, columns and bias."""
    dim = states.shape[-1]
    flat, own_vectors = states.reshape(-1, dim), owns.reshape(-1, dim)
    target, weight = targets.reshape(-1), weights.reshape(-1)
    own = (flat * own_vectors).sum(-1) + own_bias.reshape(-1)
    scores = jnp.where(rows[None, :] == target[:, None], -jnp.inf, flat @ columns.T + bias[None, :])
    top = jnp.maximum(own, scores.max(-1))
    odds = jnp.exp(scores - top[:, None])
    own_odds = jnp.exp(own - top)
    whole = odds.sum(-1) + own_odds
    loss = jnp.where(weight > 0, weight * (jnp.log(whole) + top - own), 0).sum()
    share = weight / whole
    pull = own_odds * share - weight
    d_states = share[:, None] * (odds @ columns) + pull[:, None] * own_vectors
    d_columns = ((flat * share[:, None]).T @ odds).T
    d_bias = share @ odds
    d_owns = pull[:, None] * flat
    shape = states.shape
    return loss, (d_states.reshape(shape), d_owns.reshape(shape), pull.reshape(shape[:-1]), d_columns, d_bias)


def _chunks(batch: int, scores_each: int) -> int:
    """The least number of equal parts of the batch whose scores fit."""
    fitting = (n for n in range(1, batch + 1) if batch % n == 0 and batch // n * scores_each <= LARGEST)
    return next(fitting, batch)
