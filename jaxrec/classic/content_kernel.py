"""How alike two items are by what is known of them without anybody: text, tags and numbers."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError


class Content(NamedTuple):
    """text: float32 [items, dim] and tags: float32 [items, tags], unit rows or zero; numbers: float32 [items, numbers],
    standardised."""

    text: jax.Array
    tags: jax.Array
    numbers: jax.Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class ContentKernel:
    """k(a, b) = max(0, cosine of the texts)^text_power + tags x cosine of the tags
    + numbers x mean over the number columns of exp(-|a - b| / length), length in standard deviations.

    A sum of kernels is a prior that a taste is a function of the words, plus one of the tags, plus one of the year.
    """

    text_power: float = 2.0
    tags: float = 0.3
    numbers: float = 0.3
    length: float = 0.3

    def __call__(self, ours: Content, theirs: Content) -> jax.Array:
        """float32 [our items, their items]."""
        alike = text_cosine(ours, theirs) ** self.text_power
        alike = alike + self.tags * jnp.matmul(ours.tags, theirs.tags.T, precision="highest")
        columns = ours.numbers.shape[1]
        for column in range(columns):
            apart = jnp.abs(ours.numbers[:, column][:, None] - theirs.numbers[:, column][None, :])
            alike = alike + self.numbers / columns * jnp.exp(-apart / self.length)
        return alike


def text_cosine(ours: Content, theirs: Content) -> jax.Array:
    """max(0, cosine), float32 [our items, their items]."""
    return jnp.maximum(jnp.matmul(ours.text, theirs.text.T, precision="highest"), 0.0)


def split_content(text: jax.Array, features: jax.Array | None, numbers: int) -> Content:
    """text: float32 [items, dim]; features: float32 [items, features], the first `numbers` of them numbers, the others
    ones and zeros (as `FeatureEncoder` makes them), or None for none."""
    features = jnp.zeros((text.shape[0], numbers), jnp.float32) if features is None else features
    return Content(_unit(text), _unit(features[:, numbers:]), features[:, :numbers])


def content_of(data: TrainingData, who: str) -> tuple[Content, int]:
    """What is known of all items, and how many of the features are numbers. Raises UserError without text vectors."""
    if not data.has_text:
        raise UserError(f"{who} needs item text vectors: set an encoder, and give a catalog with text")
    features = data.dataset.catalog.features
    numbers = len(features.encoder.numbers)
    return split_content(jnp.asarray(data.text, jnp.float32), jnp.asarray(features.values), numbers), numbers


def warm_items(data: TrainingData) -> np.ndarray:
    """Items that somebody has in training, bool [items]."""
    return np.bincount(data.train.item_rows, minlength=data.dataset.num_items) > 0


def _unit(rows: jax.Array) -> jax.Array:
    return rows / jnp.maximum(jnp.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
