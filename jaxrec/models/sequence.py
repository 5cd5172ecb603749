"""A causal transformer over a user's events: each position says what comes next."""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

MINUTES_PER_DAY = 1_440
QUERIES = 50  # of attention at a time while training: they need no key that comes later


class Tokens(NamedTuple):
    """Sequences laid side by side in rows: [batch, positions].

    rows: int32, the item of the event, -1 at the token that starts a sequence and where padded. segments: int32, which
    sequence of the row it belongs to, -1 where padded; sequences are contiguous, oldest event first. places: int32, how
    many events of the sequence are later. gaps: float32, days since the event before; waits: float32, days until the
    next event, or until the asking; weights: float32, of the event.
    """

    rows: Array
    segments: Array
    places: Array
    gaps: Array
    waits: Array
    weights: Array


class SequenceModel(nn.Module):
    """SASRec: self-attention blocks over the history (Kang and McAuley, ICDM 2018), with the item table tied.

    length: the most events that are read. positions: "end" embeds how many events are later, so that short and long
    histories align; "distance" learns a bias of attention for each distance between two events instead, which is the
    same at every position. time_gaps: embed the time since the event before, by powers of two of minutes; waits: embed
    the time until the asking alike. weighted: read the weight of the events. widen: inner width of the blocks, in dims.
    dropout: of inputs and of what each block adds, in steps of 1/256.
    """

    dim: int = 64
    blocks: int = 2
    heads: int = 1
    length: int = 200
    widen: int = 2
    dropout: float = 0.2
    positions: Literal["end", "distance"] = "distance"
    pre_norm: bool = True
    time_gaps: bool = False
    waits: bool = False
    weighted: bool = False
    buckets: int = 24

    @nn.compact
    def __call__(self, items: Array, tokens: Tokens, *, train: bool = False) -> Array:
        """States [batch, positions, dim]; items: [items, dim], the item table."""
        start = self.param("cls", nn.initializers.normal(0.02), (self.dim,))
        x = jnp.where((tokens.rows >= 0)[..., None], jnp.take(items, jnp.maximum(tokens.rows, 0), axis=0), start)
        x = x * self.dim**0.5
        if self.positions == "end":
            places = jnp.clip(tokens.places, 0, self.length)
            x = x + nn.Embed(self.length + 1, self.dim, name="position", embedding_init=_small)(places)
        for name, days, wanted in (
            ("gap_position", tokens.gaps, self.time_gaps),
            ("wait_position", tokens.waits, self.waits),
        ):
            if wanted:
                bucket = jnp.log2(1 + jnp.maximum(days, 0) * MINUTES_PER_DAY).astype(jnp.int32)
                bucket = jnp.minimum(bucket, self.buckets - 1)
                x = x + nn.Embed(self.buckets, self.dim, name=name, embedding_init=_small)(bucket)
        if self.weighted:
            x = x + nn.Dense(self.dim, name="weight", kernel_init=_small)(jnp.log1p(tokens.weights)[..., None])
        x = self._drop(x, train)
        for block in range(self.blocks):
            for name in (f"attention_{block}", f"feed_forward_{block}"):
                norm = nn.LayerNorm(name=f"{name}_norm")
                read = norm(x) if self.pre_norm else x
                if name.startswith("attention"):
                    read = self._attention(read, tokens.segments, name, train)
                else:
                    read = self._feed_forward(read, name)
                x = x + self._drop(read, train)
                x = x if self.pre_norm else norm(x)
        return nn.LayerNorm(name="final_norm")(x) if self.pre_norm else x

    def _attention(self, x: Array, segments: Array, name: str, train: bool) -> Array:
        batch, positions, dim = x.shape
        q, k, v = jnp.split(nn.Dense(3 * dim, name=f"{name}_in", kernel_init=_xavier)(x), 3, axis=-1)
        heads = (batch, positions, self.heads, dim // self.heads)
        q, k, v = (part.reshape(heads).swapaxes(1, 2) for part in (q * (dim // self.heads) ** -0.5, k, v))
        bias = None
        if self.positions == "distance":
            bias = _Distances(self.heads, self.length + 1, name=f"{name}_distance")()
        mixed = []
        step = QUERIES if train else positions  # known while training alone
        for start in range(0, positions, step) if train else (0,):
            end = min(start + step, positions) if train else positions
            mixed.append(_attend(q[:, :, start:end], k[:, :, :end], v[:, :, :end], segments, start, bias))
        mixed = jnp.concatenate(mixed, axis=2) if train else mixed[0]
        return nn.Dense(dim, name=f"{name}_out", kernel_init=_xavier)(mixed.swapaxes(1, 2).reshape(x.shape))

    def _feed_forward(self, x: Array, name: str) -> Array:
        x = nn.relu(nn.Dense(self.widen * self.dim, name=f"{name}_in", kernel_init=_xavier)(x))
        return nn.Dense(self.dim, name=f"{name}_out", kernel_init=_xavier)(x)

    def _drop(self, x: Array, train: bool) -> Array:
        """Dropout by bytes: a quarter of the random bits that a float's comparison takes."""
        dropped = round(self.dropout * 256)
        if not train or not dropped:
            return x
        keep = jax.random.bits(self.make_rng("dropout"), x.shape, jnp.uint8) >= dropped
        return jnp.where(keep, x * (256 / (256 - dropped)), 0)


class _Distances(nn.Module):
    """What is added to attention by how many events lie between, [heads, distances]."""

    heads: int
    distances: int

    @nn.compact
    def __call__(self) -> Array:
        return self.param("bias", nn.initializers.zeros, (self.heads, self.distances))


_small = nn.initializers.normal(0.02)
_xavier = nn.initializers.xavier_uniform()


def _attend(q: Array, k: Array, v: Array, segments: Array, start: int, bias: Array | None) -> Array:
    """[batch, heads, queries, dim] of the queries from position `start` on, over the keys up to the last of them."""
    asked, known = jnp.arange(q.shape[2]) + start, jnp.arange(k.shape[2])
    away = asked[:, None] - known[None, :]
    seen = (segments[:, start : start + q.shape[2], None] == segments[:, None, : k.shape[2]]) & (away >= 0)[None]
    scores = jnp.einsum("bhtd,bhsd->bhts", q, k)
    if bias is not None:
        scores = scores + bias[:, jnp.clip(away, 0, bias.shape[1] - 1)][None]
    scores = jnp.where(seen[:, None], scores, -1e9)
    odds = jnp.exp(scores - jax.lax.stop_gradient(scores.max(-1, keepdims=True)))
    return jnp.einsum("bhts,bhsd->bhtd", odds, v) / odds.sum(-1)[..., None]  # normalised last: there it is smaller
