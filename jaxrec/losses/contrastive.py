"""How well each of two views of a thing finds the other among those of other things: one value per example."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

SAME = 1e-6  # of a cosine's distance to 1: the same thing again, which is no negative


def info_nce(
    views: Float[Array, "batch dim"],
    others: Float[Array, "batch dim"],
    there: Bool[Array, " batch"],
    temperature: float,
) -> Float[Array, " batch"]:
    """-log(exp(s_ii) / sum_j exp(s_ij)), s the cosine over the temperature, j over the rows that are there and hold
    another thing than i (van den Oord et al., arXiv:1807.03748, eq. 4); 0 for a row that is not there.

    views: of each thing; others: the other view of the same. Rows of `others` that are equal are one thing.
    """
    views, others = (x * jax.lax.rsqrt(jnp.square(x).sum(axis=-1, keepdims=True) + 1e-12) for x in (views, others))
    again = (others @ others.T > 1.0 - SAME) & ~jnp.eye(len(views), dtype=bool)
    logits = jnp.where(there[None, :] & ~again, views @ others.T / temperature, -1e9)
    return jnp.where(there, jax.nn.logsumexp(logits, axis=1) - jnp.diagonal(logits), 0.0)
