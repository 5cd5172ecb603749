"""BPR: factors that put what a user has above what the user has not."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from jaxrec.classic.interaction_matrix import history_length_of
from jaxrec.data.interactions import distinct_pairs
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.history_matrix import history_matrix
from jaxrec.method import HERE, Between, Ranges, Setting
from jaxrec.ranker import Arrays, PyTree, Query, products

USERS = 128  # in a batch
POSITIVES = 16  # of each of them, each with a negative
DRAWN = 64  # of a history, to estimate the user's sum
START = 0.05  # standard deviation of the factors


@dataclass(frozen=True)
class BprRanker:
    """items: {"factors", "held": float32 [items, factors], "bias": float32 [items]}."""

    arrays: Arrays
    history_length: int
    alpha: float

    def user(self, arrays: Arrays, query: Query) -> PyTree:
        held = arrays.items["held"]
        has = history_matrix(query.history, held.shape[0])
        length = jnp.maximum(has.sum(axis=1, keepdims=True), 1.0)
        return jnp.matmul(has, held, precision="highest") * length**-self.alpha

    def score(self, shared: PyTree, items: PyTree, user: PyTree) -> Array:
        return products(user, items["factors"]) + items["bias"][None, :]


class Owned(NamedTuple):
    """Distinct pairs by user, items ascending in each: int32 offsets [users + 1], user_rows and item_rows [pairs]."""

    offsets: Array
    user_rows: Array
    item_rows: Array


@dataclass(frozen=True)
class BprFactors:
    """max sum of log sigmoid(x_ui - x_uj), j a random item that u has not (Rendle et al., UAI 2009), with
    x_ui = b_i + q_i . n^-alpha sum over u's items k other than i of w_k (Kabbur et al., KDD 2013): a user is the sum of
    what they have, so that training asks as serving does and no table of users is kept.

    epochs: passes over the pairs, in expectation. l2: on the squares of the factors drawn. history_length: None for
    room for all.
    """

    factors: int = 64
    epochs: int = 60
    learning_rate: float = 0.005
    l2: float = 0.01
    alpha: float = 0.5
    history_length: int | None = None

    reads_text: ClassVar[bool] = False
    random: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = {
        "factors": (32, 64, 128),
        "epochs": (15, 30, 60, 120),
        "learning_rate": Between(0.001, 0.02, log=True),
        "l2": Between(0.0003, 0.1, log=True),
        "alpha": (0.3, 0.5, 0.7, 1.0),
    }

    @property
    def name(self) -> str:
        return "BPR"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> BprRanker:
        """Raises UserError for options out of range, and where nobody lacks an item."""
        users, items = data.dataset.num_users, data.dataset.num_items
        for option in ("factors", "epochs", "learning_rate"):
            if getattr(self, option) <= 0:
                raise UserError(f"BPR needs {option} above 0, not {getattr(self, option):g}")
        user_rows, item_rows = distinct_pairs(data.train, items)
        lengths = np.bincount(user_rows, minlength=users)
        if not ((lengths > 0) & (lengths < items)).any():
            raise UserError(
                f"BPR compares what users have with what they have not, and in {len(user_rows)} pairs of users and "
                f"{items} items no user has both; train on more items"
            )
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        owned = Owned(jnp.asarray(offsets), jnp.asarray(user_rows), jnp.asarray(item_rows))
        held = _train(
            owned,
            jax.random.key(setting.seed),
            max(1, self.epochs * len(user_rows) // (USERS * POSITIVES)),
            float(self.learning_rate),
            float(self.l2),
            float(self.alpha),
            items=items,
            factors=self.factors,
        )
        return BprRanker(Arrays({}, held), history_length_of(self, data.train), self.alpha)


def has(owned: Owned, users: Array, items: Array) -> Array:
    """Whether each user has the item, bool, by bisection; users and items: int32 of one shape."""
    low, high = owned.offsets[users], owned.offsets[users + 1]
    last = high

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) // 2
        below = (owned.item_rows[jnp.minimum(middle, len(owned.item_rows) - 1)] < items) & (low < high)
        return jnp.where(below, middle + 1, low), jnp.where(below, high, middle)

    low, _ = jax.lax.fori_loop(0, 32, halve, (low, high))
    return (low < last) & (owned.item_rows[jnp.minimum(low, len(owned.item_rows) - 1)] == items)


def _loss(
    params: PyTree, drawn: Array, length: Array, wanted: Array, other: Array, real: Array, l2: Array, alpha: Array
):
    """drawn: int32 [users, DRAWN], of the history; length: [users]; wanted, other: int32 [users, POSITIVES]."""
    rest = (drawn[:, None, :] != wanted[:, :, None]).astype(jnp.float32)  # no item speaks for itself
    kept = jnp.maximum(rest.sum(axis=2, keepdims=True), 1.0)
    held = params["held"][drawn]
    users = jnp.einsum("upd,udk->upk", rest / kept, held)
    left = jnp.maximum(length - 1, 1).astype(jnp.float32)
    users = users * (left ** (1 - alpha))[:, None, None]
    ours, theirs = params["factors"][wanted], params["factors"][other]
    apart = (users * (ours - theirs)).sum(-1) + params["bias"][wanted] - params["bias"][other]
    squares = (ours**2).sum(-1) + (theirs**2).sum(-1) + (held**2).sum(-1).mean(axis=1, keepdims=True)
    return (real * (jax.nn.softplus(-apart) + l2 * squares)).sum() / jnp.maximum(real.sum(), 1.0)


@partial(jax.jit, static_argnames=("items", "factors"))
def _train(
    owned: Owned, key: Array, steps: Array, rate: Array, l2: Array, alpha: Array, *, items: int, factors: int
) -> PyTree:
    optimizer = optax.scale_by_adam()
    first, second, key = jax.random.split(key, 3)
    params = {
        "factors": START * jax.random.normal(first, (items, factors)),
        "held": START * jax.random.normal(second, (items, factors)),
        "bias": jnp.zeros(items),
    }

    def step(number: Array, state: tuple) -> tuple:
        params, moments = state
        keys = jax.random.split(jax.random.fold_in(key, number), 4)
        users = owned.user_rows[jax.random.randint(keys[0], (USERS,), 0, len(owned.user_rows))]
        length = owned.offsets[users + 1] - owned.offsets[users]

        def some(key: Array, count: int) -> Array:
            place = jax.random.randint(key, (USERS, count), 0, length[:, None])
            return owned.item_rows[owned.offsets[users][:, None] + place]

        drawn, wanted = some(keys[1], DRAWN), some(keys[2], POSITIVES)
        other = jax.random.randint(keys[3], wanted.shape, 0, items)
        real = ~has(owned, jnp.broadcast_to(users[:, None], other.shape), other)
        grads = jax.grad(_loss)(params, drawn, length, wanted, other, real.astype(jnp.float32), l2, alpha)
        updates, moments = optimizer.update(grads, moments)
        pace = rate * (1 - number / steps)
        return jax.tree.map(lambda leaf, update: leaf - pace * update, params, updates), moments

    return jax.lax.fori_loop(0, steps, step, (params, optimizer.init(params)))[0]
