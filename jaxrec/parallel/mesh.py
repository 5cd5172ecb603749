"""The mesh of devices every job runs on: batches are split over `data`, large tables over `model`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from jaxrec.errors import UserError

DATA = "data"
MODEL = "model"
Strategy = Literal["jit", "pmap"]


@dataclass(frozen=True)
class MeshShape:
    """How many devices along each axis. -1 takes what the other axis leaves.

    strategy: "jit" shards by the partition rules; "pmap" maps the data axis, within one process and with model=1.
    """

    data: int = -1
    model: int = 1
    strategy: Strategy = "jit"

    def make(self, devices: Sequence[jax.Device] | None = None) -> Mesh:
        """The mesh over all devices of all processes, or over the first data * model of them in a single process.

        Raises UserError when the devices do not divide, with the shapes that would.
        """
        devices = list(jax.devices() if devices is None else devices)
        data, model = self._sizes(len(devices))
        count = data * model
        if count < len(devices) and jax.process_count() > 1:
            raise UserError(
                f"mesh of {data} x {model} leaves {len(devices) - count} of {len(devices)} devices idle, and with "
                "several processes every device must work: set mesh.data=-1"
            )
        axis_types = (AxisType.Auto,) * 2
        if count < len(devices):
            return Mesh(np.array(devices[:count]).reshape(data, model), (DATA, MODEL), axis_types=axis_types)
        return jax.make_mesh((data, model), (DATA, MODEL), axis_types=axis_types, devices=devices)

    def _sizes(self, count: int) -> tuple[int, int]:
        if self.strategy not in ("jit", "pmap"):
            raise UserError(f"mesh.strategy is {self.strategy!r}; it must be 'jit' or 'pmap'")
        if self.strategy == "pmap" and self.model != 1:
            raise UserError(f"mesh.strategy='pmap' maps the data axis only: set mesh.model=1 (it is {self.model})")
        if self.strategy == "pmap" and jax.process_count() > 1:
            raise UserError(
                "mesh.strategy='pmap' works within one process (its arrays belong to their process and cannot be saved "
                "together): set mesh.strategy='jit'"
            )
        sizes = {"data": self.data, "model": self.model}
        for name, size in sizes.items():
            if size == 0 or size < -1:
                raise UserError(f"mesh.{name}={size}: give a positive number, or -1 for what is left")
        if self.data == self.model == -1:
            raise UserError("mesh.data and mesh.model are both -1: give one of them a number")
        for name, other in (("data", self.model), ("model", self.data)):
            if sizes[name] == -1:
                if count % other:
                    divisors = [n for n in range(1, count + 1) if count % n == 0]
                    raise UserError(
                        f"{count} devices do not divide by {other} (mesh.{'model' if name == 'data' else 'data'}); "
                        f"it can be one of {divisors}"
                    )
                sizes[name] = count // other
        if sizes["data"] * sizes["model"] > count:
            raise UserError(
                f"mesh of {sizes['data']} x {sizes['model']} needs {sizes['data'] * sizes['model']} devices, "
                f"and there are {count}: set mesh.data=-1 or make mesh.model smaller"
            )
        return sizes["data"], sizes["model"]


def start_distributed(
    coordinator: str | None,
    num_processes: int | None,
    process_id: int | None,
    *,
    heartbeat_timeout_seconds: int = 100,
) -> bool:
    """Join the other processes of a job. Call before anything else of jax. True when started.

    Nothing given: one process, nothing to do. Raises UserError when only some of the three are given.
    """
    given = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
    missing = [name for name, value in given.items() if value is None]
    if len(missing) == 3:
        return False
    if missing:
        raise UserError(
            f"to start several processes give coordinator, num_processes and process_id together; "
            f"missing: {', '.join(missing)}"
        )
    if ":" not in coordinator:
        raise UserError(f"coordinator {coordinator!r} has no port: give it as host:port, such as 10.0.0.2:8476")
    if not 0 <= process_id < num_processes:
        raise UserError(f"process_id {process_id} is not between 0 and {num_processes - 1} (num_processes - 1)")
    jax.distributed.initialize(
        coordinator, num_processes, process_id, heartbeat_timeout_seconds=heartbeat_timeout_seconds
    )
    return True
