"""What gradient steps optimise: all that the loop, a job and the check of shapes need to know of it."""

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from jaxrec.data.batches import Source
from jaxrec.data.training import TrainingData
from jaxrec.ranker import Ranker

PyTree = Any


class Sizes(NamedTuple):
    """What of the data decides shapes: rows, and widths of vectors. tokens: of an item's text, where the encoder is
    trained along. users, events: rows of the user table and of the log, which graphs are made of."""

    items: int
    text: int = 384
    item_features: int = 0
    user_features: int = 0
    tokens: int = 0
    users: int = 1_000
    events: int = 100_000


class Task(Protocol):
    """A frozen dataclass of options. Its batches are any NamedTuple of numpy arrays [batch, ...].

    constant_rules: how the constants are split over the mesh, (pattern of leaf names, PartitionSpec).

    A task may have more, and is asked for it only where it has it:
    on(data) -> Task: the task bound to its data, such as one that holds the texts as tokens (`bound`).
    trainable(params) -> booleans of the same shape: False leaves stay as they are.
    warm_start(params) -> fresh parameters with pretrained values in their place.
    reads_text: False where `data.text` is never looked at. ranges: where its own options are searched, by dotted name.
    """

    constant_rules: ClassVar[tuple[tuple[str, PartitionSpec], ...]]

    def constants(self, data: TrainingData) -> PyTree:
        """Host arrays that every step reads and none changes, placed once: the item table, the edges of a graph."""
        ...

    def source(self, data: TrainingData) -> Source:
        """The examples that batches are gathered from. Raises DataError where there is none."""
        ...

    def init(self, key: Array, constants: PyTree, batch: PyTree) -> PyTree:
        """Fresh parameters."""
        ...

    def gradients(
        self, params: PyTree, constants: PyTree, batch: PyTree, key: Array, *, axis_name: str | None = None
    ) -> tuple[PyTree, Mapping[str, Array]]:
        """Gradients shaped like the parameters, and scalars by name for the log, "loss" among them.

        axis_name: of the devices under pmap, for what is gathered over the whole batch.
        """
        ...

    def ranker(self, params: PyTree, constants: PyTree) -> Ranker:
        """The ranker of parameters and constants, both on devices; it may be made anew at every validation."""
        ...

    def shapes(self, sizes: Sizes, batch_size: int) -> tuple[PyTree, PyTree]:
        """(constants, one global batch) as ShapeDtypeStructs of what numpy would hold."""
        ...


def bound(task: Task, data: TrainingData) -> Task:
    """The task on this data. Raises UserError where they do not go together."""
    return task.on(data) if hasattr(task, "on") else task


def first_batch(source: Source, size: int) -> PyTree:
    """A batch [size, ...] for shapes; every call gives the same one."""
    return source.gather(np.arange(size) % len(source), np.random.default_rng(0))
