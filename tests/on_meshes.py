"""One step of a task on any mesh, as it is compiled for training, that leaves the gradients behind."""

import jax
import optax

from jaxrec.parallel.compile import compile_step
from jaxrec.parallel.mesh import MeshShape
from jaxrec.parallel.partition import PARAM_RULES
from jaxrec.parallel.placement import place, place_batch, place_constants, to_host
from jaxrec.train.optimizers import Optimizer
from jaxrec.train.state import TrainState, state_shardings
from jaxrec.train.step import make_step

KEEP_GRADIENTS = Optimizer(
    optax.stateless(lambda updates, params: jax.tree.map(lambda g, p: g - p, updates, params)),
    optax.constant_schedule(1.0),
)
"""The new parameters are the gradients."""


def gradients_on(shape: MeshShape, task, params, constants, batch):
    """(gradients, metrics) on the host."""
    mesh = shape.make()
    state = to_host(TrainState.of(params, KEEP_GRADIENTS.transform))
    shardings = state_shardings(state, mesh, PARAM_RULES)
    placed = place_constants(constants, mesh, task.constant_rules)
    step = compile_step(
        make_step(task, KEEP_GRADIENTS, seed=0),
        mesh,
        shape.strategy,
        state_shardings=shardings,
        constant_shardings=jax.tree.map(lambda x: x.sharding, placed),
    )
    state, metrics = step(place(state, shardings, may_alias=False), placed, place_batch(batch, mesh, shape.strategy))
    return to_host(state.params), to_host(metrics)
