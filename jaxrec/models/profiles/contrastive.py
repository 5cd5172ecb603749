"""The contrastive head: content that finds its own behaviour profile among those of others."""

import flax.linen as nn
import jax.numpy as jnp

from jaxrec.losses.contrastive import info_nce
from jaxrec.losses.reconstruction import mean_squared_error
from jaxrec.models.profiles.interface import Known, Profile, behaviour_target


class Contrastive(nn.Module):
    """A generator G(content), aligned with the behaviour profile by InfoNCE over the batch (CLCRec: Wei et al.,
    "Contrastive Learning for Cold-Start Item Recommendation", ACM Multimedia 2021, eq. 8), plus `match_weight` times
    the squared error to it, which sets the length that a cosine leaves open.

    The behaviour profile is a fixed target, where CLCRec moves both sides: what people do is told by the ranking loss
    alone, and content comes to it. temperature: of the cosine.
    """

    dim: int = 64
    hidden: int = 64
    temperature: float = 0.2
    match_weight: float = 1.0
    dropout: float = 0.0

    @property
    def reads(self) -> tuple[str, ...]:
        return ()

    @nn.compact
    def __call__(self, known: Known, *, train: bool) -> Profile:
        content = nn.Dropout(self.dropout, deterministic=not train)(known.content)
        hidden = nn.gelu(nn.Dense(self.hidden, name="generator_hidden")(content))
        made = nn.Dense(self.dim, name="generator_out")(hidden)
        if not train:
            return Profile(made, {})
        real, has_real = behaviour_target(known), known.behaviour_mask
        share = jnp.maximum(has_real.mean(), 1e-6)  # so that a mean over all is one over those who have it
        matched = jnp.where(has_real, mean_squared_error(made, real), 0.0)
        aligned = info_nce(made, real, has_real, self.temperature)
        return Profile(made, {"match": self.match_weight * matched / share, "align": aligned / share})
