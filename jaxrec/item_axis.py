"""Where the items are in a ranker's arrays: along which axis, how many, some of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

PyTree = Any
BY_HISTORY = "by_history"
"""The leaf of rankers whose scores are linear in what is stored of items: a product of the history with it."""
BY_USER = "by_user"
"""A leaf whose rows are users of the training data, read like those of `BY_HISTORY`."""


def item_axis(name: str) -> int:
    """Along which axis of a leaf of `Arrays.items` the items are, by the leaf's name (a path joined by "/").

    The first; but the second of a leaf that is called `BY_HISTORY`, [known items, items]: its row j is what having item
    j adds to every item, so that a history of few items reads few rows, each of them in one piece. Likewise `BY_USER`,
    [users, items].
    """
    return 1 if name.rsplit("/", 1)[-1] in (BY_HISTORY, BY_USER) else 0


def map_items(function: Callable[..., Any], items: PyTree) -> PyTree:
    """function(axis, leaf) of every leaf of `Arrays.items`, as a pytree of the same structure."""

    def of_leaf(path: tuple, leaf: Any) -> Any:
        return function(item_axis(jax.tree_util.keystr(path, simple=True, separator="/")), leaf)

    return jax.tree_util.tree_map_with_path(of_leaf, items)


def take_items(items: PyTree, rows: Any) -> PyTree:
    """`Arrays.items` of the items `rows`, an array or a slice."""
    return map_items(lambda axis, leaf: leaf[:, rows] if axis else leaf[rows], items)


def item_axis_product(items: PyTree, columns: jax.Array) -> PyTree:
    """Weighted sums of items: of each leaf of `Arrays.items` one sum for each column of float32 [items, any]."""

    def summed(axis: int, leaf: jax.Array) -> jax.Array:
        sums = jnp.tensordot(leaf, columns, (axis, 0), precision="highest")
        return jnp.moveaxis(sums, -1, axis)

    return map_items(summed, items)


def items_per_leaf(items: PyTree) -> PyTree:
    """How many items each leaf of `Arrays.items` is of; where all is well they are equal."""
    return map_items(lambda axis, leaf: leaf.shape[axis], items)


def count_items(items: PyTree) -> int:
    """How many items `Arrays.items` is of."""
    return jax.tree.leaves(items_per_leaf(items))[0]


def shape_of_items(count: Any, axis: int, leaf: Any) -> tuple:
    """The shape of a leaf of `Arrays.items`, whose items are along `axis`, where there are `count` of them."""
    return (*leaf.shape[:axis], count, *leaf.shape[axis + 1 :])
