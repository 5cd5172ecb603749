"""The one place where host arrays go to devices and come back."""

import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxrec import errors
from jaxrec.errors import UserError
from jaxrec.parallel.mesh import DATA, Strategy
from jaxrec.parallel.partition import CONSTANT_RULES, Rules, leaf_names, partition_shardings

PyTree = Any


def replicated(mesh: Mesh) -> NamedSharding:
    """One whole copy on every device."""
    return NamedSharding(mesh, P())


def by_batch(mesh: Mesh) -> NamedSharding:
    """The leading axis split over `data`."""
    return NamedSharding(mesh, P(DATA))


def data_shard(mesh: Mesh) -> tuple[int, int]:
    """(index, count): which part of every global batch this process reads.

    Processes whose devices stand at the same places of the data axis read the same part.
    """
    rows = _local_rows(mesh)
    return int(rows[0]) // len(rows), mesh.shape[DATA] // len(rows)


def _local_rows(mesh: Mesh) -> np.ndarray:
    """Positions on the data axis that this process's devices hold, sorted."""
    mine = np.vectorize(lambda device: device.process_index == jax.process_index())(mesh.devices)
    return np.flatnonzero(mine.any(axis=1))


def place(tree: PyTree, shardings: PyTree, *, may_alias: bool | None = None) -> PyTree:
    """Arrays (the same values on every process) to devices. may_alias=False for what will be donated."""
    if jax.process_count() == 1:
        return jax.device_put(tree, shardings, may_alias=may_alias)

    def put(x: Any, sharding: NamedSharding) -> jax.Array:
        if isinstance(x, jax.Array) and not x.is_fully_addressable:
            return x if x.sharding.is_equivalent_to(sharding, x.ndim) else jax.device_put(x, sharding)
        host = np.asarray(jax.device_get(x))
        with jax.transfer_guard_host_to_device("allow"):
            return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree, shardings)


def place_constants(constants: PyTree, mesh: Mesh, rules: Rules = CONSTANT_RULES) -> PyTree:
    """What training reads and never changes, placed once by the rules."""
    return place(constants, partition_shardings(constants, rules, mesh))


def place_batch(batch: PyTree, mesh: Mesh, strategy: Strategy = "jit") -> PyTree:
    """This process's part of a batch (numpy, leading batch axis) as global arrays split over `data`.

    Under "pmap" the arrays become [devices, batch / devices, ...]. Raises UserError when the batch does not divide.
    """
    local = len(_local_rows(mesh))
    for name, leaf in zip(leaf_names(batch), jax.tree.leaves(batch), strict=True):
        if not np.shape(leaf) or np.shape(leaf)[0] % local:
            raise UserError(
                f"batch leaf {name!r} {list(np.shape(leaf))} does not divide over the {local} devices of the data axis "
                f"here: make method.train.batch_size_global a multiple of {mesh.shape[DATA]}"
            )
    if strategy == "pmap":
        batch = jax.tree.map(lambda x: x.reshape(local, x.shape[0] // local, *x.shape[1:]), batch)
    sharding = by_batch(mesh)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    with jax.transfer_guard_host_to_device("allow"):  # jax counts this call as implicit; here it is meant
        return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def to_host(tree: PyTree) -> PyTree:
    """Whole numpy arrays on every process."""
    if jax.process_count() == 1:
        return jax.device_get(tree)
    from jax.experimental import multihost_utils

    def fetch(x: Any) -> np.ndarray:
        if not isinstance(x, jax.Array) or x.is_fully_addressable:
            return np.asarray(jax.device_get(x))
        if x.is_fully_replicated:
            return np.asarray(x.addressable_data(0))
        return np.asarray(multihost_utils.process_allgather(x, tiled=True))

    return jax.tree.map(fetch, tree)


def from_first(make: Callable[[], Any]) -> Any:
    """What the first process makes (JSON), on every process; what it raises is raised on every process too."""
    if jax.process_count() == 1:
        return make()
    from jax.experimental.multihost_utils import broadcast_one_to_all

    told, failure = {}, None
    if jax.process_index() == 0:
        try:
            told = {"made": make()}
        except Exception as error:
            failure, told = error, {"raised": type(error).__name__, "message": str(error)}
    raw = np.frombuffer(json.dumps(told).encode(), np.uint8)
    size = int(broadcast_one_to_all(np.int32(raw.size)))
    row = broadcast_one_to_all(raw if jax.process_index() == 0 else np.zeros(size, np.uint8))
    told = json.loads(bytes(np.asarray(row)))
    if "made" in told:
        return told["made"]
    kind = getattr(errors, told["raised"], errors.JaxrecError)
    raise failure or kind(f"{told['message']} (the first process)")
