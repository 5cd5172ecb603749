"""How well something is rebuilt: one value per example."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def mean_squared_error(
    rebuilt: Float[Array, "batch width"], target: Float[Array, "batch width"]
) -> Float[Array, " batch"]:
    """mean over the width of (x' - x)^2."""
    return jnp.square(rebuilt - target).mean(axis=-1)


def multinomial(logits: Float[Array, "batch items"], counts: Float[Array, "batch items"]) -> Float[Array, " batch"]:
    """-sum_i x_i log softmax(logits)_i / sum_i x_i (arXiv:1802.05814, eq. 2, per event); 0 for no events."""
    log_likelihood = (counts * jax.nn.log_softmax(logits, axis=-1)).sum(axis=-1)
    return -log_likelihood / jnp.maximum(counts.sum(axis=-1), 1.0)


def gaussian_kl(mean: Float[Array, "batch width"], log_variance: Float[Array, "batch width"]) -> Float[Array, " batch"]:
    """KL(N(mean, variance) || N(0, 1)), summed over the width (Kingma and Welling, arXiv:1312.6114, appendix B)."""
    return 0.5 * (jnp.exp(log_variance) + jnp.square(mean) - 1.0 - log_variance).sum(axis=-1)
