"""Two tastes, one withheld item each: a job small enough to train in a moment, with an answer that is known."""

from dataclasses import dataclass
from functools import cached_property

import jax
import numpy as np
import optax

from jaxrec.data.batches import make_batches
from jaxrec.data.examples import Examples, ExampleSource
from jaxrec.data.interactions import Histories, Interactions
from jaxrec.data.queries import gather_queries
from jaxrec.models.towers import Content, ItemTower, UserTower
from jaxrec.models.two_tower import TwoTower
from jaxrec.ranker import Query
from jaxrec.tasks.item_table import Neighbourhood, item_table
from jaxrec.tasks.retrieval import Retrieval

DIM, EACH, USERS, WORDS = 8, 20, 48, 6
ITEMS = 2 * EACH + 4
TASTE = np.array([0] * EACH + [1] * EACH + [0, 1, 0, 1])  # the last four are new: nobody has them
POPULAR = (0, EACH)  # everybody has these two
TOLD = (np.arange(ITEMS) % 2 == 0) | (np.arange(ITEMS) >= 2 * EACH)  # who has words
NEW = np.arange(2 * EACH, ITEMS)
NEAR = Neighbourhood(count=5, power=4.0)


def model(item_head=None, user_head=None, *, scorer=None, dim=DIM, **item) -> TwoTower:
    """A small model; the heads are given, Identity where not."""
    from jaxrec.models.profiles.identity import Identity
    from jaxrec.models.scorers.dot import Dot

    options = {"use_neighbours": True, "id_dropout": 0.3} | item
    return TwoTower(
        ItemTower(dim, content=Content(dim, item_head or Identity(dim)), **options),
        ItemTower(dim, id_dropout=0.0, content=Content(dim, Identity(dim))),
        UserTower(dim, user_head or Identity(dim)),
        scorer or Dot(),
    )


@dataclass(frozen=True, eq=False)
class Job:
    """held[u]: the one item of u's taste that is withheld. log: all else."""

    log: Interactions
    held: np.ndarray
    text: np.ndarray
    features: np.ndarray

    @cached_property
    def table(self):
        return item_table(self.log, self.text, self.features, NEAR)

    @cached_property
    def source(self) -> ExampleSource:
        nothing = np.zeros((USERS, 0), np.float32)
        return ExampleSource.of(Examples(hidden=0.3), self.log, USERS, ITEMS, nothing, nothing)

    @property
    def histories(self) -> Histories:
        return Histories.of(self.log, USERS)

    def queries(self) -> Query:
        return Query(*gather_queries(self.histories, np.arange(USERS), 2 * EACH, 10**6))


def job(seed=0) -> Job:
    """Two of three users have taste 0. Each has all items of the taste but one, and what is popular of the other.

    The withheld item has no words: only who else has it tells its taste.
    """
    rng = np.random.default_rng(seed)
    users, rows, held = [], [], []
    for user in range(USERS):
        taste = int(user % 3 == 2)
        mine = np.flatnonzero(TASTE[: 2 * EACH] == taste)
        withheld = rng.choice(mine[~TOLD[mine]])
        liked = [item for item in mine if item != withheld] + [POPULAR[1 - taste]]
        users += [user] * len(liked)
        rows += rng.permutation(liked).tolist()
        held.append(withheld)
    log = Interactions(
        np.array(users, np.int32), np.array(rows, np.int32), np.arange(len(rows)), np.ones(len(rows), np.float32)
    )
    # an item's words: its taste and words of its own; or none at all
    text = np.concatenate([np.eye(2)[TASTE], 0.1 * rng.normal(size=(ITEMS, WORDS - 2))], axis=1)
    text = (text / np.linalg.norm(text, axis=1, keepdims=True) * TOLD[:, None]).astype(np.float32)
    return Job(log, np.array(held), text, 0.1 * rng.normal(size=(ITEMS, 2)).astype(np.float32))


def trained(task: Retrieval, made: Job, steps=80, rate=0.03, size=16):
    """Parameters after a plain optax loop."""
    batches = make_batches(made.source, size, 0)
    table = jax.device_put(made.table)
    params = jax.jit(task.init)(jax.random.key(0), table, next(batches))
    optimizer = optax.adam(rate)
    state = optimizer.init(params)

    @jax.jit
    def step(params, state, batch, key):
        grads, metrics = task.gradients(params, table, batch, key)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, metrics

    for number in range(steps):
        params, state, metrics = step(params, state, next(batches), jax.random.fold_in(jax.random.key(1), number))
    return params, metrics
