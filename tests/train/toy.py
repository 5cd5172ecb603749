"""A small task with an embedding table, in-batch negatives and randomness; its data; and a script to run it."""

from typing import Any, NamedTuple

import grain
import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.train.loop import fit

ITEMS, DIM, BATCH = 32, 8, 16


class Toy(NamedTuple):
    """Each row of the log pairs a user vector with an item; loss is softmax over the items of the whole batch."""

    noise: float = 0.0

    def init(self, key, constants, batch):
        table = jax.random.normal(key, (ITEMS, DIM)) * 0.1
        return {
            "items": {"embedding": table},
            "user": {"kernel": jnp.eye(DIM), "bias": jnp.zeros(DIM)},
        }

    def gradients(self, params, constants, batch, key, *, axis_name=None):
        noise = self.noise * jax.random.normal(key, batch["user"].shape)

        def loss_of(params):
            users = (batch["user"] + noise) @ params["user"]["kernel"] + params["user"]["bias"][None]
            items = jnp.take(params["items"]["embedding"], batch["item"], axis=0)
            items += jnp.take(constants["items"]["text"], batch["item"], axis=0)
            labels = jnp.arange(users.shape[0])
            if axis_name is not None:
                labels += jax.lax.axis_index(axis_name) * users.shape[0]
                items = jax.lax.all_gather(items, axis_name, tiled=True)
            logits = users @ items.T * batch["weight"][:, None]
            return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1).mean()

        loss, grads = jax.value_and_grad(loss_of)(params)
        return grads, {"loss": loss}


class Regression(NamedTuple):
    """Mean squared error of a linear map: a loss that is a mean over examples."""

    def init(self, key, constants, batch):
        return {"kernel": jnp.zeros((DIM, DIM)), "bias": jnp.zeros(DIM)}

    def gradients(self, params, constants, batch, key, *, axis_name=None):
        def loss_of(params):
            text = jnp.take(constants["items"]["text"], batch["item"], axis=0)
            return ((batch["user"] @ params["kernel"] + params["bias"][None] - text) ** 2).mean()

        loss, grads = jax.value_and_grad(loss_of)(params)
        return grads, {"loss": loss}


def constants() -> dict[str, Any]:
    return {"items": {"text": np.random.default_rng(1).normal(size=(ITEMS, DIM)).astype(np.float32)}}


class Rows:
    """A random access source of whole rows."""

    def __init__(self, rows: int = 72, bad_row: int | None = None):
        rng = np.random.default_rng(2)
        self.item = rng.integers(0, ITEMS, rows).astype(np.int32)
        text = constants()["items"]["text"]
        self.user = (text[self.item] + 0.1 * rng.normal(size=(rows, DIM))).astype(np.float32)
        self.weight = np.ones(rows, np.float32)
        if bad_row is not None:
            self.weight[bad_row] = np.nan

    def __len__(self):
        return len(self.item)

    def __getitem__(self, row):
        return {"item": self.item[row], "user": self.user[row], "weight": self.weight[row]}


def batches(size: int = BATCH, *, shard: tuple[int, int] = (0, 1), shuffle: bool = True, rows: Rows | None = None):
    """Endless batches; 72 rows in batches of 16, so that epochs end within a batch. A shard takes its part of each."""
    index, count = shard
    data = grain.MapDataset.source(rows or Rows())
    data = data.shuffle(seed=3) if shuffle else data
    data = data.repeat().batch(size).map(lambda b: jax.tree.map(lambda x: np.split(x, count)[index], b))
    return iter(data.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)))


def first_batch(size: int = BATCH):
    return next(batches(size))


def run(workdir, *, train, task, optimizer, shape, data=None, **options):
    """fit() on the toy data; shape is a MeshShape."""
    return fit(
        task,
        optimizer,
        train,
        shape.make(),
        constants(),
        batches() if data is None else data,
        first_batch(),
        workdir=workdir,
        strategy=shape.strategy,
        **{"seed": 7, "quiet": True, **options},
    )
