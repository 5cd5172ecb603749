"""Which axis of which leaf is split over which mesh axis: an ordered table of (name pattern, PartitionSpec).

A leaf's name is its path joined by "/", such as "item_tower/ids/embedding". The first pattern that `re.search` finds
decides. A leaf with an axis that matches nothing raises, so a new parameter is placed on purpose or not at all; a
scalar can only be replicated and needs no rule.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxrec.errors import UserError
from jaxrec.parallel.mesh import DATA, MODEL

PyTree = Any
Rules = tuple[tuple[str, P], ...]

SMALL_BYTES = 64 * 2**20

PARAM_RULES: Rules = (
    (r"(position|token_type|segment)[^/]*/embedding$", P()),  # few rows, read by every token
    (r"(^|/)embedding$", P(MODEL)),
    (r"(^|/)(kernel|bias|scale|w|b)$", P()),
    (r"(^|/)(alpha|temperature|log_temperature|logit_scale)$", P()),
    (r"(^|/)(cls|query|mask|missing|unknown|padding|prior|mean|gate)(_\w+)?$", P()),
    (r"(^|/)lora_[ab]$", P()),
)
"""Parameters: the rows of embedding tables over `model`, all else on every device."""

CONSTANT_RULES: Rules = (
    (r"^(items?|users?|catalog)(_|/|$)", P(MODEL)),
    (r"^(tags?|shared|tokens?|counts?|log_q|popularity)(_|/|$)", P()),
)
"""Constants: item and user tables are split by rows over `model`."""


def leaf_names(tree: PyTree, *, separator: str = "/") -> list[str]:
    """The names of the leaves, in the order of `jax.tree.leaves`."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator=separator) for path, _ in flat]


def partition_specs(tree: PyTree, rules: Rules) -> PyTree:
    """A PartitionSpec for each leaf (an array or ShapeDtypeStruct). Raises UserError for a leaf that no rule names."""
    leaves, treedef = jax.tree.flatten(tree)
    return treedef.unflatten([_spec(name, x, rules) for name, x in zip(leaf_names(tree), leaves, strict=True)])


def _spec(name: str, leaf: Any, rules: Rules) -> P:
    if not leaf.shape:
        return P()
    for pattern, spec in rules:
        if re.search(pattern, name):
            return spec
    raise UserError(
        f"no partition rule matches {name!r} {list(leaf.shape)}: add (pattern, PartitionSpec) to the rules; "
        "PartitionSpec() keeps a copy on every device"
    )


def partition_shardings(tree: PyTree, rules: Rules, mesh: Mesh) -> PyTree:
    """A NamedSharding for each leaf, fitted to the mesh by `fitted_spec`."""
    leaves, treedef = jax.tree.flatten(tree)
    specs = [_spec(name, x, rules) for name, x in zip(leaf_names(tree), leaves, strict=True)]
    fitted = [fitted_spec(n, x, s, mesh) for n, x, s in zip(leaf_names(tree), leaves, specs, strict=True)]
    return treedef.unflatten([NamedSharding(mesh, spec) for spec in fitted])


def fitted_spec(name: str, leaf: Any, spec: P, mesh: Mesh) -> P:
    """The spec, or where the mesh axis does not divide the leaf's axis, the next best.

    Shapes are never padded: a padded row would take part in a softmax over the catalog, and a checkpoint would fit one
    mesh only. Instead the first other axis that divides is split (the columns of a table); a leaf under 64 MB that
    cannot be split at all is kept on every device. A larger one raises UserError.
    """
    shape = leaf.shape
    if 0 in shape:
        return P()
    if len(spec) > len(shape):
        raise UserError(f"partition rule {spec} has more axes than {name!r} {list(shape)}")
    axes = [*spec, *[None] * (len(shape) - len(spec))]
    for dim, axis in enumerate(spec):
        if axis is None or shape[dim] % mesh.shape[axis] == 0:
            continue
        ways = mesh.shape[axis]
        axes[dim] = None
        free = [d for d in range(len(shape)) if d != dim and axes[d] is None and shape[d] % ways == 0]
        if free:
            axes[free[0]] = axis
        elif leaf.size * leaf.dtype.itemsize > SMALL_BYTES:
            raise UserError(
                f"{name!r} {list(shape)} cannot be split over mesh.{axis}={ways}: no axis divides. Make the width a "
                f"multiple of {ways}, or choose another mesh.{axis}"
            )
    while axes and axes[-1] is None:
        axes.pop()
    return P(*axes)


def optimizer_shardings(opt_state: PyTree, params: PyTree, shardings: PyTree, mesh: Mesh) -> PyTree:
    """Where optimizer state lives: a leaf whose path ends in a parameter's path follows that parameter.

    A leaf of the parameter's shape takes its sharding, one that keeps only the leading axes (a row-wise accumulator)
    takes theirs, and what is left (counts) is on every device. params may be abstract.
    """
    flat, _ = jax.tree_util.tree_flatten_with_path(params)
    known = {
        tuple(jax.tree_util.keystr((key,), simple=True) for key in path): (leaf.shape, sharding.spec)
        for (path, leaf), sharding in zip(flat, jax.tree.leaves(shardings), strict=True)
    }
    states, treedef = jax.tree_util.tree_flatten_with_path(opt_state)
    placed = []
    for path, leaf in states:
        keys = tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
        owner = next((known[keys[i:]] for i in range(len(keys)) if keys[i:] in known), ((), P()))
        shape, spec = owner
        follows = leaf.ndim and leaf.shape == shape[: leaf.ndim]
        placed.append(NamedSharding(mesh, P(*spec[: leaf.ndim]) if follows else P()))
    return treedef.unflatten(placed)


def sharded_lookup(table: Array, rows: Array, mesh: Mesh) -> Array:
    """`table[rows]` for a table split by rows over `model`, without gathering the table.

    table: [rows, dim], its rows a multiple of the model axis. rows: int32 [batch, ...], within the table, the batch a
    multiple of the data axis. Returns [batch, ..., dim]. Each device takes the rows it holds, zeroes the others, and
    the sum over `model` is the answer. Raises UserError when the rows do not divide.
    """
    ways = mesh.shape[MODEL]
    if table.shape[0] % ways:
        raise UserError(f"a table of {table.shape[0]} rows does not divide over mesh.model={ways}")

    def local(shard: Array, rows: Array) -> Array:
        here = rows - jax.lax.axis_index(MODEL) * shard.shape[0]
        ours = (here >= 0) & (here < shard.shape[0])
        values = jnp.take(shard, jnp.clip(here, 0, shard.shape[0] - 1), axis=0)
        return jax.lax.psum(jnp.where(ours[..., None], values, 0), MODEL)

    return jax.shard_map(local, mesh=mesh, in_specs=(P(MODEL), P(DATA)), out_specs=P(DATA))(table, rows)
