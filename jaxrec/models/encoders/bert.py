"""BERT in Flax Linen (Devlin et al., NAACL 2019), equal to transformers' BertModel in float32."""

from dataclasses import fields
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

PyTree = Any

ACTIVATIONS = {
    "gelu": partial(jax.nn.gelu, approximate=False),
    "gelu_python": partial(jax.nn.gelu, approximate=False),
    "gelu_new": partial(jax.nn.gelu, approximate=True),
    "gelu_fast": partial(jax.nn.gelu, approximate=True),
    "gelu_pytorch_tanh": partial(jax.nn.gelu, approximate=True),
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
}


ADAPTED = ("query", "value")  # what low-rank adapters are beside, as in the paper


class BertFields(nn.Module):
    """What Bert and its parts have in common: the sizes, and how they make their pieces."""

    vocab_size: int = 30_522
    hidden_size: int = 768
    num_layers: int = 12
    num_heads: int = 12
    intermediate_size: int = 3_072
    max_positions: int = 512
    num_token_types: int = 2
    activation: str = "gelu"
    layer_norm_eps: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    init_scale: float = 0.02
    dtype: str = "float32"
    remat: bool = False
    lora_rank: int = 0

    def part(self, kind: type["BertFields"], name: str) -> "BertFields":
        """A part with these same fields."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("parent", "name")}
        return kind(**own, name=name)

    def dense(self, name: str, features: int) -> nn.Dense:
        init = nn.initializers.normal(self.init_scale)
        return nn.Dense(features, dtype=self.dtype, precision=self.precision, kernel_init=init, name=name)

    def norm(self, name: str, *terms: Array) -> Array:
        """Layer norm of the float32 sum of the terms, back in the compute dtype."""
        norm = nn.LayerNorm(epsilon=self.layer_norm_eps, dtype=jnp.float32, use_fast_variance=False, name=name)
        return norm(sum(term.astype(jnp.float32) for term in terms)).astype(self.dtype)

    @property
    def precision(self) -> jax.lax.Precision | None:
        return jax.lax.Precision.HIGHEST if self.dtype == "float32" else None


class LowRank(nn.Module):
    """What is added to a dense layer's output: x A B, A of normal draws and B of zeros at first, so that training
    starts from the layer as it is (LoRA: Hu et al., ICLR 2022, arXiv:2106.09685, with alpha = rank)."""

    rank: int
    features: int
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: Array) -> Array:
        a = self.param("lora_a", nn.initializers.normal(x.shape[-1] ** -0.5), (x.shape[-1], self.rank))
        b = self.param("lora_b", nn.initializers.zeros, (self.rank, self.features))
        return x.astype(self.dtype) @ a.astype(self.dtype) @ b.astype(self.dtype)


class BertEmbeddings(BertFields):
    """Sum of word, position and token type embeddings, normed: [batch, tokens] -> [batch, tokens, hidden_size]."""

    @nn.compact
    def __call__(self, token_ids: Array, token_types: Array | None, deterministic: bool) -> Array:
        embed = partial(nn.Embed, features=self.hidden_size, embedding_init=nn.initializers.normal(self.init_scale))
        token_types = jnp.zeros_like(token_ids) if token_types is None else token_types
        hidden = embed(self.vocab_size, name="words")(token_ids)
        hidden += embed(self.num_token_types, name="token_types")(token_types)
        hidden += embed(self.max_positions, name="positions")(jnp.arange(token_ids.shape[1]))[None]
        return nn.Dropout(self.dropout)(self.norm("norm", hidden), deterministic=deterministic)


class BertLayer(BertFields):
    """Self-attention and feed-forward, each with residual and post-norm: [batch, tokens, hidden_size] -> the same."""

    @nn.compact
    def __call__(self, hidden: Array, mask: Array, deterministic: bool) -> Array:
        drop = partial(nn.Dropout(self.dropout), deterministic=deterministic)
        hidden = self.norm(
            "attention_norm", hidden, drop(self.part(BertAttention, "attention")(hidden, mask, deterministic))
        )
        inner = ACTIVATIONS[self.activation](self.dense("inner", self.intermediate_size)(hidden))
        return self.norm("output_norm", hidden, drop(self.dense("output", self.hidden_size)(inner)))


class BertAttention(BertFields):
    """Bidirectional multi-head attention; mask: bool [batch, tokens], true where a key may be read."""

    @nn.compact
    def __call__(self, hidden: Array, mask: Array, deterministic: bool) -> Array:
        width = self.hidden_size // self.num_heads

        def heads(name: str) -> Array:  # [batch, heads, tokens, width]
            flat = self.dense(name, self.hidden_size)(hidden)
            if self.lora_rank and name in ADAPTED:
                flat = flat + LowRank(self.lora_rank, self.hidden_size, self.dtype, name=f"{name}_lora")(hidden)
            return flat.reshape(*flat.shape[:2], self.num_heads, width).swapaxes(1, 2)

        query, key, value = heads("query"), heads("key"), heads("value")
        logits = jnp.einsum(
            "bhqd,bhkd->bhqk", query, key, precision=self.precision, preferred_element_type=jnp.float32
        ) / jnp.sqrt(jnp.float32(width))
        # a finite floor, so that a row that is all padding stays finite
        logits = jnp.where(mask[:, None, None, :], logits, jnp.finfo(jnp.float32).min)
        weights = nn.Dropout(self.attention_dropout)(jax.nn.softmax(logits), deterministic=deterministic)
        mixed = jnp.einsum("bhqk,bhkd->bhqd", weights.astype(value.dtype), value, precision=self.precision)
        return self.dense("output", self.hidden_size)(mixed.swapaxes(1, 2).reshape(hidden.shape))


class Bert(BertFields):
    """Token ids to the hidden states of every layer.

    Fields are those of a Hugging Face config.json under shorter names. Parameters, layer norms and softmax are
    float32; matrix products run in `dtype` ("float32" or "bfloat16"). float32 means float32 on every device: TF32 and
    bfloat16 passes are off. `remat` recomputes each layer in the backward pass, to save memory. `lora_rank` above 0
    puts low-rank adapters beside the queries and values of each layer.
    """

    @nn.compact
    def __call__(
        self, token_ids: Array, mask: Array, *, token_types: Array | None = None, deterministic: bool = True
    ) -> tuple[Array, ...]:
        """Hidden states of the embeddings and of each layer: num_layers + 1 arrays [batch, tokens, hidden_size].

        token_ids: int32 [batch, tokens]. mask: bool (or 0/1) [batch, tokens], true at real tokens. token_types: int32
        [batch, tokens], zeros when not given. Dropout needs `deterministic=False` and a "dropout" rng.
        Raises ValueError when there are more tokens than positions.
        """
        if token_ids.shape[1] > self.max_positions:
            raise ValueError(f"{token_ids.shape[1]} tokens, but this BERT has {self.max_positions} positions")
        layer = nn.remat(BertLayer, static_argnums=(3,)) if self.remat else BertLayer
        hidden = [self.part(BertEmbeddings, "embeddings")(token_ids, token_types, deterministic)]
        for index in range(self.num_layers):
            hidden.append(self.part(layer, f"layer_{index}")(hidden[-1], mask.astype(bool), deterministic))
        return tuple(hidden)


def trainable_mask(params: PyTree, *, train: str = "all", freeze_lower: int = 0) -> PyTree:
    """Which leaves of a Bert's params are trained: a pytree of bool of the same shape.

    train="none" freezes all, "adapters" all but the low-rank adapters; "all" trains all. `freeze_lower=n` freezes the
    embeddings and the first n layers besides; 0 freezes nothing more. Raises ValueError for another word or more layers
    than there are.
    """
    if train not in ("all", "none", "adapters"):
        raise ValueError(f"train={train!r}; it is 'all', 'adapters' or 'none' (freeze_lower=n freezes n lower layers)")
    num_layers = sum(name.startswith("layer_") for name in params)
    if not 0 <= freeze_lower <= num_layers:
        raise ValueError(f"freeze_lower={freeze_lower}, but this BERT has {num_layers} layers")
    lower = {"embeddings", *(f"layer_{index}" for index in range(freeze_lower))} if freeze_lower else set()

    def trained(path: tuple, _: Any) -> bool:
        keys = [key.key for key in path]
        return train != "none" and keys[0] not in lower and (train == "all" or _is_adapter(keys[-1]))

    return jax.tree_util.tree_map_with_path(trained, params)


def _is_adapter(name: str) -> bool:
    return name.startswith("lora_")


def with_adapters(params: PyTree, fresh: PyTree) -> PyTree:
    """The params of a Bert with the adapters of `fresh`, which has the same layers and adapters besides."""
    found = {
        name: with_adapters(value, fresh[name]) if isinstance(value, dict) else value for name, value in params.items()
    }
    return found | {name: value for name, value in fresh.items() if name.endswith("_lora")}


def merged(params: PyTree) -> PyTree:
    """The params of a Bert without adapters that computes the same: each is added to the kernel that it is beside."""
    found = {name: merged(value) if isinstance(value, dict) else value for name, value in params.items()}
    for name in [name for name in found if name.endswith("_lora")]:
        adapter, beside = found.pop(name), name.removesuffix("_lora")
        kernel = found[beside]["kernel"] + adapter["lora_a"] @ adapter["lora_b"]
        found[beside] = found[beside] | {"kernel": kernel}
    return found
