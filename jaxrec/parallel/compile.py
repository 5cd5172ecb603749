"""One call for a compiled training step, whether jit shards it or pmap maps it."""

from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AxisType, Mesh

from jaxrec.errors import UserError
from jaxrec.parallel.mesh import DATA, MODEL, Strategy
from jaxrec.parallel.placement import by_batch, replicated

PyTree = Any
Step = Callable[..., tuple[PyTree, dict[str, jax.Array]]]


class CompiledStep:
    """step(state, constants, batch) -> (state, metrics). The given state is donated: use the returned one.

    `traces` counts how often the function was traced. More than one means that shapes or dtypes changed.
    """

    def __init__(self, step: Step, mesh: Mesh, strategy: Strategy, state_shardings: PyTree, constant_shardings: PyTree):
        self.traces = 0
        self._first_placement = None
        if strategy == "jit":

            def traced(state, constants, batch):
                self.traces += 1
                return step(state, constants, batch, axis_name=None)

            self._call = jax.jit(
                traced,
                in_shardings=(state_shardings, constant_shardings, by_batch(mesh)),
                out_shardings=(state_shardings, replicated(mesh)),
                donate_argnums=0,
            )
            return
        if mesh.shape[MODEL] != 1:
            raise UserError(f"pmap maps the data axis only: set mesh.model=1 (it is {mesh.shape[MODEL]})")

        def mapped(state, constants, batch):
            self.traces += 1
            return step(state, constants, batch, axis_name=DATA)

        # pmap returns arrays on a mesh of its own: a first state placed elsewhere would compile the step twice.
        own = Mesh(mesh.devices.reshape(-1), (DATA,), axis_types=(AxisType.Auto,))
        self._first_placement = replicated(own)
        self._call = jax.pmap(
            mapped,
            axis_name=DATA,
            in_axes=(None, None, 0),
            out_axes=(None, None),
            devices=list(mesh.devices.flat),
            donate_argnums=0,
        )

    def __call__(self, state: PyTree, constants: PyTree, batch: PyTree) -> tuple[PyTree, dict[str, jax.Array]]:
        if self._first_placement is not None:
            state = jax.device_put(state, self._first_placement, donate=True)
            self._first_placement = None
        return self._call(state, constants, batch)


def compile_step(
    step: Step, mesh: Mesh, strategy: Strategy, *, state_shardings: PyTree, constant_shardings: PyTree
) -> CompiledStep:
    """Compile a pure `step(state, constants, batch, *, axis_name)`.

    "jit": one program over the mesh, placed by the shardings. "pmap": each device runs the step on its part of the
    batch with axis_name="data"; state and constants are replicated, so their layout and checkpoints are the same.
    """
    return CompiledStep(step, mesh, strategy, state_shardings, constant_shardings)
