"""Learn what comes next: a causal sequence model under a softmax over the catalog, at every event."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from jaxrec.data.interactions import Histories
from jaxrec.data.training import TrainingData
from jaxrec.data.windows import WindowBatch, WindowSource
from jaxrec.errors import DataError
from jaxrec.losses.next_item import softmax_against
from jaxrec.method import Ranges
from jaxrec.models.sequence import SequenceModel, Tokens
from jaxrec.ranker import Arrays, Query
from jaxrec.tasks.task import Sizes

PyTree = Any


@dataclass(frozen=True)
class CatalogSoftmax:
    """Softmax over all items."""

    def columns(self, counts: Array, key: Array) -> tuple[Array | None, Array]:
        return None, jnp.zeros((), jnp.float32)


@dataclass(frozen=True)
class SampledSoftmax:
    """Softmax over the target and items drawn in proportion to their count to a power, the same for the whole batch,
    with log-q correction (Bengio and Senecal, 2008): an unbiased estimate of the sum over all items."""

    negatives: int = 1_024
    power: float = 0.5

    def columns(self, counts: Array, key: Array) -> tuple[Array, Array]:
        """Item rows int32 [negatives] and the logarithm of how often each is expected among them."""
        mass = jnp.maximum(counts, 1.0) ** self.power
        ends = jnp.cumsum(mass)
        drawn = jnp.searchsorted(ends, jax.random.uniform(key, (self.negatives,)) * ends[-1], side="right")
        rows = jnp.minimum(drawn, len(counts) - 1).astype(jnp.int32)
        return rows, jnp.log(self.negatives * mass[rows] / ends[-1])


@dataclass(frozen=True)
class NextItem:
    """The task of a sequence model: at every event of a history, the one that follows it.

    Long histories are cut into windows, short ones share rows, see `jaxrec.data.windows`.
    """

    model: SequenceModel = SequenceModel()
    loss: CatalogSoftmax | SampledSoftmax = CatalogSoftmax()

    constant_rules: ClassVar = ((r"^counts$", PartitionSpec()),)
    reads_text: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = {
        "model.dropout": (0.1, 0.2, 0.3, 0.4, 0.5),
        "model.dim": (64, 96, 128),
        "model.length": (50, 100, 200),
        "model.blocks": (1, 2, 3),
    }

    def constants(self, data: TrainingData) -> PyTree:
        """{"counts": float32 [items]}, training events of each item."""
        return {"counts": np.bincount(data.train.item_rows, minlength=data.dataset.num_items).astype(np.float32)}

    def source(self, data: TrainingData) -> WindowSource:
        if not len(data.train):
            raise DataError("there is no training event, so there is nothing to predict; hold out less")
        return WindowSource.of(Histories.of(data.train, data.dataset.num_users), self.model.length)

    def init(self, key: Array, constants: PyTree, batch: WindowBatch) -> PyTree:
        table, body = jax.random.split(key)
        items = 0.02 * jax.random.normal(table, (len(constants["counts"]), self.model.dim))
        params = self.model.init({"params": body}, items, Tokens(*batch[:6]))["params"]
        return {"items": {"embedding": items, "bias": jnp.zeros(len(items))}, "body": params}

    def gradients(
        self, params: PyTree, constants: PyTree, batch: WindowBatch, key: Array, *, axis_name: str | None = None
    ) -> tuple[PyTree, dict[str, Array]]:
        """Gradients of the mean over the batch. The key is the same on all devices: they draw the same items."""
        loss, grads = jax.value_and_grad(self._loss)(params, constants, batch, key, axis_name)
        return grads, {"loss": loss}

    def _loss(self, params: PyTree, constants: PyTree, batch: WindowBatch, key: Array, axis_name: str | None) -> Array:
        draw, dropout = jax.random.split(key)
        if axis_name is not None:
            dropout = jax.random.fold_in(dropout, jax.lax.axis_index(axis_name))
        table, bias = params["items"]["embedding"], params["items"]["bias"]
        states = self.model.apply(
            {"params": params["body"]}, table, Tokens(*batch[:6]), train=True, rngs={"dropout": dropout}
        )
        rows, log_count = self.loss.columns(constants["counts"], draw)
        targets = jnp.maximum(batch.targets, 0)
        columns, column_bias = (table, bias) if rows is None else (table[rows], bias[rows])
        rows = jnp.arange(len(table)) if rows is None else rows
        total = softmax_against(
            states, table[targets], bias[targets], columns, column_bias - log_count, rows, targets, batch.target_weights
        )
        return total / len(targets)

    def ranker(self, params: PyTree, constants: PyTree) -> "SequenceRanker":
        return SequenceRanker(Arrays(params["body"], params["items"]), self.model, self.model.length)

    def shapes(self, sizes: Sizes, batch_size: int) -> tuple[PyTree, WindowBatch]:
        types = dict.fromkeys(WindowBatch._fields, np.int32)
        types |= dict.fromkeys(("gaps", "waits", "weights", "target_weights"), np.float32)
        batch = {name: jax.ShapeDtypeStruct((batch_size, self.model.length), dtype) for name, dtype in types.items()}
        return {"counts": jax.ShapeDtypeStruct((sizes.items,), np.float32)}, WindowBatch(**batch)


@dataclass(frozen=True)
class SequenceRanker:
    """items: {"embedding": [items, dim], "bias": [items]}; shared: the parameters of the blocks."""

    arrays: Arrays
    model: SequenceModel
    history_length: int

    def user(self, arrays: Arrays, query: Query) -> Array:
        """The state after the last event, [batch, dim]; after the start token where there is none."""
        states = self.model.apply({"params": arrays.shared}, arrays.items["embedding"], tokens_of(query))
        last = (query.history >= 0).sum(axis=1)
        return jnp.take_along_axis(states, last[:, None, None], axis=1)[:, 0]

    def score(self, shared: PyTree, items: PyTree, user: Array) -> Array:
        return user @ items["embedding"].T + items["bias"][None, :]

    def user_profile(self, arrays: Arrays, query: Query) -> Array:
        return self.user(arrays, query)

    def item_profile(self, shared: PyTree, items: PyTree) -> Array:
        return items["embedding"]


def tokens_of(query: Query) -> Tokens:
    """The start token and the history, of each asker a row [batch, length + 1]."""

    def after_start(x: Array, start: float) -> Array:
        return jnp.pad(x, ((0, 0), (1, 0)), constant_values=start)

    there = query.history >= 0
    count = there.sum(axis=1, keepdims=True)
    places = count - jnp.arange(query.history.shape[1] + 1)[None, :]
    earlier = jnp.pad(query.ages, ((0, 0), (1, 0)))[:, :-1]
    gaps = jnp.where(there & (jnp.arange(query.history.shape[1]) > 0)[None, :], earlier - query.ages, 0)
    later = jnp.pad(query.ages, ((0, 0), (0, 1)))[:, 1:]  # a padded event has age 0, the asking
    waits = jnp.where(there, query.ages - later, 0)
    return Tokens(
        rows=after_start(query.history, -1),
        segments=jnp.where(places >= 0, 0, -1),
        places=jnp.maximum(places, 0),
        gaps=after_start(gaps, 0),
        waits=after_start(waits, 0),
        weights=after_start(jnp.where(there, query.weights, 0), 0),
    )
