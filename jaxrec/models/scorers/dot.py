"""s(u, i) = <u, i>."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


class Dot(nn.Module):
    """Inner product: users [batch, dim], items [block, dim] -> [batch, block].

    dtype: of the factors, "float32" or "bfloat16"; sums are float32.
    """

    dtype: str = "float32"

    @nn.compact
    def __call__(self, users: Array, items: Array) -> Array:
        return jnp.matmul(users.astype(self.dtype), items.T.astype(self.dtype), preferred_element_type=jnp.float32)
