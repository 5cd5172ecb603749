"""Learn to retrieve: the two-tower model under a ranking loss, with the profile heads' own losses beside it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from jaxrec.data.examples import Batch, Examples, ExampleSource
from jaxrec.data.training import TrainingData
from jaxrec.errors import DataError
from jaxrec.losses.ranking import binary_cross_entropy, bpr, full_softmax, holds, in_batch_softmax
from jaxrec.method import Between, Ranges
from jaxrec.models.towers import ItemTable
from jaxrec.models.two_tower import TwoTower
from jaxrec.ranker import Query
from jaxrec.tasks.item_table import SMALL_CATALOG, Neighbourhood, item_table
from jaxrec.tasks.ranker import TwoTowerRanker, two_tower_ranker
from jaxrec.tasks.task import Sizes, Task

PyTree = Any

ITEM_RULES = ((r"^(text|features|warm|neighbours|neighbour_weights|tokens)$", PartitionSpec("model")),)
"""How the item table is split: by rows over the model axis."""


def query_of(batch: Batch) -> Query:
    return Query(batch.history, batch.weights, batch.ages, batch.features, batch.text)


@dataclass(frozen=True)
class FullSoftmax:
    """Softmax over the whole catalog, but for what was read and what has no training event."""

    def rows(self, targets: Array, num_items: int, key: Array) -> Array | None:
        return None

    def __call__(self, scores: Array, rows: Array | None, log_q: Array, batch: Batch, table: ItemTable) -> Array:
        read, wanted = (_marked(rows, scores.shape[1]) for rows in (batch.history, batch.targets))
        excluded = (read & ~wanted) | ~table.warm[None, :]  # what is taken again may stand on both sides
        return full_softmax(scores, batch.targets, batch.target_weights, excluded)


@dataclass(frozen=True)
class InBatchSoftmax:
    """Softmax over the targets of the batch, but for what was read; with log-q correction where `correct` is set."""

    correct: bool = True

    def rows(self, targets: Array, num_items: int, key: Array) -> Array:
        return targets.reshape(-1)

    def __call__(self, scores: Array, rows: Array, log_q: Array, batch: Batch, table: ItemTable) -> Array:
        had = holds(jnp.concatenate([batch.history, batch.targets], axis=1), rows)
        log_count = jnp.zeros_like(scores)
        if self.correct:
            others = (rows >= 0).sum() - (batch.targets >= 0).sum(axis=1)
            log_count = log_q[None, :] + jnp.log(jnp.maximum(others, 1))[:, None]
        own = _own_columns(rows, batch.targets)
        return in_batch_softmax(scores, own, batch.target_weights, ~had & (rows >= 0)[None, :], log_count)


@dataclass(frozen=True)
class Bpr:
    """Each target against uniformly drawn items that the batch shares."""

    negatives: int = 256

    def rows(self, targets: Array, num_items: int, key: Array) -> Array:
        return _with_negatives(targets, num_items, self.negatives, key)

    def __call__(self, scores: Array, rows: Array, log_q: Array, batch: Batch, table: ItemTable) -> Array:
        return bpr(*_against_negatives(scores, rows, batch, table, self.negatives))


@dataclass(frozen=True)
class Bce:
    """Each target as a yes, uniformly drawn items as a no."""

    negatives: int = 256

    def rows(self, targets: Array, num_items: int, key: Array) -> Array:
        return _with_negatives(targets, num_items, self.negatives, key)

    def __call__(self, scores: Array, rows: Array, log_q: Array, batch: Batch, table: ItemTable) -> Array:
        return binary_cross_entropy(*_against_negatives(scores, rows, batch, table, self.negatives))


@dataclass(frozen=True)
class FineTune:
    """Train the text encoder along. freeze_lower: n leaves the embeddings and the first n layers as they are.
    lora_rank: above 0 trains low-rank adapters of that rank alone, beside queries and values (arXiv:2106.09685); they
    are added to the weights once training is done.

    max_tokens: of an item's text; longer ones are refused rather than cut unseen.
    """

    freeze_lower: int = 0
    max_tokens: int = 64
    lora_rank: int = 0


@dataclass(frozen=True)
class Retrieval:
    """The task of the two-tower model.

    loss: the ranking loss. profile_weight: weight of the heads' own losses beside it. l2: weight of the sum of squares
    of all parameters, which keeps small data from being learned by heart. fine_tune: None keeps the encoder frozen.
    examples: how histories are cut into what is read and what is predicted. neighbourhood: the text neighbours that
    item towers may read.
    """

    model: TwoTower = TwoTower()
    loss: FullSoftmax | InBatchSoftmax | Bpr | Bce = FullSoftmax()
    profile_weight: float = 0.1
    l2: float = 0.0
    fine_tune: FineTune | None = None
    examples: Examples = Examples()
    neighbourhood: Neighbourhood = Neighbourhood()

    constant_rules: ClassVar = ITEM_RULES
    ranges: ClassVar[Ranges] = {
        "l2": Between(1e-6, 1e-3, log=True),
        "model.user.dropout": (0.0, 0.1, 0.2, 0.3, 0.5),
        "model.item.id_dropout": (0.0, 0.1, 0.2, 0.3, 0.5),
        "examples.half_life_days": (None, 4.0, 14.0, 60.0),
    }

    @property
    def reads_text(self) -> bool:
        """The vectors of a frozen encoder, that is; one that is trained along reads tokens."""
        return self.fine_tune is None

    def on(self, data: TrainingData) -> Task:
        """Itself, or with the encoder that is trained along. Raises UserError where that cannot be."""
        from jaxrec.tasks.tuning import tuned_for

        return (
            tuned_for(self, data.encoder, data.dataset.catalog.texts.to_pylist())
            if self.fine_tune is not None
            else self
        )

    def constants(self, data: TrainingData) -> ItemTable:
        features = data.dataset.catalog.features.values
        text = data.text if data.has_text else np.zeros((data.dataset.num_items, 0), np.float32)
        return item_table(data.train, text, features, self.neighbourhood)

    def source(self, data: TrainingData) -> ExampleSource:
        users, items = data.dataset.num_users, data.dataset.num_items
        text = np.zeros((users, 0), np.float32) if data.user_text is None else data.user_text
        features = data.dataset.users.features.values
        source = ExampleSource.of(self.examples, data.train, users, items, features, text)
        if not len(source):
            raise DataError("no user has two training events, so there is nothing to predict from; hold out less")
        return source

    def ranker(self, params: PyTree, constants: ItemTable) -> TwoTowerRanker:
        return two_tower_ranker(self.model, params, constants, self.neighbourhood, self.examples.history_length)

    def shapes(self, sizes: Sizes, batch_size: int) -> tuple[ItemTable, Batch]:
        def of(dtype, *shape):
            return jax.ShapeDtypeStruct(shape, dtype)

        items, count = sizes.items, self.neighbourhood.count_for(sizes.items) if sizes.text else 0
        spelt_out = count > 0 and items <= SMALL_CATALOG
        table = ItemTable(
            text=of(np.float32, items, sizes.text),
            features=of(np.float32, items, sizes.item_features),
            warm=of(np.bool_, items),
            neighbours=of(np.int32, items, 0 if spelt_out else count),
            neighbour_weights=of(np.float32, items, items if spelt_out else count),
            tokens=of(np.int32, items, sizes.tokens),
        )
        length, targets = self.examples.history_length, self.examples.num_targets
        return table, Batch(
            history=of(np.int32, batch_size, length),
            weights=of(np.float32, batch_size, length),
            ages=of(np.float32, batch_size, length),
            features=of(np.float32, batch_size, sizes.user_features),
            text=of(np.float32, batch_size, sizes.text),
            targets=of(np.int32, batch_size, targets),
            target_weights=of(np.float32, batch_size, targets),
            log_q=of(np.float32, batch_size, targets),
        )

    def init(self, key: Array, constants: ItemTable, batch: Batch) -> PyTree:
        rows = None if isinstance(self.loss, FullSoftmax) else jnp.zeros((1,), jnp.int32)
        params, dropout = jax.random.split(key)
        keys = {"params": params, "dropout": dropout}
        return self.model.init(keys, constants, query_of(batch), rows, train=True)["params"]

    def gradients(
        self, params: PyTree, constants: ItemTable, batch: Batch, key: Array, *, axis_name: str | None = None
    ) -> tuple[PyTree, dict[str, Array]]:
        """Gradients of the mean over the batch, and the losses by name.

        axis_name: gather negatives over devices. The key is the same on all of them, so that they draw the same items.
        """
        (_, metrics), grads = jax.value_and_grad(self._total, has_aux=True)(params, constants, batch, key, axis_name)
        return grads, metrics

    def _total(self, params, table, batch, key, axis_name):
        negatives_key, dropout_key = jax.random.split(key)
        targets, log_q = batch.targets, batch.log_q.reshape(-1)
        if axis_name is not None:
            dropout_key = jax.random.fold_in(dropout_key, jax.lax.axis_index(axis_name))
            targets = jax.lax.all_gather(targets, axis_name, tiled=True)
            log_q = jax.lax.all_gather(log_q, axis_name, tiled=True)
        rows = self.loss.rows(targets, table.warm.shape[0], negatives_key)
        scores, own_losses = self.model.apply(
            {"params": params}, table, query_of(batch), rows, train=True, rngs={"dropout": dropout_key}
        )
        metrics = {"ranking": self.loss(scores, rows, log_q, batch, table).mean()}
        there = None if rows is None else rows >= 0  # a padded target's column is no item
        for name, value in own_losses.items():
            metrics[name] = value.mean(where=there if name.startswith("item/") else None)
        total = metrics["ranking"] + self.profile_weight * sum(v for k, v in metrics.items() if k != "ranking")
        for part in ("item", "history", "user"):
            if f"{part}/critic" in metrics:  # L_G + lambda L_D of the GAN, for the log alone
                metrics[f"{part}/gan"] = metrics[f"{part}/generator"] + self.profile_weight * metrics[f"{part}/critic"]
        if self.l2:
            total = total + self.l2 * sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(params))
        return total, {"loss": total, **metrics}


def _marked(own: Array, num_items: int) -> Array:
    """bool [batch, items], whether the asker's own item rows (-1 where padded) hold the item."""
    batch = jnp.arange(own.shape[0])[:, None]
    nothing = jnp.zeros((own.shape[0], num_items), bool)
    return nothing.at[batch, jnp.where(own < 0, num_items, own)].set(True, mode="drop")


def _own_columns(rows: Array, targets: Array) -> Array:
    """The first column that holds each target, int32 [batch, targets]; any for a target that none holds."""
    order = jnp.argsort(rows, stable=True)
    place = jnp.searchsorted(jnp.take(rows, order), targets)
    return jnp.take(order, jnp.minimum(place, rows.shape[0] - 1))


def _with_negatives(targets: Array, num_items: int, negatives: int, key: Array) -> Array:
    """The items drawn, and behind them the targets, each once: of a large batch they are the catalog, no more."""
    drawn = jax.random.randint(key, (negatives,), 0, num_items, dtype=targets.dtype)
    most = min(targets.size, num_items + 1)  # -1 among them
    return jnp.concatenate([drawn, jnp.unique(targets, size=most, fill_value=-1)])


def _against_negatives(scores, rows, batch, table, negatives):
    """Scores of the targets, of the drawn items, target weights, and which drawn items the asker does not have."""
    drawn = rows[:negatives]
    own = negatives + _own_columns(rows[negatives:], batch.targets)
    positive = jnp.take_along_axis(scores, own, axis=-1)
    had = holds(jnp.concatenate([batch.history, batch.targets], axis=1), drawn)
    return positive, scores[:, :negatives], batch.target_weights, ~had & table.warm[drawn][None, :]
