"""LightGCN: vectors that are smoothed over the graph of users and items (He et al., SIGIR 2020)."""

from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxrec.models.graphs.knowledge import SPREAD, Facts, KnowledgeTower


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Graph:
    """Who has what. users, items: float32 [users], [items], 1 / sqrt(degree), 0 where nobody has the item.

    matrix: float32 [users, items], one where the user has the item; in large catalogs [users, 0], and edge_users and
    edge_items, int32 [edges], ordered by user, stand in its place. warm: bool [items], with a training event. facts:
    what is known of the items.
    """

    users: Array
    items: Array
    matrix: Array
    edge_users: Array
    edge_items: Array
    warm: Array
    facts: Facts

    def to_users(self, items: Array) -> Array:
        """D_u^-1/2 R D_i^-1/2 x: float32 [users, dim] of x [items, dim]."""
        scaled = items * self.items[:, None]
        if self.matrix.shape[1]:
            sums = self.matrix @ scaled
        else:
            sums = jax.ops.segment_sum(
                scaled[self.edge_items], self.edge_users, self.users.shape[0], indices_are_sorted=True
            )
        return sums * self.users[:, None]

    def to_items(self, users: Array) -> Array:
        """The same the other way: float32 [items, dim] of [users, dim]."""
        scaled = users * self.users[:, None]
        if self.matrix.shape[1]:
            sums = self.matrix.T @ scaled
        else:
            sums = jax.ops.segment_sum(scaled[self.edge_users], self.edge_items, self.items.shape[0])
        return sums * self.items[:, None]


class Vectors(NamedTuple):
    """users: float32 [users, dim], or None where users have no vectors of their own. items: [items, dim], as they are
    ranked. read: [items, dim]; a user's vector is the sum of those of the history over sqrt(its length), plus, where
    there is a user table, the user's row of it / (layers + 1)."""

    users: Array | None
    items: Array
    read: Array


def propagate(graph: Graph, users: Array | None, items: Array, layers: int) -> Vectors:
    """The mean over the layers k = 0..K of E^(k+1) = D^-1/2 A D^-1/2 E^k; A is the bipartite graph.

    users None: E^0 is zero for users, so that all there is comes from items.

    Layer k + 1 of a user is the sum over the history of D_i^-1/2 E^k_i over sqrt(length): so the mean of the layers 1
    to K needs only sum_{k<K} D_i^-1/2 E^k_i of each item, which is `read`.
    """
    total_users, total_items, read = users, items, jnp.zeros_like(items)
    for _ in range(layers):
        if items is not None:
            read = read + items
        users, items = _or_none(graph.to_users, items), _or_none(graph.to_items, users)
        total_users, total_items = _sum(total_users, users), _sum(total_items, items)
    share = 1.0 / (layers + 1)
    return Vectors(_or_none(lambda x: x * share, total_users), total_items * share, read * graph.items[:, None] * share)


def _or_none(function, x: Array | None) -> Array | None:
    return None if x is None else function(x)


def _sum(a: Array | None, b: Array | None) -> Array | None:
    return b if a is None else a if b is None else a + b


class LightGCN(nn.Module):
    """layers: how far vectors are smoothed. own_users: a table of users, as in the paper; without it a user is what the
    history says, in training too. knowledge: adds what is known of items to their own vectors, before they are
    smoothed; id_dropout: share of items whose own vectors are left out in a training step, so that what is known of
    them must do."""

    dim: int = 64
    layers: int = 3
    own_users: bool = True
    knowledge: KnowledgeTower | None = None
    id_dropout: float = 0.0

    @nn.compact
    def __call__(self, graph: Graph, *, train: bool = False) -> Vectors:
        normal = nn.initializers.normal(SPREAD)
        users = None
        if self.own_users:
            users = nn.Embed(graph.users.shape[0], self.dim, embedding_init=normal, name="users").embedding
        items = nn.Embed(graph.items.shape[0], self.dim, embedding_init=normal, name="items").embedding
        items = jnp.where(graph.warm[:, None], items, 0.0)  # nothing is learned of the others
        items = nn.Dropout(self.id_dropout, broadcast_dims=(1,))(items, deterministic=not train)
        if self.knowledge is not None:
            items = self.knowledge(items, graph.facts)
        return propagate(graph, users, items, self.layers)
