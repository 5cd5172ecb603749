"""The full ranking of a catalog for many users: in blocks of users, and of items where the catalog is large."""

from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxrec.data.interactions import Histories
from jaxrec.data.queries import gather_queries
from jaxrec.item_axis import map_items
from jaxrec.ranker import Arrays, Query, Ranker, Ranking, mask_scores, num_items, rank

MAX_SCORES = 2**26  # scores held at once: 256 MB in float32
NARROWEST = 64


def rank_in_blocks(
    ranker: Ranker, arrays: Arrays, query: Query, seen: jax.Array, allowed: jax.Array, *, k: int, item_block: int
) -> Ranking:
    """`jaxrec.ranker.rank`, holding only [batch, item_block] scores at a time; the same ranking, ties included.

    The best k so far stand before each new block, whose rows are all higher, and top_k keeps the first of equals:
    so equal scores keep catalog order. The last block reaches back into rows already judged, which are masked.
    """
    items = num_items(arrays)
    item_block = min(item_block, items)
    user = ranker.user(arrays, query)

    def step(best: Ranking, number: jax.Array) -> tuple[Ranking, None]:
        start = jnp.minimum(number * item_block, items - item_block)
        rows = start + jnp.arange(item_block)
        block = map_items(lambda axis, leaf: jax.lax.dynamic_slice_in_dim(leaf, start, item_block, axis), arrays.items)
        scores = ranker.score(arrays.shared, block, user)
        inside = (seen >= start) & (seen < start + item_block)
        fresh = jax.lax.dynamic_slice_in_dim(allowed, start, item_block) & (rows >= number * item_block)
        scores = mask_scores(scores, jnp.where(inside, seen - start, -1), fresh)
        merged = jnp.concatenate([best.scores, scores.astype(best.scores.dtype)], axis=1)
        merged_rows = jnp.concatenate([best.rows, jnp.broadcast_to(rows[None, :], scores.shape)], axis=1)
        top, where = jax.lax.top_k(merged, k)
        return Ranking(top, jnp.take_along_axis(merged_rows, where, axis=1)), None

    batch = query.history.shape[0]
    nothing = Ranking(jnp.full((batch, k), -jnp.inf, jnp.float32), jnp.full((batch, k), -1, jnp.int32))
    best, _ = jax.lax.scan(step, nothing, jnp.arange(-(-items // item_block)))
    return Ranking(best.scores, jnp.where(jnp.isneginf(best.scores), -1, best.rows))


def _ranking(ranker, arrays, query, seen, allowed, *, k, item_block, mesh):
    if item_block is None:
        best = rank(ranker, arrays, query, seen, allowed, k=k)
    else:
        best = rank_in_blocks(ranker, arrays, query, seen, allowed, k=k, item_block=item_block)
    if mesh is not None:  # only [users, k] leaves the devices, and every process can read it
        best = jax.lax.with_sharding_constraint(best, NamedSharding(mesh, PartitionSpec()))
    return best


_compiled = jax.jit(_ranking, static_argnames=("ranker", "k", "item_block", "mesh"))


def _program(ranker: Ranker, **fixed):
    """The compiled ranking. A ranker that is a frozen dataclass with hashable fields beside `arrays` compiles once for
    all its arrays, so that a model evaluated every epoch is compiled once; any other ranker compiles on each call."""
    try:
        functions = replace(ranker, arrays=None)
        hash(functions)
    except TypeError:
        return jax.jit(partial(_ranking, ranker, **fixed))
    return partial(_compiled, functions, **fixed)


class UserBlock(NamedTuple):
    """Users asked together: where they stand among all asked, their rows padded with -1, and the width that holds their
    longest history."""

    positions: np.ndarray
    user_rows: np.ndarray
    width: int


def user_blocks(user_rows: np.ndarray, lengths: np.ndarray, users_per_block: int) -> Iterator[UserBlock]:
    """Blocks of exactly `users_per_block` users (rows padded with -1) of similar history length.

    Widths are 64, 256, 1024, ...: each is at most four times the longest history of its block, and a program is
    compiled for a handful of shapes only. positions are those of real users, the first ones of the block.
    """
    widths = np.full(len(user_rows), NARROWEST)
    for _ in range(16):
        widths = np.where(widths < lengths[user_rows], widths * 4, widths)
    order = np.argsort(widths, kind="stable")
    for width in np.unique(widths):
        group = order[widths[order] == width]
        for start in range(0, len(group), users_per_block):
            positions = group[start : start + users_per_block]
            rows = np.full(users_per_block, -1, np.int64)
            rows[: len(positions)] = user_rows[positions]
            yield UserBlock(positions, rows, int(width))


def rank_users(
    ranker: Ranker,
    histories: Histories,
    user_rows: np.ndarray,
    allowed: np.ndarray,
    *,
    k: int,
    asked_at: np.ndarray,
    features: np.ndarray | None = None,
    text: np.ndarray | None = None,
    context: np.ndarray | None = None,
    users_per_block: int = 256,
    item_block: int | None = None,
) -> Ranking:
    """The k best allowed items of each user, without what is in their history; numpy arrays [n, k], rows -1 for none.

    user_rows: int [n]; allowed: bool [items]; asked_at: UTC seconds [users]; features, text, context: float32
    [users, dim].
    item_block: items scored at a time; None takes the whole catalog, or what keeps a block's scores within 256 MB.
    Arrays that are sharded over a mesh stay so, and users are spread over its "data" axis.
    """
    items = num_items(ranker.arrays)
    depth = min(k, items)
    if item_block is None and items * users_per_block > MAX_SCORES:
        item_block = max(depth, MAX_SCORES // users_per_block)
    mesh = _mesh_of(ranker.arrays)
    ask = _program(ranker, k=depth, item_block=item_block, mesh=mesh)
    per_user, whole = _placements(mesh, users_per_block)
    allowed = jax.device_put(np.asarray(allowed, bool), whole)
    scores = np.full((len(user_rows), k), -np.inf, np.float32)
    rows = np.full((len(user_rows), k), -1, np.int32)
    waiting: deque = deque()

    def collect() -> None:
        positions, ranking = waiting.popleft()
        found = jax.device_get(ranking)
        scores[positions, :depth] = found.scores[: len(positions)]
        rows[positions, :depth] = found.rows[: len(positions)]

    for block in user_blocks(user_rows, histories.lengths, users_per_block):
        times = asked_at[np.maximum(block.user_rows, 0)]
        length = max(1, min(block.width, ranker.history_length))
        query = gather_queries(histories, block.user_rows, length, times, features, text, context)
        seen = gather_queries(histories, block.user_rows, block.width, times).history
        query, seen = jax.device_put((Query(*query), seen), per_user)
        waiting.append((block.positions, ask(ranker.arrays, query, seen, allowed)))
        if len(waiting) > 2:  # the host gathers the next block while the device ranks; memory stays bounded
            collect()
    while waiting:
        collect()
    return Ranking(scores, rows)


def _mesh_of(arrays: Arrays) -> Mesh | None:
    for leaf in jax.tree.leaves(arrays):
        sharding = getattr(leaf, "sharding", None)
        if isinstance(sharding, NamedSharding):
            return sharding.mesh
    return None


def _placements(mesh: Mesh | None, users_per_block: int) -> tuple[NamedSharding | None, NamedSharding | None]:
    """Where a block of users goes, and where what all need goes."""
    if mesh is None:
        return None, None
    spread = "data" in mesh.axis_names and users_per_block % mesh.shape["data"] == 0
    return NamedSharding(mesh, PartitionSpec("data" if spread else None)), NamedSharding(mesh, PartitionSpec())
