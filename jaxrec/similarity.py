"""Nearest items by text, weighted: the kernel that content rankers and item towers share."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

MAX_CELLS = 2**24  # of a block of the similarity matrix: 64 MB in float32


class Neighbours(NamedTuple):
    """rows: int32 [n, count], item rows. weights: float32 [n, count], summing to one; zero where nothing is alike."""

    rows: Array
    weights: Array


@partial(jax.jit, static_argnames=("count", "power"))
def nearest(text: Array, own_rows: Array, vectors: Array, warm: Array, *, count: int, power: float) -> Neighbours:
    """The `count` nearest warm items to each text, weighted by max(0, cosine)^power over the sum (Nadaraya-Watson).

    text: [n, dim] and vectors: [items, dim], unit vectors or zero. own_rows: int32 [n], the texts' own items, which are
    no neighbours of themselves; -1 for none. warm: bool [items], who may be a neighbour.
    """
    similar = jnp.maximum(jnp.matmul(text, vectors.T, precision="highest"), 0.0) ** power
    own = own_rows[:, None] == jnp.arange(vectors.shape[0])[None, :]
    weights, rows = jax.lax.top_k(jnp.where(own | ~warm[None, :], 0.0, similar), count)
    weights = weights / jnp.maximum(weights.sum(axis=1, keepdims=True), 1e-9)
    return Neighbours(rows.astype(jnp.int32), weights)


def all_nearest(vectors: np.ndarray, warm: np.ndarray, *, count: int, power: float) -> Neighbours:
    """`nearest` of every item, a block of rows at a time: int32 and float32 [items, count], on the host."""
    items = len(vectors)
    count, size = min(count, items), max(1, min(items, MAX_CELLS // max(items, 1)))
    table, allowed = jnp.asarray(vectors, jnp.float32), jnp.asarray(warm)
    blocks = []
    for start in range(0, items, size):
        rows = np.arange(start, min(start + size, items), dtype=np.int32)
        blocks.append(jax.device_get(nearest(table[rows], rows, table, allowed, count=count, power=power)))
    return Neighbours(*(np.concatenate(columns) for columns in zip(*blocks, strict=True)))


def spelt_out(neighbours: Neighbours, items: int) -> np.ndarray:
    """The weights as a matrix, float32 [n, items]: one matrix product is cheaper than gathering in a small catalog."""
    matrix = np.zeros((len(neighbours.rows), items), np.float32)
    np.put_along_axis(matrix, np.asarray(neighbours.rows), np.asarray(neighbours.weights), axis=1)
    return matrix
