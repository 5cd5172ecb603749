"""s(u, i) = cos(u, i) / temperature."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


def unit(vectors: Array) -> Array:
    """Rows scaled to length one; a zero row stays zero, with a finite gradient."""
    squared = jnp.square(vectors).sum(axis=-1, keepdims=True)
    return vectors / jnp.sqrt(jnp.where(squared > 0, squared, 1.0))


class Cosine(nn.Module):
    """Cosine over a temperature: users [batch, dim], items [block, dim] -> [batch, block]."""

    temperature: float = 0.1

    @nn.compact
    def __call__(self, users: Array, items: Array) -> Array:
        return unit(users) @ unit(items).T / self.temperature
