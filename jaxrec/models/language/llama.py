"""The Llama decoder in Flax Linen (Touvron et al., 2023), equal to transformers' LlamaForCausalLM in float32."""

from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array


class Cache(NamedTuple):
    """Keys and values of what was read, of each layer: float32 [batch, room, kv heads, head dim]."""

    keys: tuple[Array, ...]
    values: tuple[Array, ...]


@dataclass(frozen=True)
class LlamaSizes:
    """tied: the token embedding is the output layer too."""

    vocab_size: int
    dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    hidden_dim: int
    rope_base: float = 10_000.0
    norm_eps: float = 1e-5
    tied: bool = True
    max_positions: int = 2_048

    @property
    def head_dim(self) -> int:
        return self.dim // self.num_heads


class Llama(nn.Module):
    """RMSNorm, rotary embedding, grouped-query attention, SwiGLU. Query, key and value are one product, gate and up
    another: a step of decoding is bound by reading the weights, so they are read in few pieces."""

    sizes: LlamaSizes

    def empty_cache(self, batch: int, room: int) -> Cache:
        """For `room` tokens."""
        blank = jnp.zeros((batch, room, self.sizes.num_kv_heads, self.sizes.head_dim), jnp.float32)
        return Cache((blank,) * self.sizes.num_layers, (blank,) * self.sizes.num_layers)

    @nn.compact
    def __call__(self, tokens: Array, cache: Cache, start: Array, last: Array | None = None) -> tuple[Array, Cache]:
        """(logits float32 [batch, tokens, vocab], the cache with these tokens).

        tokens: int32 [batch, t], which stand at `start` (int32 scalar) and after. last: int32 [batch], the one token of
        each row whose logits are wanted, [batch, 1, vocab]; None for all.
        """
        s = self.sizes
        table = self.param("embedding", nn.initializers.normal(0.02), (s.vocab_size, s.dim), jnp.float32)
        hidden = table[tokens]
        angles = _angles(start + jnp.arange(tokens.shape[1]), s.head_dim, s.rope_base)
        keys, values = [], []
        for layer in range(s.num_layers):
            block = LlamaBlock(s, name=f"layer_{layer}")
            hidden, key, value = block(hidden, cache.keys[layer], cache.values[layer], start, angles)
            keys.append(key)
            values.append(value)
        if last is not None:
            hidden = jnp.take_along_axis(hidden, last[:, None, None], axis=1)
        hidden = _norm(self, "norm", hidden, s.norm_eps)
        if not s.tied:
            table = self.param("output", nn.initializers.normal(0.02), (s.vocab_size, s.dim), jnp.float32)
        return jnp.einsum("btd,vd->btv", hidden, table, precision="highest"), Cache(tuple(keys), tuple(values))


class LlamaBlock(nn.Module):
    """One layer."""

    sizes: LlamaSizes

    @nn.compact
    def __call__(self, hidden: Array, keys: Array, values: Array, start: Array, angles: Array):
        s = self.sizes
        batch, length = hidden.shape[:2]
        heads, kv, width = s.num_heads, s.num_kv_heads, s.head_dim
        mixed = _dense("qkv", (heads + 2 * kv) * width)(_norm(self, "attention_norm", hidden, s.norm_eps))
        query, key, value = jnp.split(mixed.reshape(batch, length, heads + 2 * kv, width), (heads, heads + kv), axis=2)
        query, key = _rotated(query, angles), _rotated(key, angles)
        keys = jax.lax.dynamic_update_slice_in_dim(keys, key, start, axis=1)
        values = jax.lax.dynamic_update_slice_in_dim(values, value, start, axis=1)
        # each key serves heads / kv queries, those that stand together
        query = query.reshape(batch, length, kv, heads // kv, width)
        scores = jnp.einsum("btkgd,bskd->bkgts", query, keys, precision="highest") / jnp.sqrt(jnp.float32(width))
        past = jnp.arange(keys.shape[1])[None, :] <= (start + jnp.arange(length))[:, None]
        weights = jax.nn.softmax(jnp.where(past[None, None, None], scores, -jnp.inf), axis=-1)
        read = jnp.einsum("bkgts,bskd->btkgd", weights, values, precision="highest")
        hidden = hidden + _dense("out", s.dim)(read.reshape(batch, length, heads * width))
        gate, up = jnp.split(_dense("gate_up", 2 * s.hidden_dim)(_norm(self, "mlp_norm", hidden, s.norm_eps)), 2, -1)
        return hidden + _dense("down", s.dim)(jax.nn.silu(gate) * up), keys, values


def _dense(name: str, features: int) -> nn.Dense:
    return nn.Dense(features, use_bias=False, precision="highest", name=name)


def _norm(module: nn.Module, name: str, x: Array, eps: float) -> Array:
    """RMSNorm (Zhang and Sennrich, NeurIPS 2019)."""
    scale = module.param(name, nn.initializers.ones, (x.shape[-1],), jnp.float32)
    return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), axis=-1, keepdims=True) + eps) * scale[None, None, :]


def _angles(positions: Array, width: int, base: float) -> Array:
    """float32 [tokens, width / 2]."""
    rates = base ** (-jnp.arange(0, width, 2, dtype=jnp.float32) / width)
    return positions[:, None].astype(jnp.float32) * rates[None, :]


def _rotated(x: Array, angles: Array) -> Array:
    """Rotary embedding (Su et al., 2021), the halves of a head being the pairs' two sides; x: [batch, tokens, heads,
    width]."""
    cos, sin = (f(angles)[None, :, None, :] for f in (jnp.cos, jnp.sin))
    first, second = jnp.split(x, 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
