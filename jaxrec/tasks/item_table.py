"""The catalog as the towers read it, made once from vectors and the training events."""

from dataclasses import dataclass

import numpy as np

from jaxrec.data.interactions import Interactions
from jaxrec.models.towers import ItemTable
from jaxrec.similarity import all_nearest, spelt_out

SMALL_CATALOG = 6_000  # items; up to here the neighbour matrix is spelt out (144 MB)
MAX_LINKS = 2_000_000  # of all items to their neighbours: a step gathers a vector for each (512 MB at 64 numbers)


@dataclass(frozen=True)
class Neighbourhood:
    """Each item's `count` nearest warm items by text, weighted by cosine^power; count=0 for none. In a large catalog
    fewer are kept: `MAX_LINKS` over all items, but at least 8 each."""

    count: int = 300
    power: float = 8.0

    def count_for(self, items: int) -> int:
        """How many neighbours an item has in a catalog of this size."""
        return min(self.count, items, max(MAX_LINKS // max(items, 1), 8))


def item_table(
    train: Interactions,
    text: np.ndarray,
    features: np.ndarray,
    neighbourhood: Neighbourhood,
    tokens: np.ndarray | None = None,
) -> ItemTable:
    """text: float32 [items, dim], unit vectors; features: float32 [items, any]; tokens: int32 [items, any] or None.

    Warm is an item with a training event. Without text there are no neighbours.
    """
    items = len(text)
    warm = np.bincount(train.item_rows, minlength=items) > 0
    rows, weights = np.zeros((items, 0), np.int32), np.zeros((items, 0), np.float32)
    count = neighbourhood.count_for(items)
    if count and text.shape[1]:
        near = all_nearest(text, warm, count=count, power=neighbourhood.power)
        rows, weights = near.rows, near.weights
        if items <= SMALL_CATALOG:
            rows, weights = np.zeros((items, 0), np.int32), spelt_out(near, items)
    if tokens is None:
        tokens = np.zeros((items, 0), np.int32)
    return ItemTable(text.astype(np.float32), features.astype(np.float32), warm, rows, weights, tokens)
