"""A BERT that is trained along with the model that reads it."""

import flax.linen as nn
from jax import Array

from jaxrec.models.encoders.bert import Bert
from jaxrec.models.encoders.pooling import pool


class TunedBert(nn.Module):
    """Token ids int32 [batch, tokens] (pad_id where padded) -> pooled vectors [batch, hidden_size]."""

    bert: Bert = Bert()
    pool: str = "mean"
    normalize: bool = True
    pad_id: int = 0

    def __call__(self, token_ids: Array, *, train: bool = False) -> Array:
        mask = token_ids != self.pad_id
        hidden = self.bert(token_ids, mask, deterministic=not train)[-1]
        return pool(hidden, mask, self.pool, normalize=self.normalize)
