"""Asking a decoder: the next token greedily or drawn, and which of several continuations it finds likeliest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.models.language.llama import Cache, Llama
from jaxrec.models.language.llama_weights import LanguageModel

WIDTHS = (32, 128, 512)  # tokens that a prompt is padded to, so that few programs serve all
ROOM = 640  # tokens of prompt and answer


@dataclass(frozen=True)
class Sampling:
    """temperature: 0 is greedy. top_p: the smallest set of tokens that has this share is drawn from (Holtzman et al.,
    ICLR 2020)."""

    temperature: float = 0.0
    top_p: float = 0.9
    seed: int = 0


@partial(jax.jit, static_argnames="module")
def _read(module: Llama, params, tokens: jax.Array, cache: Cache, last: jax.Array) -> tuple[jax.Array, Cache]:
    logits, cache = module.apply({"params": params}, tokens, cache, jnp.int32(0), last)
    return logits[:, 0], cache


@partial(jax.jit, static_argnames="module", donate_argnums=3)
def _step(module: Llama, params, token: jax.Array, cache: Cache, place: jax.Array) -> tuple[jax.Array, Cache]:
    logits, cache = module.apply({"params": params}, token[:, None], cache, place)
    return logits[:, 0], cache


@dataclass(eq=False)
class Decoder:
    """A language model on the device. Prompts beyond `longest` tokens are cut at their beginning."""

    model: LanguageModel
    longest: int = WIDTHS[-1]

    def __post_init__(self) -> None:
        self.params = jax.device_put(jax.tree.map(jnp.asarray, self.model.params))

    def encode(self, text: str) -> list[int]:
        return self.model.tokenizer.encode(text, add_special_tokens=False).ids

    def read(self, prompt: Sequence[int]) -> tuple[jax.Array, Cache, int]:
        """(logits after the prompt float32 [1, vocab], cache, tokens read)."""
        prompt = list(prompt)[-self.longest :]
        width = next(width for width in WIDTHS if width >= len(prompt))
        tokens = np.zeros((1, width), np.int32)
        tokens[0, : len(prompt)] = prompt
        module = self.model.module
        logits, cache = _read(module, self.params, tokens, module.empty_cache(1, ROOM), np.int32([len(prompt) - 1]))
        return logits, cache, len(prompt)

    def write(
        self,
        prompt: str,
        *,
        at_most: int = 64,
        sampling: Sampling = Sampling(),
        allowed: Callable[[list[int]], Sequence[int]] | None = None,
    ) -> str:
        """The continuation of a prompt. allowed(tokens so far) -> those that may come next; an empty one ends it."""
        written: list[int] = []
        logits, cache, place = self.read(self.encode(prompt))
        draw = np.random.default_rng(sampling.seed)
        while len(written) < at_most and place < ROOM:
            may = None if allowed is None else list(allowed(written))
            if may is not None and not may:
                break
            token = _next(np.asarray(logits[0]), sampling, draw, may)
            if token in self.model.end:
                break
            written.append(token)
            logits, cache = _step(self.model.module, self.params, jnp.int32([token]), cache, jnp.int32(place))
            place += 1
        return self.model.tokenizer.decode(written)

    def likelihoods(self, prompt: str, continuations: Sequence[str]) -> np.ndarray:
        """Mean log probability of a token of each continuation, float32 [n]; the prompt is read once for all."""
        tokens = [self.encode(text) for text in continuations]
        logits, cache, place = self.read(self.encode(prompt)[-(self.longest - max(map(len, tokens), default=0)) :])
        width = max(8, 1 << (max(map(len, tokens)) - 1).bit_length())
        padded = np.zeros((len(tokens), width), np.int32)
        for row, own in enumerate(tokens):
            padded[row, : len(own)] = own
        lengths = np.array([len(own) for own in tokens], np.int32)
        found = []
        for start in range(0, len(tokens), 8):
            rows = np.resize(np.arange(start, min(start + 8, len(tokens))), 8)
            some = _likelihood(self.model.module, self.params, logits, cache, place, padded[rows], lengths[rows])
            found.append(np.asarray(some)[: min(8, len(tokens) - start)])
        return np.concatenate(found)


@partial(jax.jit, static_argnames="module")
def _likelihood(module, params, logits, cache: Cache, place, tokens: jax.Array, lengths: jax.Array) -> jax.Array:
    many = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (tokens.shape[0], *leaf.shape[1:])), cache)
    after, _ = module.apply({"params": params}, tokens, many, place)
    first = jnp.broadcast_to(logits[:, None], (tokens.shape[0], 1, logits.shape[-1]))
    shares = jax.nn.log_softmax(jnp.concatenate([first, after[:, :-1]], axis=1), axis=-1)
    each = jnp.take_along_axis(shares, tokens[..., None], axis=2)[..., 0]
    there = jnp.arange(tokens.shape[1])[None, :] < lengths[:, None]
    return jnp.where(there, each, 0.0).sum(axis=1) / lengths


def _next(logits: np.ndarray, sampling: Sampling, draw: np.random.Generator, may: list[int] | None) -> int:
    if may is not None:
        kept = np.full_like(logits, -np.inf)
        kept[may] = logits[may]
        logits = kept
    if sampling.temperature <= 0:
        return int(np.argmax(logits))
    order = np.argsort(-logits)
    shares = np.exp((logits[order] - logits[order[0]]) / sampling.temperature)
    shares = shares / shares.sum()
    count = int(np.searchsorted(np.cumsum(shares), sampling.top_p)) + 1
    return int(draw.choice(order[:count], p=shares[:count] / shares[:count].sum()))
