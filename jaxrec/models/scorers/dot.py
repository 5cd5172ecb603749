"""s(u, i) = <u, i>."""

import flax.linen as nn
from jax import Array


class Dot(nn.Module):
    """Inner product: users [batch, dim], items [block, dim] -> [batch, block]."""

    @nn.compact
    def __call__(self, users: Array, items: Array) -> Array:
        return users @ items.T
