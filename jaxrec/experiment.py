"""Experiment: the root of every config, everything one job needs; and its check at real size without any data."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from jaxrec.classic.ease import Ease
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.classic.popularity import Popular, RecentPopular
from jaxrec.data.cleaning import Cleaning
from jaxrec.data.holdout import HoldoutRule, TimeCutoff
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.parallel.mesh import MeshShape
from jaxrec.tasks.task import Sizes
from jaxrec.text_encoder import BagOfWords, TextEncoder
from jaxrec.train.optimizers import AdamW
from jaxrec.train.trained import Trained, trained_in

__all__ = ["Experiment", "ShapeReport", "Sizes", "check_shapes", "smaller"]


@dataclass(frozen=True)
class Experiment:
    """One job, from raw files to an artifact. Equal after a JSON round trip.

    source: where the tables come from. cleaning, holdout: how they are cleaned and divided. encoder: turns texts into
    vectors, frozen; None for no text. method: what makes the ranker, a `jaxrec.method.Method`: `Trained` for what
    gradient steps optimise, `Ease()` or any other in closed form. baselines: methods judged beside it on the same
    split. ks: list lengths of the metrics. show_user: the id whose recommendations are shown; None for the first
    judged. seed: of all that is random.
    """

    name: str
    source: Any = MovieLens("100k")
    cleaning: Cleaning = field(default_factory=Cleaning)
    holdout: HoldoutRule = TimeCutoff()
    encoder: TextEncoder | BagOfWords | None = TextEncoder()
    method: Any = Trained()
    mesh: MeshShape = MeshShape()
    baselines: tuple[Any, ...] = (Popular(), RecentPopular(), ItemNeighbours(), Ease())
    ks: tuple[int, ...] = (10, 20, 100)
    show_user: str | None = None
    seed: int = 0


def smaller(experiment: Experiment, **train: Any) -> Experiment:
    """The same job in seconds on a CPU: what is trained takes few and small steps. A config's `debug` replaces what
    else is to shrink."""
    options = {"num_steps": 30, "batch_size_global": 32, "evaluate_every": 15, "checkpoint_every": 10, "log_every": 5}
    return replace(experiment, method=_smaller(experiment.method, options | train))


def _smaller(method: Any, options: dict[str, Any]) -> Any:
    if isinstance(method, Trained):
        optimizer = method.optimizer
        if isinstance(optimizer, AdamW):
            optimizer = replace(optimizer, warmup_steps=min(optimizer.warmup_steps, 5))
        return replace(method, train=replace(method.train, **options), optimizer=optimizer)
    if hasattr(method, "parts"):
        return replace(method, parts=tuple(_smaller(part, options) for part in method.parts))
    return method


class ShapeReport(NamedTuple):
    """What a job at real size holds. name: of what is trained. constants: bytes of what every step reads, such as the
    item table. bytes_per_device: parameters, their gradients, Adam's two moments and the constants, after sharding;
    what a step computes comes on top."""

    name: str
    parameters: int
    constants: int
    bytes_per_device: int
    mesh: tuple[int, int]


def check_shapes(experiment: Experiment, sizes: Sizes) -> tuple[ShapeReport, ...]:
    """Trace a whole training step of all that is trained at real size, shapes only, and lay it out on the mesh that the
    config names; () for a method in closed form.

    Raises what a real run would raise: shapes that do not fit, a leaf without a partition rule, a mesh that does not
    divide.
    """
    return tuple(_report(trained, experiment.mesh, sizes) for trained in trained_in(experiment.method))


def _report(trained: Trained, shape: MeshShape, sizes: Sizes) -> ShapeReport:
    import jax
    from jax.sharding import AbstractMesh, AxisType

    from jaxrec.parallel.mesh import DATA, MODEL
    from jaxrec.parallel.partition import PARAM_RULES, leaf_names, partition_specs
    from jaxrec.parallel.partition import fitted_spec as fitted

    task = trained.task
    constants, batch = task.shapes(sizes, trained.train.batch_size_global)
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(task.init, key, constants, batch)
    grads, _ = jax.eval_shape(task.gradients, params, constants, batch, key)
    if jax.tree.map(lambda x: x.shape, grads) != jax.tree.map(lambda x: x.shape, params):
        raise ValueError("gradients and parameters differ in shape")
    data, model = max(shape.data, 1), max(shape.model, 1)
    mesh = AbstractMesh((data, model), (DATA, MODEL), axis_types=(AxisType.Auto,) * 2)
    trained.train.check(mesh)

    def bytes_on_one(tree, rules) -> int:
        specs, leaves = partition_specs(tree, rules), jax.tree.leaves(tree)
        total = 0
        for name, leaf, spec in zip(leaf_names(tree), leaves, jax.tree.leaves(specs), strict=True):
            ways = [mesh.shape[axis] for axis in fitted(name, leaf, spec, mesh) if axis]
            total += leaf.size * leaf.dtype.itemsize // int(np.prod(ways))
        return total

    return ShapeReport(
        trained.name,
        sum(leaf.size for leaf in jax.tree.leaves(params)),
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(constants)),
        4 * bytes_on_one(params, PARAM_RULES) + bytes_on_one(constants, task.constant_rules),
        (data, model),
    )
