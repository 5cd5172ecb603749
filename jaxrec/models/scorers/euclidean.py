"""s(u, i) = -|u - i|^2."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


class Euclidean(nn.Module):
    """Negative squared distance: users [batch, dim], items [block, dim] -> [batch, block]."""

    @nn.compact
    def __call__(self, users: Array, items: Array) -> Array:
        lengths = jnp.square(users).sum(axis=-1)[:, None] + jnp.square(items).sum(axis=-1)[None, :]
        return 2.0 * users @ items.T - lengths
