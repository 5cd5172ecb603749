"""The two towers: an item's vector from its id and its content, an asker's vector from the history and own words."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxrec.errors import UserError
from jaxrec.models.profiles.identity import Identity
from jaxrec.models.profiles.interface import Known, Profile, ProfileHead
from jaxrec.ranker import Query


class ItemTable(NamedTuple):
    """What the towers read of the catalog; constants in training, one row per item. A width of 0 means "none".

    text: [items, text dim], unit vectors. features: [items, features]. warm: bool [items], has training events.
    neighbours: int32 [items, keep] and neighbour_weights: [items, keep], the text neighbourhood, rows summing to one;
    or neighbours of width 0 and neighbour_weights [items, items], the same spelt out, where the catalog is small.
    tokens: int32 [items, tokens], for an encoder that is trained along; 0 is padding.
    """

    text: Array
    features: Array
    warm: Array
    neighbours: Array
    neighbour_weights: Array
    tokens: Array


def rows_of(table: ItemTable, rows: Array) -> ItemTable:
    """The table at some rows; negative rows read row 0 and must be masked by the caller."""
    return jax.tree.map(lambda column: jnp.take(column, jnp.maximum(rows, 0), axis=0), table)


class Content(nn.Module):
    """What text and features say: each mapped to `dim`, then read by a profile head.

    `encoder` is a text encoder that is trained along; without one the table's frozen text vectors are read.
    dtype: of the matrix products, "float32" or "bfloat16"; parameters and profiles are float32.
    """

    dim: int = 64
    head: ProfileHead = Identity()
    text_dropout: float = 0.0
    encoder: nn.Module | None = None
    dtype: str = "float32"

    @nn.compact
    def __call__(self, at: ItemTable, behaviour: Array, *, train: bool = False) -> Profile:
        """The profile [rows, dim] of the table's rows; zero where there is nothing to read."""
        text = at.text if self.encoder is None else self.encoder(at.tokens, train=train)
        parts, masks = [], []
        for name, values in (("text", text), ("features", at.features)):
            if values.shape[-1]:
                init = nn.initializers.normal(0.02)
                dropped = nn.Dropout(self.text_dropout, deterministic=not train)(values)
                dense = nn.Dense(self.dim, use_bias=False, kernel_init=init, dtype=self.dtype, name=name)
                parts.append(dense(dropped).astype(jnp.float32))
                masks.append(jnp.any(values != 0, axis=-1))
        if not parts:
            return Profile(jnp.zeros((at.warm.shape[0], self.dim), jnp.float32), {})
        stacked = jnp.stack(parts, axis=1)
        summary = stacked.sum(axis=1)
        known = Known(
            summary=summary,
            parts=stacked,
            mask=jnp.stack(masks, axis=1),
            content=summary,
            behaviour=jax.lax.stop_gradient(behaviour),
            behaviour_mask=at.warm,
        )
        profile = self.head(known, train=train)
        something = known.mask.any(axis=1, keepdims=True)  # a head may make something of nothing
        return Profile(profile.vector * something, profile.losses)


class ItemTower(nn.Module):
    """M(i) = (1 - alpha) id(i) + alpha content(i); content(i) alone where the item has no history.

    content(i) = the profile of text and features + the mean id vector of the text neighbours, each where configured.
    In training the id is dropped for a share `id_dropout` of the items, so that content alone is learned on the same
    scale (DropoutNet, Volkovs et al., NeurIPS 2017). dtype: of the neighbours' mean, as in `Content`.
    """

    dim: int = 64
    alpha: float = 0.5
    id_dropout: float = 0.1
    content: Content | None = Content()
    use_neighbours: bool = False
    init_scale: float = 0.05
    dtype: str = "float32"

    @nn.compact
    def __call__(
        self, table: ItemTable, rows: Array | None = None, *, train: bool = False, unseen: bool = False
    ) -> Profile:
        """Vectors [rows, dim] of `rows` (int32; None for the whole table) and the head's losses [rows].

        `unseen`: the table holds other items than those trained on, whose neighbours are rows of the trained ones.
        """
        if self.is_initializing():
            init = nn.initializers.normal(self.init_scale)
            ids = self.param("embedding", init, (table.warm.shape[0], self.dim))
        else:  # unseen tables have another number of rows than the parameter
            ids = self.get_variable("params", "embedding")
        at = table if rows is None else rows_of(table, rows)
        if unseen:
            id_vectors = jnp.zeros((at.warm.shape[0], self.dim), ids.dtype)
        else:
            id_vectors = ids if rows is None else jnp.take(ids, jnp.maximum(rows, 0), axis=0)
        content = Profile(jnp.zeros_like(id_vectors), {})
        if self.content is not None:
            content = self.content(at, id_vectors, train=train)
            _same_width(self.dim, content.vector, "an item tower's content")
        vector = content.vector
        if self.use_neighbours and at.neighbour_weights.shape[-1]:
            if rows is None or rows.shape[0] < table.warm.shape[0]:
                vector = vector + _neighbour_mean(at, ids, self.dtype)
            else:  # more rows than items: each item's once
                vector = vector + jnp.take(_neighbour_mean(table, ids, self.dtype), jnp.maximum(rows, 0), axis=0)
        keep_id = at.warm
        if train and self.id_dropout > 0:
            keep_id = keep_id & ~jax.random.bernoulli(self.make_rng("dropout"), self.id_dropout, keep_id.shape)
        mixed = (1.0 - self.alpha) * id_vectors + self.alpha * vector
        return Profile(jnp.where(keep_id[:, None], mixed, vector), content.losses)


def _neighbour_mean(at: ItemTable, ids: Array, dtype: str) -> Array:
    if at.neighbours.shape[-1] == 0:
        return _product("in,nd->id", at.neighbour_weights, ids, dtype)
    near = jnp.take(ids, jnp.maximum(at.neighbours, 0), axis=0)
    return (near * at.neighbour_weights[..., None]).sum(axis=1)


def _product(sum_of: str, left: Array, right: Array, dtype: str) -> Array:
    """einsum with factors in `dtype` and sums in float32."""
    return jnp.einsum(sum_of, left.astype(dtype), right.astype(dtype), preferred_element_type=jnp.float32)


class UserTower(nn.Module):
    """M(u): attention over the history's item tokens, a profile head, own words and features, added up.

    Attention weighs each event by its item (learned), its rating or count against the asker's own mean, and its age
    against the newest event; `length_power` p scales the mean by length^p, so that long histories speak louder.
    dtype: of the weighted sum, as in `Content`.
    """

    dim: int = 64
    head: ProfileHead = Identity()
    length_power: float = 0.5
    dropout: float = 0.0
    dtype: str = "float32"

    @nn.compact
    def __call__(self, query: Query, tokens: Array, words: Array, *, train: bool = False) -> Profile:
        """Vectors [batch, dim] and the head's losses [batch].

        tokens: [batch, length, dim] of the history, or [items, dim] of the whole catalog (cheaper where the catalog is
        smaller than the batch of histories). words: [batch, dim], the asker's own words in token space.
        """
        _same_width(self.dim, tokens, "the history tower")
        mask = query.history >= 0
        rows = jnp.maximum(query.history, 0)
        from_table = tokens.ndim == 2
        importance = nn.Dense(1, use_bias=False, kernel_init=nn.initializers.zeros, name="importance")(tokens)[..., 0]
        logits = importance[rows] if from_table else importance
        logits = logits + self._event_logits(query, mask)
        weights = jax.nn.softmax(jnp.where(mask, logits, -1e9), axis=-1) * mask
        lengths = mask.sum(axis=-1, keepdims=True).astype(tokens.dtype)
        weights = weights * jnp.maximum(lengths, 1.0) ** self.length_power
        if from_table:
            summary = _product("bi,id->bd", _spread(weights, rows, tokens.shape[0]), tokens, self.dtype)
        else:
            summary = _product("bl,bld->bd", weights, tokens, self.dtype)
        content = words
        if query.features.shape[-1]:
            content = words + nn.Dense(self.dim, kernel_init=nn.initializers.zeros, name="features")(query.features)
        parts = None
        if "parts" in self.head.reads:
            parts = tokens[rows] if from_table else tokens
        known = Known(
            summary=summary + words,
            parts=parts,
            mask=mask,
            content=content,
            behaviour=jax.lax.stop_gradient(summary),
            behaviour_mask=mask.any(axis=-1),
            counts=self._counts(query, mask, tokens) if "counts" in self.head.reads else None,
        )
        profile = self.head(known, train=train)
        _same_width(self.dim, profile.vector, "the user tower's head")
        vector = summary + content
        if not isinstance(self.head, Identity):  # a head adds to the plain reading, it does not replace it
            vector = vector + profile.vector
        vector = nn.Dropout(self.dropout, deterministic=not train)(vector)
        return Profile(vector, profile.losses)

    def _event_logits(self, query: Query, mask: Array) -> Array:
        rating = self.param("rating", nn.initializers.zeros, ())
        recency = self.param("recency", nn.initializers.zeros, ())
        strength = jnp.log1p(jnp.maximum(query.weights, 0.0))
        count = jnp.maximum(mask.sum(axis=-1, keepdims=True), 1)
        mean = (strength * mask).sum(axis=-1, keepdims=True) / count
        newest = jnp.where(mask, query.ages, jnp.inf).min(axis=-1, keepdims=True)
        since = jnp.where(mask, query.ages - jnp.where(jnp.isfinite(newest), newest, 0.0), 0.0)
        return rating * (strength - mean) - recency * jnp.log1p(since)

    def _counts(self, query: Query, mask: Array, tokens: Array) -> Array | None:
        if tokens.ndim != 2:  # without the catalog; the two-tower model gives it in training, where counts are rebuilt
            return None
        return _spread(mask.astype(tokens.dtype), jnp.maximum(query.history, 0), tokens.shape[0])


def _same_width(dim: int, vectors: Array, what: str) -> None:
    if vectors.shape[-1] != dim:
        raise UserError(
            f"{what} gives {vectors.shape[-1]} numbers and its tower has dim={dim}: give the towers, their content and "
            "their heads one and the same dim"
        )


def _spread(weights: Array, rows: Array, items: int) -> Array:
    """Event weights [batch, length] added up per item, [batch, items]."""
    batch = jnp.arange(weights.shape[0])[:, None]
    return jnp.zeros((weights.shape[0], items), weights.dtype).at[batch, rows].add(weights)
