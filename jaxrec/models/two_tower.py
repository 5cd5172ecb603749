"""The two-tower model: s(u, i) = scorer(M(u), M(i))."""

from dataclasses import fields

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from jaxrec.models.profiles.interface import Profile
from jaxrec.models.scorers.dot import Dot
from jaxrec.models.towers import ItemTable, ItemTower, UserTower
from jaxrec.ranker import Query


def separate(module: nn.Module) -> nn.Module:
    """The same module with parts of its own. Linen shares parameters between places that hold one and the same object,
    and a config means values: two towers with equal parts do not share them."""
    parts = {f.name: getattr(module, f.name) for f in fields(module) if f.name not in ("parent", "name")}
    return module.clone(**{name: separate(part) for name, part in parts.items() if isinstance(part, nn.Module)})


class TwoTower(nn.Module):
    """An item tower, a tower for items as history tokens, a user tower and a scorer, composed by field.

    There is no user id: whoever has a history, words or features can be ranked for.
    """

    item: ItemTower = ItemTower(use_neighbours=True)
    history: ItemTower = ItemTower(id_dropout=0.0)
    user: UserTower = UserTower()
    scorer: nn.Module = Dot()

    def __post_init__(self):
        for name in ("item", "history", "user", "scorer"):
            part = getattr(self, name)
            if part.parent is None:
                object.__setattr__(self, name, separate(part))
        super().__post_init__()

    def items(
        self, table: ItemTable, rows: Array | None = None, *, train: bool = False, unseen: bool = False
    ) -> Profile:
        """Item vectors [rows, dim]."""
        return self.item(table, rows, train=train, unseen=unseen)

    def tokens(
        self, table: ItemTable, rows: Array | None = None, *, train: bool = False, unseen: bool = False
    ) -> Array:
        """Items as they are read in a history, [rows, dim]."""
        return self.history(table, rows, train=train, unseen=unseen).vector

    def users(self, query: Query, tokens: Array, *, train: bool = False) -> Profile:
        """User vectors [batch, dim]; tokens as in `UserTower`."""
        return self.user(query, tokens, self._words(query), train=train)

    def score(self, users: Array, items: Array) -> Array:
        """Scores float32 [batch, block]."""
        return self.scorer(users, items).astype(jnp.float32)

    def __call__(
        self, table: ItemTable, query: Query, rows: Array | None = None, *, train: bool = False
    ) -> tuple[Array, dict[str, Array]]:
        """Scores [batch, rows] and each part's own losses, under names such as `item/reconstruction`."""
        items = self.items(table, rows, train=train)
        batch, length = query.history.shape
        if table.warm.shape[0] <= batch * length or "counts" in self.user.head.reads:
            read = self.history(table, train=train)
            tokens, share = read.vector, jnp.ones(table.warm.shape, jnp.float32)
        else:
            read = self.history(table, query.history.reshape(-1), train=train)
            tokens = read.vector.reshape(batch, length, -1)
            there = (query.history >= 0).reshape(-1).astype(jnp.float32)
            share = there / jnp.maximum(there.mean(), 1e-6)  # so that the mean is over real events
        users = self.users(query, tokens, train=train)
        losses = {f"item/{name}": value for name, value in items.losses.items()}
        losses |= {f"history/{name}": value * share for name, value in read.losses.items()}
        losses |= {f"user/{name}": value for name, value in users.losses.items()}
        return self.score(users.vector, items.vector), losses

    def _words(self, query: Query) -> Array:
        """A sentence is read as the text of an item that has nothing else."""
        batch = query.history.shape[0]
        nothing = jnp.zeros((batch, self.history.dim), jnp.float32)
        if self.history.content is None or not query.text.shape[-1]:
            return nothing
        alone = ItemTable(
            text=query.text,
            features=jnp.zeros((batch, 0), jnp.float32),
            warm=jnp.zeros((batch,), bool),
            neighbours=jnp.zeros((batch, 0), jnp.int32),
            neighbour_weights=jnp.zeros((batch, 0), jnp.float32),
            tokens=jnp.zeros((batch, 0), jnp.int32),
        )
        return self.history.content(alone, nothing, train=False).vector
