"""Learn to retrieve over the graph of users and items: LightGCN under a ranking loss."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from jaxrec.data.examples import Examples, ExampleSource
from jaxrec.data.training import TrainingData
from jaxrec.errors import DataError, UserError
from jaxrec.method import Between, Ranges
from jaxrec.models.graphs.knowledge import Facts
from jaxrec.models.graphs.lightgcn import Graph, LightGCN, Vectors
from jaxrec.ranker import Arrays, Query, products
from jaxrec.tasks.graph_table import SMALL_GRAPH, graph_of
from jaxrec.tasks.retrieval import Bce, Bpr, FullSoftmax, InBatchSoftmax
from jaxrec.tasks.task import Sizes

PyTree = Any


class GraphBatch(NamedTuple):
    """users: int32 [batch], rows. history, targets: int32 [batch, any], item rows, -1 where padded; target_weights and
    log_q: float32, as in `jaxrec.data.examples.Batch`."""

    users: np.ndarray
    history: np.ndarray
    targets: np.ndarray
    target_weights: np.ndarray
    log_q: np.ndarray


@dataclass(frozen=True, eq=False)
class GraphSource:
    """An example is one user."""

    examples: ExampleSource

    def __len__(self) -> int:
        return len(self.examples)

    def gather(self, which: np.ndarray, rng: np.random.Generator) -> GraphBatch:
        batch = self.examples.gather(which, rng)
        users = self.examples.users[which].astype(np.int32)
        return GraphBatch(users, batch.history, batch.targets, batch.target_weights, batch.log_q)


@dataclass(frozen=True)
class GraphRanker:
    """items: {"vector": [items, dim], "read": [items, dim]}: as it is ranked, and as it is read in a history.

    Users need no vector of their own, so that artifacts hold none and who was never seen is served as others are.
    """

    arrays: Arrays
    history_length: int

    def user(self, arrays: Arrays, query: Query) -> Array:
        return read_history(query.history, arrays.items["read"])

    def score(self, shared: PyTree, items: PyTree, user: Array) -> Array:
        return products(user, items["vector"])

    def user_profile(self, arrays: Arrays, query: Query) -> Array:
        """The asker's vector [batch, dim]."""
        return self.user(arrays, query)

    def item_profile(self, shared: PyTree, items: PyTree) -> Array:
        """The items' vectors [block, dim]."""
        return items["vector"]


def read_history(history: Array, read: Array) -> Array:
    """Sum of the rows of `read` over sqrt(length), [batch, dim]; history: int32 [batch, any], -1 where padded."""
    there = history >= 0
    vectors = jnp.where(there[..., None], jnp.take(read, jnp.maximum(history, 0), axis=0), 0.0)
    return vectors.sum(axis=1) / jnp.sqrt(jnp.maximum(there.sum(axis=1, keepdims=True), 1).astype(read.dtype))


@dataclass(frozen=True)
class GraphRetrieval:
    """The task of models over the graph.

    loss: as of the two-tower model. l2: weight of the sum of squares of all parameters. examples: which of a user's
    events are the targets of a step; the graph itself holds them all. max_facts: entities that are read of an item at
    most, the most shared first, where the model reads a knowledge graph.
    """

    model: LightGCN = LightGCN()
    loss: FullSoftmax | InBatchSoftmax | Bpr | Bce = FullSoftmax()
    l2: float = 1e-5
    examples: Examples = Examples(hidden=0.5, history_length=1_024)
    max_facts: int = 64

    reads_text: ClassVar[bool] = False
    constant_rules: ClassVar = (
        (r"^(items|warm|facts/entities|facts/relations)$", PartitionSpec("model")),
        (r"^matrix$", PartitionSpec(None, "model")),
        (r"^(users|edge_users|edge_items|facts/entity_rarity|facts/relation_sizes)$", PartitionSpec()),
    )
    ranges: ClassVar[Ranges] = {
        "l2": Between(1e-7, 1e-3, log=True),
        "model.layers": (1, 2, 3, 4),
        "model.own_users": (True, False),
    }

    def on(self, data: TrainingData) -> "GraphRetrieval":
        """Itself. Raises UserError for a model of knowledge where the data has none."""
        if self.model.knowledge is not None and data.dataset.knowledge is None:
            raise UserError(
                "task.model.knowledge reads a knowledge graph and the data has none; load it with "
                'MovieLens("100k", knowledge=True) or Atomic(path, knowledge=True), or leave task.model.knowledge out'
            )
        return self

    def constants(self, data: TrainingData) -> Graph:
        return graph_of(data, facts=self.max_facts if self.model.knowledge is not None else 0)

    def source(self, data: TrainingData) -> GraphSource:
        users, items = data.dataset.num_users, data.dataset.num_items
        nothing = np.zeros((users, 0), np.float32)
        source = ExampleSource.of(self.examples, data.train, users, items, nothing, nothing)
        if not len(source):
            raise DataError("no user has two training events, so there is nothing to predict from; hold out less")
        return GraphSource(source)

    def init(self, key: Array, constants: Graph, batch: GraphBatch) -> PyTree:
        return self.model.init(key, constants)["params"]  # without dropout: it has no parameters

    def gradients(
        self, params: PyTree, constants: Graph, batch: GraphBatch, key: Array, *, axis_name: str | None = None
    ) -> tuple[PyTree, dict[str, Array]]:
        """Gradients of the mean over the batch, and the losses by name. axis_name: gather negatives over devices."""
        (_, metrics), grads = jax.value_and_grad(self._total, has_aux=True)(params, constants, batch, key, axis_name)
        return grads, metrics

    def _total(self, params, graph, batch, key, axis_name):
        targets, log_q = batch.targets, batch.log_q.reshape(-1)
        if axis_name is not None:
            targets = jax.lax.all_gather(targets, axis_name, tiled=True)
            log_q = jax.lax.all_gather(log_q, axis_name, tiled=True)
        negatives_key, dropout_key = jax.random.split(key)  # the same on all devices: they share one graph
        rows = self.loss.rows(targets, graph.warm.shape[0], negatives_key)
        vectors = self.model.apply({"params": params}, graph, train=True, rngs={"dropout": dropout_key})
        users = read_history(batch.history, vectors.read) if vectors.users is None else vectors.users[batch.users]
        items = vectors.items if rows is None else vectors.items[jnp.maximum(rows, 0)]
        ranking = self.loss(users @ items.T, rows, log_q, batch, graph).mean()
        total = ranking + self.l2 * sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(params))
        return total, {"loss": total, "ranking": ranking}

    def ranker(self, params: PyTree, constants: Graph) -> GraphRanker:
        vectors = _vectors(self.model, params, constants)
        return GraphRanker(Arrays({}, {"vector": vectors.items, "read": vectors.read}), self.examples.history_length)

    def shapes(self, sizes: Sizes, batch_size: int) -> tuple[Graph, GraphBatch]:
        def of(dtype, *shape):
            return jax.ShapeDtypeStruct(shape, dtype)

        length, targets = self.examples.history_length, self.examples.num_targets
        users, items, edges = sizes.users, sizes.items, sizes.events
        facts = self.max_facts if self.model.knowledge is not None else 0
        spelt_out = users * items <= SMALL_GRAPH
        graph = Graph(
            users=of(np.float32, users),
            items=of(np.float32, items),
            matrix=of(np.float32, users, items if spelt_out else 0),
            edge_users=of(np.int32, 0 if spelt_out else edges),
            edge_items=of(np.int32, 0 if spelt_out else edges),
            warm=of(np.bool_, items),
            facts=Facts(
                of(np.int32, items, facts),
                of(np.int32, items, facts),
                of(np.float32, items if facts else 1),
                of(np.float32, 1),
            ),
        )
        return graph, GraphBatch(
            users=of(np.int32, batch_size),
            history=of(np.int32, batch_size, length),
            targets=of(np.int32, batch_size, targets),
            target_weights=of(np.float32, batch_size, targets),
            log_q=of(np.float32, batch_size, targets),
        )


def _apply(model: LightGCN, params: PyTree, graph: Graph) -> Vectors:
    return model.apply({"params": params}, graph)


_vectors = jax.jit(_apply, static_argnames="model")
