"""Experiment: the root of every config, everything one job needs; and its check at real size without any data."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from jaxrec.classic.ease import Ease
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.classic.popularity import Popular, RecentPopular
from jaxrec.data.cleaning import Cleaning
from jaxrec.data.examples import Batch, Examples
from jaxrec.data.holdout import HoldoutRule, TimeCutoff
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.models.towers import ItemTable
from jaxrec.parallel.mesh import MeshShape
from jaxrec.tasks.item_table import SMALL_CATALOG, Neighbourhood
from jaxrec.tasks.retrieval import Retrieval
from jaxrec.text_encoder import BagOfWords, TextEncoder
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import AdamW, OptimizerConfig


@dataclass(frozen=True)
class Experiment:
    """One job, from raw files to an artifact. Equal after a JSON round trip.

    source: where the tables come from. cleaning, holdout: how they are cleaned and divided. encoder: turns texts into
    vectors, frozen; None for no text. task: the model and its loss. examples: how histories are cut into training
    examples. neighbourhood: the text neighbours that item towers may read. baselines: classic rankers judged on the
    same split. ks: list lengths of the metrics. show_user: the id whose recommendations are shown; None for the first
    judged. seed: of all that is random.
    """

    name: str
    source: Any = MovieLens("100k")
    cleaning: Cleaning = field(default_factory=Cleaning)
    holdout: HoldoutRule = TimeCutoff()
    encoder: TextEncoder | BagOfWords | None = TextEncoder()
    task: Retrieval = Retrieval()
    examples: Examples = Examples()
    neighbourhood: Neighbourhood = Neighbourhood()
    optimizer: OptimizerConfig = AdamW()
    train: Train = Train()
    mesh: MeshShape = MeshShape()
    baselines: tuple[Any, ...] = (Popular(), RecentPopular(), ItemNeighbours(), Ease())
    ks: tuple[int, ...] = (10, 20, 100)
    show_user: str | None = None
    seed: int = 0


class Sizes(NamedTuple):
    """What of the data decides shapes: rows, and widths of vectors. tokens: of an item's text, where the encoder is
    trained along."""

    items: int
    text: int = 384
    item_features: int = 0
    user_features: int = 0
    tokens: int = 0


def smaller(experiment: Experiment, **train: Any) -> Experiment:
    """The same job in seconds on a CPU: few and small steps. A config's `debug` replaces what else is to shrink."""
    options = {"num_steps": 30, "batch_size_global": 32, "evaluate_every": 15, "checkpoint_every": 10, "log_every": 5}
    optimizer = experiment.optimizer
    if isinstance(optimizer, AdamW):
        optimizer = replace(optimizer, warmup_steps=min(optimizer.warmup_steps, 5))
    return replace(experiment, train=replace(experiment.train, **(options | train)), optimizer=optimizer)


def abstract_inputs(experiment: Experiment, sizes: Sizes) -> tuple[ItemTable, Batch]:
    """Shapes of the item table and of one global batch, as numpy would hold them."""
    import jax

    def of(dtype, *shape):
        return jax.ShapeDtypeStruct(shape, dtype)

    items, count = sizes.items, experiment.neighbourhood.count_for(sizes.items) if sizes.text else 0
    if count and items <= SMALL_CATALOG:
        neighbours, weights = of(np.int32, items, 0), of(np.float32, items, items)
    else:
        neighbours, weights = of(np.int32, items, count), of(np.float32, items, count)
    table = ItemTable(
        text=of(np.float32, items, sizes.text),
        features=of(np.float32, items, sizes.item_features),
        warm=of(np.bool_, items),
        neighbours=neighbours,
        neighbour_weights=weights,
        tokens=of(np.int32, items, sizes.tokens),
    )
    batch, length, targets = (
        experiment.train.batch_size_global,
        experiment.examples.history_length,
        experiment.examples.num_targets,
    )
    return table, Batch(
        history=of(np.int32, batch, length),
        weights=of(np.float32, batch, length),
        ages=of(np.float32, batch, length),
        features=of(np.float32, batch, sizes.user_features),
        text=of(np.float32, batch, sizes.text),
        targets=of(np.int32, batch, targets),
        target_weights=of(np.float32, batch, targets),
        log_q=of(np.float32, batch, targets),
    )


class ShapeReport(NamedTuple):
    """What a job at real size holds. constants: bytes of the item table. bytes_per_device: parameters, their gradients,
    Adam's two moments and the item table, after sharding; what a step computes comes on top."""

    parameters: int
    constants: int
    bytes_per_device: int
    mesh: tuple[int, int]


def check_shapes(experiment: Experiment, sizes: Sizes) -> ShapeReport:
    """Trace a whole training step at real size, shapes only, and lay it out on the mesh that the config names.

    Raises what a real run would raise: shapes that do not fit, a leaf without a partition rule, a mesh that does not
    divide.
    """
    import jax
    from jax.sharding import AbstractMesh, AxisType

    from jaxrec.parallel.mesh import DATA, MODEL
    from jaxrec.parallel.partition import PARAM_RULES, leaf_names, partition_specs
    from jaxrec.parallel.partition import fitted_spec as fitted
    from jaxrec.tasks.retrieval import ITEM_RULES

    table, batch = abstract_inputs(experiment, sizes)
    task = experiment.task
    key = jax.eval_shape(lambda: jax.random.key(0))
    params = jax.eval_shape(task.init, key, table, batch)
    grads, _ = jax.eval_shape(task.gradients, params, table, batch, key)
    if jax.tree.map(lambda x: x.shape, grads) != jax.tree.map(lambda x: x.shape, params):
        raise ValueError("gradients and parameters differ in shape")
    data, model = max(experiment.mesh.data, 1), max(experiment.mesh.model, 1)
    mesh = AbstractMesh((data, model), (DATA, MODEL), axis_types=(AxisType.Auto,) * 2)
    experiment.train.check(mesh)

    def bytes_on_one(tree, rules) -> int:
        specs, leaves = partition_specs(tree, rules), jax.tree.leaves(tree)
        total = 0
        for name, leaf, spec in zip(leaf_names(tree), leaves, jax.tree.leaves(specs), strict=True):
            ways = [mesh.shape[axis] for axis in fitted(name, leaf, spec, mesh) if axis]
            total += leaf.size * leaf.dtype.itemsize // int(np.prod(ways))
        return total

    per_device = 4 * bytes_on_one(params, PARAM_RULES) + bytes_on_one(table, ITEM_RULES)
    return ShapeReport(
        sum(leaf.size for leaf in jax.tree.leaves(params)),
        sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(table)),
        per_device,
        (data, model),
    )
