"""What a training step carries on."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from jaxrec.parallel.partition import Rules, optimizer_shardings, partition_shardings
from jaxrec.parallel.placement import replicated

PyTree = Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """step: int32 [], steps done. params and opt_state: pytrees. Nothing else, and no functions."""

    step: Array
    params: PyTree
    opt_state: PyTree

    @classmethod
    def of(cls, params: PyTree, transform: optax.GradientTransformation) -> "TrainState":
        """The state before the first step."""
        return cls(jnp.zeros((), jnp.int32), params, transform.init(params))


def state_shardings(state: TrainState, mesh: Mesh, rules: Rules) -> TrainState:
    """Where each leaf of a (possibly abstract) state lives: parameters by the rules, optimizer state beside them."""
    params = partition_shardings(state.params, rules, mesh)
    return TrainState(replicated(mesh), params, optimizer_shardings(state.opt_state, state.params, params, mesh))
