"""A text encoder without weights: hashed words, random projection. For offline runs and tests."""

import jax.numpy as jnp
from jax import Array


def bag_of_words(token_ids: Array, mask: Array, *, dim: int) -> Array:
    """Unit vectors float32 [batch, dim]; texts that share words are near; a text without words is zeros.

    token_ids: int32 [batch, tokens], hashes of words; mask: bool [batch, tokens]. Each word has `dim` coin flips of
    -1 and +1 drawn from its hash (Achlioptas, PODS 2001): two words are orthogonal within 1/sqrt(dim). Integer
    arithmetic only, so the same on every device and in every version.
    """
    dims = jnp.arange(dim, dtype=jnp.uint32) * jnp.uint32(0x9E3779B9)
    bits = _scramble(_scramble(token_ids.astype(jnp.uint32))[:, :, None] ^ dims[None, None, :])
    signs = jnp.where(bits >> 31, 1.0, -1.0).astype(jnp.float32)
    total = (signs * mask.astype(jnp.float32)[:, :, None]).sum(1)
    return total / jnp.sqrt(jnp.maximum(jnp.square(total).sum(-1, keepdims=True), 1e-24))


def _scramble(x: Array) -> Array:
    """A bijection of uint32 that spreads every bit (lowbias32, Wellons 2018)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)
