"""Item vectors from what is known of items: attention over an item's entities, after KGAT (Wang et al., KDD 2019)."""

from dataclasses import dataclass
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

SPREAD = 0.1  # of fresh vectors, as in the paper of LightGCN


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Facts:
    """What each item is one triple away from. entities, relations: int32 [items, n], -1 where padded.

    entity_rarity: float32 [entities], log(items / items that have it); relation_sizes: float32 [relations], how often
    each stands. Nothing known is n = 0.
    """

    entities: Array
    relations: Array
    entity_rarity: Array
    relation_sizes: Array


class KnowledgeTower(nn.Module):
    """An item's vector plus the weighted mean of its entities' vectors e_t; the weights are a softmax over

    attention="entity": (w_r e_t) . tanh(w_r e_h + e_r), eq. 4 of KGAT with diagonal matrices w_r; e_h is the item's;
    attention="relation": b_r + c log(rarity of the entity) alone, so that directors may weigh more than countries.

    One hop: the graph of users and items, or the entities shared, take it further. Items that nobody has yet are their
    entities' mean.
    """

    attention: Literal["entity", "relation"] = "entity"

    @nn.compact
    def __call__(self, items: Array, facts: Facts) -> Array:
        """items: float32 [items, dim]; the same shape comes back."""
        if not facts.entities.shape[1]:
            return items
        dim, there = items.shape[1], facts.entities >= 0
        entity, relation = jnp.maximum(facts.entities, 0), jnp.maximum(facts.relations, 0)
        counts = facts.entity_rarity.shape[0], facts.relation_sizes.shape[0]
        normal, ones = nn.initializers.normal(SPREAD), nn.initializers.ones
        vectors = nn.Embed(counts[0], dim, embedding_init=normal, name="entities")(entity)
        if self.attention == "entity":
            scale = nn.Embed(counts[1], dim, embedding_init=ones, name="relation_scales")(relation)
            shift = nn.Embed(counts[1], dim, embedding_init=normal, name="relations")(relation)
            logits = (scale * vectors * jnp.tanh(scale * items[:, None, :] + shift)).sum(axis=-1)
        else:
            logits = nn.Embed(counts[1], 1, embedding_init=nn.initializers.zeros, name="relations")(relation)[..., 0]
            rarity = self.param("scale", ones, ())
            logits = logits + rarity * jnp.log(jnp.maximum(facts.entity_rarity[entity], 1e-3))
        weights = jax.nn.softmax(jnp.where(there, logits, -1e9), axis=-1) * there
        return items + jnp.einsum("in,ind->id", weights, vectors)
