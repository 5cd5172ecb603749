"""Popularity among people like the asker: a ridge regression from what is known of users to what they chose."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data.interactions import distinct_pairs
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.method import HERE, Between, Ranges, Setting
from jaxrec.ranker import FEATURES, Arrays, PyTree, Query, products


@dataclass(frozen=True)
class UserRidgeRanker:
    """items: {"weights": float32 [items, known], "share": float32 [items], of users who have it}; shared: {"mean":
    float32 [known]} of what is known of users."""

    arrays: Arrays
    history_length: int = 1

    reads: ClassVar[str] = FEATURES

    def user(self, arrays: Arrays, query: Query) -> jax.Array:
        """What is known, centred, float32 [batch, known]; zeros for who says nothing of themselves."""
        known = jnp.concatenate([query.features, query.text], axis=1)
        told = jnp.abs(known).sum(axis=1, keepdims=True) > 0
        return jnp.where(told, known - arrays.shared["mean"][None, :], 0.0)

    def score(self, shared: PyTree, items: PyTree, user: jax.Array) -> jax.Array:
        return products(user, items["weights"]) + items["share"][None, :]


@dataclass(frozen=True)
class UserRidge:
    """min |X - 1 m^T - F W|^2 + l2 |W|^2: X the matrix of who has what, m its column means, F the users' features and
    the vectors of their own words, centred. Scores are m + F W; the history is not read, so that it speaks for people
    who have none. l2 counts as so many users.
    """

    l2: float = 30.0

    ranges: ClassVar[Ranges] = {"l2": Between(1, 3_000, log=True)}

    @property
    def name(self) -> str:
        return "User ridge"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> UserRidgeRanker:
        """Raises UserError when nothing is known of users, or l2 is not above 0."""
        if self.l2 <= 0:
            raise UserError(f"UserRidge needs l2 above 0, not {self.l2:g}")
        users, items = distinct_pairs(data.train, data.dataset.num_items)
        parts = [data.dataset.users.features.values, data.user_text]
        known = np.concatenate([part for part in parts if part is not None], axis=1).astype(np.float32)
        if not known.shape[1]:
            raise UserError("UserRidge needs users' features or words: give a table of users, or leave it out")
        there = np.unique(users)
        mean = known[there].mean(axis=0) if len(there) else known.mean(axis=0)
        centred = known - mean
        count = data.dataset.num_items
        chosen = np.stack(
            [np.bincount(items, column[users], count) for column in centred.T]
        )  # F^T X; no user at a time
        gram = centred[there].T @ centred[there] + self.l2 * np.eye(known.shape[1], dtype=np.float32)
        weights = jax.scipy.linalg.solve(jnp.asarray(gram), jnp.asarray(chosen, jnp.float32), assume_a="pos").T
        share = jnp.asarray(np.bincount(items, minlength=count) / max(len(there), 1), jnp.float32)
        return UserRidgeRanker(Arrays({"mean": jnp.asarray(mean)}, {"weights": weights, "share": share}))
