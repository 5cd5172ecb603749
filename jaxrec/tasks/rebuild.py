"""Learn to rebuild histories: an autoencoder over what users have, under a multinomial likelihood."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from jaxrec.data.interactions import Histories
from jaxrec.data.queries import gather_queries
from jaxrec.data.training import TrainingData
from jaxrec.errors import DataError
from jaxrec.history_matrix import history_matrix, weighted_history
from jaxrec.losses.reconstruction import multinomial
from jaxrec.method import Between, Ranges
from jaxrec.models.history_autoencoder import HistoryAutoencoder
from jaxrec.ranker import Arrays, Query
from jaxrec.tasks.task import Sizes

PyTree = Any


class HistoryBatch(NamedTuple):
    """history: int32 [batch, length], the latest item rows of a user, oldest first, -1 where padded."""

    history: np.ndarray


@dataclass(frozen=True, eq=False)
class HistorySource:
    """An example is a user who has anything. users: int64 [examples]; length: events that are read at most."""

    histories: Histories
    users: np.ndarray
    length: int

    def __len__(self) -> int:
        return len(self.users)

    def gather(self, which: np.ndarray, rng: np.random.Generator) -> HistoryBatch:
        return HistoryBatch(gather_queries(self.histories, self.users[which], self.length, asked_at=0).history)


@dataclass(frozen=True)
class Rebuild:
    """The task of an autoencoder over histories: -sum_i x_i log softmax_i + kl_weight KL, in the mean over users,
    divided by the events that a user has in the mean, so that learning rates suit any data.

    kl_weight: beta of Liang et al. It stands from the start: a learning rate that warms up is in annealing's place.
    tau, base: the events of a history weigh base + exp(-rank / tau) when asked, see `history_matrix.recency`; None
    for ones. history_length: events that are read at most, the latest.
    """

    model: HistoryAutoencoder = HistoryAutoencoder()
    kl_weight: float = 0.2
    tau: float | None = None
    base: float = 0.1
    history_length: int = 1_024

    constant_rules: ClassVar = ((r"^counts$", PartitionSpec()),)
    reads_text: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = {
        "kl_weight": Between(0.01, 2.0, log=True),
        "model.dropout": (0.3, 0.5, 0.7, 0.8),
        "model.hidden": (200, 400, 600),
        "model.latent": (64, 128, 200),
    }

    def constants(self, data: TrainingData) -> PyTree:
        """{"counts": float32 [items], training events of each item; "events": of a user in the mean, a scalar}."""
        counts = np.bincount(data.train.item_rows, minlength=data.dataset.num_items).astype(np.float32)
        users = len(np.unique(data.train.user_rows))
        return {"counts": counts, "events": np.float32(counts.sum() / max(users, 1))}

    def source(self, data: TrainingData) -> HistorySource:
        histories = Histories.of(data.train, data.dataset.num_users)
        users = np.flatnonzero(histories.lengths > 0)
        if not len(users):
            raise DataError("there is no training event, so there is nothing to rebuild; hold out less")
        return HistorySource(histories, users, min(int(histories.lengths.max()), self.history_length))

    def init(self, key: Array, constants: PyTree, batch: HistoryBatch) -> PyTree:
        of_read, of_written, body = jax.random.split(key, 3)
        items, width = len(constants["counts"]), self.model.hidden
        glorot = nn.initializers.glorot_normal()
        read = glorot(of_read, (items, width))
        params = self.model.init({"params": body}, jnp.zeros((1, items)), read)["params"]
        written = {"embedding": glorot(of_written, (items, width)), "bias": jnp.zeros(items)}
        return {"items": {"read": {"embedding": read}, "written": written}, "body": params}

    def gradients(
        self, params: PyTree, constants: PyTree, batch: HistoryBatch, key: Array, *, axis_name: str | None = None
    ) -> tuple[PyTree, dict[str, Array]]:
        """Gradients of the mean over the batch, and the losses by name."""
        if axis_name is not None:
            key = jax.random.fold_in(key, jax.lax.axis_index(axis_name))
        (_, metrics), grads = jax.value_and_grad(self._total, has_aux=True)(params, constants, batch, key)
        return grads, metrics

    def _total(self, params: PyTree, constants: PyTree, batch: HistoryBatch, key: Array):
        read, written = params["items"]["read"]["embedding"], params["items"]["written"]
        bags = history_matrix(batch.history, read.shape[0])
        states, kl = self.model.apply({"params": params["body"]}, bags, read, train=True, rngs={"dropout": key})
        likelihood = multinomial(states @ written["embedding"].T + written["bias"][None, :], bags)
        events = constants["events"]
        rebuilt, kl = (bags.sum(axis=1) * likelihood / events).mean(), (kl / events).mean()
        total = rebuilt + self.kl_weight * kl
        return total, {"loss": total, "reconstruction": rebuilt, "kl": kl}

    def ranker(self, params: PyTree, constants: PyTree) -> "HistoryRanker":
        arrays = Arrays(params["body"], params["items"])
        return HistoryRanker(arrays, self.model, self.history_length, self.tau, self.base)

    def shapes(self, sizes: Sizes, batch_size: int) -> tuple[PyTree, HistoryBatch]:
        counts, events = (jax.ShapeDtypeStruct(shape, np.float32) for shape in ((sizes.items,), ()))
        history = jax.ShapeDtypeStruct((batch_size, self.history_length), np.int32)
        return {"counts": counts, "events": events}, HistoryBatch(history)


@dataclass(frozen=True)
class HistoryRanker:
    """items: {"read": {"embedding": [items, hidden]}, "written": {"embedding": [items, hidden], "bias": [items]}};
    shared: what is between them."""

    arrays: Arrays
    model: HistoryAutoencoder
    history_length: int
    tau: float | None = None
    base: float = 1.0

    def user(self, arrays: Arrays, query: Query) -> Array:
        """What the decoder makes of the mean of a history's code, [batch, hidden]."""
        read = arrays.items["read"]["embedding"]
        bags = weighted_history(query.history, read.shape[0], self.tau, self.base)
        return self.model.apply({"params": arrays.shared}, bags, read)[0]

    def score(self, shared: PyTree, items: PyTree, user: Array) -> Array:
        return user @ items["written"]["embedding"].T + items["written"]["bias"][None, :]

    def user_profile(self, arrays: Arrays, query: Query) -> Array:
        return self.user(arrays, query)

    def item_profile(self, shared: PyTree, items: PyTree) -> Array:
        return items["written"]["embedding"]
