"""Text encoders as configs: a BERT directory, or a bag of words that needs no weights."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.tokens import HashedWords, TextTokenizer, load_tokenizer
from jaxrec.errors import DataError, UserError
from jaxrec.files import sha256_of

PyTree = Any

_KNOWN = ("minilm",)


@dataclass(frozen=True, eq=False)
class LoadedEncoder:
    """An encoder ready to run, and ready to export.

    encode: pure (params, token_ids int32 [batch, tokens], mask bool [batch, tokens]) -> float32 [batch, dim].
    hidden: pure, the same arguments -> num_layers + 1 arrays [batch, tokens, hidden]; None where there are no layers.
    params: numpy arrays. digest: hex, of all that decides the vectors. max_length: the most tokens encode can take.
    """

    tokenizer: TextTokenizer
    params: PyTree
    encode: Callable
    hidden: Callable | None
    dim: int
    max_length: int
    tokens_per_batch: int
    digest: str

    def argument_shapes(self) -> tuple[PyTree, Any, Any]:
        """Shapes of encode's arguments for jax.export: batch and tokens are symbols, tokens at most max_length."""
        import jax
        from jax import export

        batch, tokens = export.symbolic_shape("batch, tokens", constraints=[f"tokens <= {self.max_length}"])
        params = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), self.params)
        of = partial(jax.ShapeDtypeStruct, (batch, tokens))
        return params, of(np.int32), of(np.bool_)


@dataclass(frozen=True)
class TextEncoder:
    """A BERT over texts, frozen.

    encoder: a Hugging Face BERT directory, "minilm" (fetched), or a name in the local Hugging Face cache.
    pool: "mean", "cls" or "max". normalize: to length 1. max_length: tokens, cut to the model's positions.
    dtype: of the matrix products, "float32" or "bfloat16". tokens_per_batch: tokens encoded at a time, padding counted.
    """

    encoder: str = "minilm"
    pool: str = "mean"
    normalize: bool = True
    max_length: int = 256
    dtype: str = "float32"
    tokens_per_batch: int = 8_192

    def __post_init__(self):
        allowed = {"pool": ("mean", "cls", "max"), "dtype": ("float32", "bfloat16")}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise UserError(f"encoder.{name}={getattr(self, name)!r}; it is one of {', '.join(values)}")
        if self.max_length < 3:
            raise UserError(f"encoder.max_length={self.max_length}; at least 3, for [CLS], a word and [SEP]")
        if self.tokens_per_batch < 1:
            raise UserError(f"encoder.tokens_per_batch={self.tokens_per_batch}; at least 1")

    def digest(self) -> str:
        """Hex digest of weights, config, tokenizer files and options; the weights are read, not loaded."""
        return self._digest(find_encoder(self.encoder))

    def _digest(self, directory: Path) -> str:
        from jaxrec.models.encoders.bert_weights import weight_files

        names = ("config.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
        files = [*(directory / name for name in names), *weight_files(directory)]
        digests = {path.name: sha256_of(path) for path in files if path.is_file()}
        options = {name: value for name, value in asdict(self).items() if name not in ("encoder", "tokens_per_batch")}
        return hashlib.sha256(json.dumps([digests, options], sort_keys=True).encode()).hexdigest()

    def load(self) -> LoadedEncoder:
        """Read weights and tokenizer. Raises UserError or DataError that name the file and what is wrong with it."""
        from jaxrec.models.encoders.bert_weights import load_bert

        directory = find_encoder(self.encoder)
        module, params = load_bert(directory, dtype=self.dtype)
        max_length = min(self.max_length, module.max_positions)
        tokenizer = load_tokenizer(directory, max_length)
        if tokenizer.vocab_size > module.vocab_size:
            raise DataError(
                f"{directory}: the tokenizer has {tokenizer.vocab_size} tokens, but config.json has "
                f"vocab_size {module.vocab_size}; tokenizer and weights are of two different models"
            )
        return LoadedEncoder(
            tokenizer=tokenizer,
            params=params,
            encode=BertEncode(module, self.pool, self.normalize),
            hidden=BertHidden(module),
            dim=module.hidden_size,
            max_length=max_length,
            tokens_per_batch=self.tokens_per_batch,
            digest=self._digest(directory),
        )


@dataclass(frozen=True)
class BagOfWords:
    """Hashed words, randomly projected: no weights, deterministic; texts that share words are near.

    dim: of the unit vectors; two texts without a common word have a cosine of about 1/sqrt(dim). max_length: words.
    """

    dim: int = 256
    max_length: int = 256
    tokens_per_batch: int = 8_192

    def digest(self) -> str:
        return hashlib.sha256(f"bag of words {self.dim} {self.max_length}".encode()).hexdigest()

    def load(self) -> LoadedEncoder:
        return LoadedEncoder(
            tokenizer=HashedWords(self.max_length),
            params={},
            encode=WordsEncode(self.dim),
            hidden=None,
            dim=self.dim,
            max_length=self.max_length,
            tokens_per_batch=self.tokens_per_batch,
            digest=self.digest(),
        )


@dataclass(frozen=True)
class BertEncode:
    """(params, token_ids, mask) -> pooled vectors. Compares by value, so that jit compiles it once."""

    module: Any
    pool: str
    normalize: bool

    def __call__(self, params: PyTree, token_ids, mask):
        from jaxrec.models.encoders.pooling import pool

        hidden = self.module.apply({"params": params}, token_ids, mask)[-1]
        return pool(hidden, mask, self.pool, normalize=self.normalize)


@dataclass(frozen=True)
class BertHidden:
    """(params, token_ids, mask) -> the hidden states of all layers."""

    module: Any

    def __call__(self, params: PyTree, token_ids, mask):
        return self.module.apply({"params": params}, token_ids, mask)


@dataclass(frozen=True)
class WordsEncode:
    """(no params, token_ids, mask) -> bag-of-words vectors."""

    dim: int

    def __call__(self, params: PyTree, token_ids, mask):
        from jaxrec.models.encoders.bag_of_words import bag_of_words

        return bag_of_words(token_ids, mask, dim=self.dim)


def find_encoder(name: str) -> Path:
    """The directory of an encoder: the directory itself, a known name, or a snapshot in the Hugging Face cache.

    Nothing is downloaded but "minilm". Raises UserError that says where was looked.
    """
    path = Path(name).expanduser()
    known = name.lower() in _KNOWN
    if path.is_dir() and (not known or (path / "config.json").is_file()):
        return path
    if known:
        from jaxrec.data.fetch import fetch

        return fetch(name.lower())
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    stored = hub / f"models--{name.replace('/', '--')}"
    main = stored / "refs" / "main"
    snapshots = [stored / "snapshots" / main.read_text().strip()] if main.is_file() else []
    snapshots += sorted((stored / "snapshots").glob("*"))
    for snapshot in snapshots:
        if (snapshot / "config.json").is_file():
            return snapshot
    raise UserError(
        f"encoder {name!r}: not a directory, not a known name ({', '.join(_KNOWN)}), and not in the Hugging Face cache "
        f"{hub}. Give a directory that holds config.json, model.safetensors and tokenizer.json or vocab.txt"
    )
