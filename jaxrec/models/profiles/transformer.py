"""The transformer head: read a history or an item's fields in order, with self-attention."""

import flax.linen as nn
import jax.numpy as jnp

from jaxrec.models.profiles.interface import Known, Profile


class Transformer(nn.Module):
    """Pre-norm self-attention blocks over the parts (Vaswani et al., arXiv:1706.03762).

    `causal=True` for histories: each event sees the earlier ones and the profile is the last event's state (SASRec,
    Kang and McAuley, arXiv:1808.09781). `causal=False` for fields: all see all and the profile is the mean state.
    Positions of events count back from the newest, so that a longer padded history is read alike; those older than
    `max_parts` share one position. An empty history has the zero profile.
    """

    dim: int = 64
    blocks: int = 2
    heads: int = 2
    max_parts: int = 128
    causal: bool = True
    dropout: float = 0.1

    @property
    def reads(self) -> tuple[str, ...]:
        return ("parts",)

    @nn.compact
    def __call__(self, known: Known, *, train: bool) -> Profile:
        mask = known.mask
        x = nn.Dense(self.dim, name="read")(known.parts)
        lengths = mask.sum(axis=1, keepdims=True)
        place = jnp.broadcast_to(jnp.arange(mask.shape[1])[None, :], mask.shape)  # a field is known by its place
        if self.causal:
            place = lengths - 1 - place
        place = jnp.clip(place, 0, self.max_parts - 1)
        x = x + nn.Embed(self.max_parts, self.dim, name="position")(place)
        visible = mask[:, None, None, :]
        if self.causal:
            order = jnp.arange(mask.shape[1])
            visible = visible & (order[None, :] <= order[:, None])[None, None]
        for block in range(self.blocks):
            y = nn.LayerNorm(name=f"attention_norm_{block}")(x)
            x = x + nn.MultiHeadDotProductAttention(
                self.heads, dropout_rate=self.dropout, deterministic=not train, name=f"attention_{block}"
            )(y, mask=visible)
            y = nn.Dense(4 * self.dim, name=f"widen_{block}")(nn.LayerNorm(name=f"mlp_norm_{block}")(x))
            y = nn.Dense(self.dim, name=f"narrow_{block}")(nn.gelu(y))
            x = x + nn.Dropout(self.dropout, deterministic=not train)(y)
        x = nn.LayerNorm(name="final_norm")(x)
        if self.causal:
            last = jnp.maximum(lengths - 1, 0)
            vector = jnp.take_along_axis(x, last[:, :, None], axis=1)[:, 0]
        else:
            vector = (x * mask[..., None]).sum(axis=1) / jnp.maximum(lengths, 1)
        return Profile(vector * (lengths > 0), {})
