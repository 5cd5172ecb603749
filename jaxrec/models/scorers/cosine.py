"""s(u, i) = cos(u, i) / temperature."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


def unit(vectors: Array) -> Array:
    """Rows scaled to length one; a zero row stays zero."""
    return vectors / jnp.maximum(jnp.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)


class Cosine(nn.Module):
    """Cosine over a temperature: users [batch, dim], items [block, dim] -> [batch, block]."""

    temperature: float = 0.1

    @nn.compact
    def __call__(self, users: Array, items: Array) -> Array:
        return unit(users) @ unit(items).T / self.temperature
