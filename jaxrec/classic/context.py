"""Items by what a request comes with: what is taken at this hour, on this device, in this place more than elsewhere."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.method import HERE, Between, Ranges, Setting
from jaxrec.ranker import CONTEXT, Arrays, PyTree, Query, products


@dataclass(frozen=True)
class ContextRanker:
    """items: {"lift": float32 [items, values]}."""

    arrays: Arrays
    history_length: int = 1

    reads: ClassVar[str] = CONTEXT

    def user(self, arrays: Arrays, query: Query) -> jax.Array:
        """float32 [batch, values]; zeros where nothing is said."""
        nothing = jnp.zeros((query.history.shape[0], arrays.items["lift"].shape[1]), jnp.float32)
        return nothing if query.context is None else query.context

    def score(self, shared: PyTree, items: PyTree, user: jax.Array) -> jax.Array:
        return products(user, items["lift"])


@dataclass(frozen=True)
class ContextLift:
    """s(i) = sum over what the request comes with of log P(v | i) / P(v): naive Bayes without popularity, which others
    speak of. P(v | i) = (n_vi + prior P(v)) / (n_i + prior): n_i events with the item, n_vi of them in context v;
    `prior` in events tempers what rests on few.
    """

    prior: float = 20.0

    reads_text: ClassVar[bool] = False
    ranges: ClassVar[Ranges] = {"prior": Between(1, 300, log=True)}

    @property
    def name(self) -> str:
        return "Context"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> ContextRanker:
        """Raises UserError where the log is read without context, or prior is not above 0."""
        columns = data.dataset.contexts.columns
        if not columns:
            raise UserError(
                "Context needs columns of the log to read, such as --set cleaning.context=hour,weekday,device"
            )
        if self.prior <= 0:
            raise UserError(f"ContextLift needs a prior above 0, not {self.prior:g}")
        items, parts = data.dataset.num_items, []
        for column, codes in zip(columns, data.train.context.T, strict=True):
            values, known = len(column.values), codes >= 0
            pairs = data.train.item_rows[known] * np.int64(values) + codes[known]
            counts = np.bincount(pairs, minlength=items * values).reshape(items, values).astype(np.float64)
            share = (counts.sum(axis=0) + 1e-9) / max(counts.sum(), 1.0)
            with_prior = (counts + self.prior * share) / (counts.sum(axis=1, keepdims=True) + self.prior)
            parts.append(np.log(with_prior / share))
        lift = jnp.asarray(np.concatenate(parts, axis=1), jnp.float32)
        return ContextRanker(Arrays({}, {"lift": lift}))
