"""Hidden states of tokens [batch, tokens, dim] to one float32 vector per text [batch, dim]."""

import jax.numpy as jnp
from jax import Array


def mean_pool(hidden: Array, mask: Array) -> Array:
    """The mean over real tokens; zeros where a text has none. mask: bool [batch, tokens]."""
    weights = mask.astype(jnp.float32)[:, :, None]
    total = (hidden.astype(jnp.float32) * weights).sum(1)
    return total / jnp.maximum(weights.sum(1), 1.0)


def cls_pool(hidden: Array, mask: Array) -> Array:
    """The first token's vector. The mask is not read."""
    return hidden[:, 0].astype(jnp.float32)


def max_pool(hidden: Array, mask: Array) -> Array:
    """The largest value of each dimension over real tokens; zeros where a text has none."""
    best = jnp.where(mask.astype(bool)[:, :, None], hidden.astype(jnp.float32), -jnp.inf).max(1)
    return jnp.where(jnp.isneginf(best), 0.0, best)


POOLS = {"mean": mean_pool, "cls": cls_pool, "max": max_pool}


def unit(vectors: Array) -> Array:
    """Vectors [..., dim] at length 1; a zero vector stays zero, with a finite gradient."""
    squared = jnp.square(vectors).sum(-1, keepdims=True)
    return vectors / jnp.sqrt(jnp.maximum(squared, 1e-24))


def pool(hidden: Array, mask: Array, how: str = "mean", *, normalize: bool = False) -> Array:
    """Pooled vectors [batch, dim]. how: "mean", "cls" or "max"; normalize: L2. Raises ValueError for another word."""
    if how not in POOLS:
        raise ValueError(f"pool={how!r}; it is one of {', '.join(POOLS)}")
    vectors = POOLS[how](hidden, mask)
    return unit(vectors) if normalize else vectors
