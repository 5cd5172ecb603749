"""The trained two-tower model as a ranker."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from jaxrec.models.towers import ItemTable
from jaxrec.models.two_tower import TwoTower
from jaxrec.ranker import Arrays, Query
from jaxrec.similarity import nearest
from jaxrec.tasks.item_table import Neighbourhood

PyTree = Any


@dataclass(frozen=True)
class TwoTowerRanker:
    """items: {"vector": [items, dim], "token": [items, dim]}; shared: parameters, and what new items are placed by.

    encoder: the loaded text encoder with its trained weights, where it was trained along; it is no part of ranking.
    """

    arrays: Arrays
    model: TwoTower
    neighbourhood: Neighbourhood
    history_length: int
    encoder: Any = field(default=None, compare=False, repr=False)

    def user(self, arrays: Arrays, query: Query) -> Array:
        tokens = jnp.take(arrays.items["token"], jnp.maximum(query.history, 0), axis=0)
        return self.model.apply({"params": arrays.shared["params"]}, query, tokens, method="users").vector

    def score(self, shared: PyTree, items: PyTree, user: Array) -> Array:
        return self.model.apply({"params": shared["params"]}, user, items["vector"], method="score")

    def user_profile(self, arrays: Arrays, query: Query) -> Array:
        """The asker's vector [batch, dim]."""
        return self.user(arrays, query)

    def item_profile(self, shared: PyTree, items: PyTree) -> Array:
        """The items' vectors [block, dim]."""
        return items["vector"]

    def embed_items(self, shared: PyTree, text: Array, features: Array) -> PyTree:
        """`arrays.items` for items that training never saw: by text [n, text dim] and features [n, any] alone."""
        known = shared["known_text"]
        nobody = jnp.full((text.shape[0],), -1, jnp.int32)
        rows, weights = jnp.zeros((text.shape[0], 0), jnp.int32), jnp.zeros((text.shape[0], 0), jnp.float32)
        count = self.neighbourhood.count_for(known.shape[0])
        if count and text.shape[-1]:
            rows, weights = nearest(text, nobody, known, shared["warm"], count=count, power=self.neighbourhood.power)
        new = ItemTable(
            text=text,
            features=features,
            warm=jnp.zeros((text.shape[0],), bool),
            neighbours=rows,
            neighbour_weights=weights,
            tokens=jnp.zeros((text.shape[0], 0), jnp.int32),
        )
        return item_vectors(self.model, shared["params"], new, unseen=True)


def item_vectors(model: TwoTower, params: PyTree, table: ItemTable, *, unseen: bool = False) -> PyTree:
    """Each item as it is ranked and as it is read in a history."""
    variables = {"params": params}
    return {
        "vector": model.apply(variables, table, unseen=unseen, method="items").vector,
        "token": model.apply(variables, table, unseen=unseen, method="tokens"),
    }


_compiled_vectors = jax.jit(item_vectors, static_argnames=("model", "unseen"))


def two_tower_ranker(
    model: TwoTower, params: PyTree, table: ItemTable, neighbourhood: Neighbourhood, history_length: int
) -> TwoTowerRanker:
    """The ranker of trained parameters; item vectors and tokens are computed once, on device."""
    shared = {"params": params, "known_text": table.text, "warm": table.warm}
    arrays = Arrays(shared, _compiled_vectors(model, params, table))
    return TwoTowerRanker(arrays, model, neighbourhood, history_length)
