"""s(u, i) = w . relu(W [u, i] + b) (He et al., "Neural Collaborative Filtering", arXiv:1708.05031)."""

import flax.linen as nn
from jax import Array


class Mlp(nn.Module):
    """A learned interaction: users [batch, dim], items [block, dim] -> [batch, block].

    The first layer is split into a user part and an item part, so each is computed once and only their sum is formed
    per pair; memory is batch * block * hidden.
    """

    hidden: int = 64

    @nn.compact
    def __call__(self, users: Array, items: Array) -> Array:
        left = nn.Dense(self.hidden, name="user")(users)
        right = nn.Dense(self.hidden, use_bias=False, name="item")(items)
        return nn.Dense(1, use_bias=False, name="out")(nn.relu(left[:, None, :] + right[None, :, :]))[..., 0]
