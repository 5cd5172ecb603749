"""A Llama of a GGUF file or a Hugging Face directory, to our module, its parameters and its tokenizer."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from jaxrec.errors import DataError, UserError
from jaxrec.models.language.llama import Llama, LlamaSizes

PyTree = Any
SPECIAL, CONTROL = (3, 4), 3  # kinds of tokens in a GGUF file: control and user-defined; control


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """end: the tokens at which an answer ends. chat: whether it was trained on <|im_start|> turns."""

    module: Llama
    params: PyTree
    tokenizer: Tokenizer
    end: frozenset[int]

    @property
    def chat(self) -> bool:
        return self.tokenizer.token_to_id("<|im_start|>") is not None


def load_language_model(path: str | Path) -> LanguageModel:
    """A .gguf file, or a directory with config.json, model.safetensors and tokenizer.json.

    Raises UserError where there is neither, or of another kind; DataError where a file cannot be read.
    """
    path = Path(path)
    if path.is_dir() and not (path / "config.json").is_file():
        found = sorted(path.glob("*.gguf"))
        path = found[0] if found else path
    if path.is_file() and path.suffix == ".gguf":
        return load_gguf(path)
    if (path / "config.json").is_file():
        return load_directory(path)
    raise UserError(f"{path}: neither a .gguf file nor a directory with config.json; `jaxrec data get smollm2` has one")


def load_directory(directory: Path) -> LanguageModel:
    """Of Hugging Face: config.json, model.safetensors, tokenizer.json."""
    from safetensors.numpy import load_file

    try:
        config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        tensors = load_file(directory / "model.safetensors")
        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    except Exception as error:  # each library has its own
        raise DataError(f"{directory} cannot be read as a Llama: {error}") from error
    if config.get("model_type") != "llama":
        raise UserError(f"{directory}: config.json is of {config.get('model_type')!r}; only 'llama' can be loaded")
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if scaling.get("rope_type", "default") != "default":
        raise UserError(f"{directory}: config.json scales its rotary embedding, which is not built")
    sizes = LlamaSizes(
        vocab_size=config["vocab_size"],
        dim=config["hidden_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        num_kv_heads=config.get("num_key_value_heads", config["num_attention_heads"]),
        hidden_dim=config["intermediate_size"],
        rope_base=float(config.get("rope_theta", scaling.get("rope_theta", 10_000.0))),
        norm_eps=config.get("rms_norm_eps", 1e-6),
        tied=bool(config.get("tie_word_embeddings", False)),
        max_positions=config.get("max_position_embeddings", 2_048),
    )
    names = {
        "embedding": "model.embed_tokens.weight",
        "norm": "model.norm.weight",
        "output": "lm_head.weight",
        "attention_norm": "model.layers.{}.input_layernorm.weight",
        "mlp_norm": "model.layers.{}.post_attention_layernorm.weight",
        **{k: f"model.layers.{{}}.self_attn.{k}_proj.weight" for k in ("q", "k", "v", "o")},
        **{k: f"model.layers.{{}}.mlp.{k}_proj.weight" for k in ("gate", "up", "down")},
    }
    end = config.get("eos_token_id")
    ends = end if isinstance(end, list) else [end]
    params = _params(sizes, lambda name: np.asarray(_found(tensors, name, directory), np.float32), names)
    return LanguageModel(Llama(sizes), params, tokenizer, frozenset(e for e in ends if e is not None))


def load_gguf(path: Path) -> LanguageModel:
    """Of llama.cpp; quantised weights become float32."""
    from gguf import GGUFReader, dequantize

    try:
        reader = GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
        tensors = {tensor.name: tensor for tensor in reader.tensors}
    except Exception as error:  # the library raises several kinds
        raise DataError(f"{path} is no GGUF file that can be read: {error}") from error
    if fields.get("general.architecture") != "llama" or fields.get("tokenizer.ggml.model") != "gpt2":
        raise UserError(f"{path}: only a GGUF file of the architecture 'llama' with a 'gpt2' tokenizer can be loaded")
    heads = fields["llama.attention.head_count"]
    sizes = LlamaSizes(
        vocab_size=len(fields["tokenizer.ggml.tokens"]),
        dim=fields["llama.embedding_length"],
        num_layers=fields["llama.block_count"],
        num_heads=heads,
        num_kv_heads=fields.get("llama.attention.head_count_kv", heads),
        hidden_dim=fields["llama.feed_forward_length"],
        rope_base=float(fields.get("llama.rope.freq_base", 10_000.0)),
        norm_eps=float(fields["llama.attention.layer_norm_rms_epsilon"]),
        tied="output.weight" not in tensors,
        max_positions=fields["llama.context_length"],
    )
    names = {
        "embedding": "token_embd.weight",
        "norm": "output_norm.weight",
        "output": "output.weight",
        "attention_norm": "blk.{}.attn_norm.weight",
        "mlp_norm": "blk.{}.ffn_norm.weight",
        **{k: f"blk.{{}}.attn_{long}.weight" for k, long in (("q", "q"), ("k", "k"), ("v", "v"), ("o", "output"))},
        **{k: f"blk.{{}}.ffn_{k}.weight" for k in ("gate", "up", "down")},
    }

    def read(name: str) -> np.ndarray:
        tensor = _found(tensors, name, path)
        rows = np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)
        count = {"attn_q": sizes.num_heads, "attn_k": sizes.num_kv_heads}.get(name.split(".")[-2])
        return rows if count is None else _halves(rows, count)

    ends = {fields.get("tokenizer.ggml.eos_token_id"), fields.get("tokenizer.ggml.eot_token_id")} - {None}
    return LanguageModel(Llama(sizes), _params(sizes, read, names), _tokenizer(fields), frozenset(ends))


def _halves(rows: np.ndarray, heads: int) -> np.ndarray:
    """GGUF keeps the two sides of each rotated pair together, we the first sides of all before the second."""
    return rows.reshape(heads, rows.shape[0] // heads // 2, 2, -1).swapaxes(1, 2).reshape(rows.shape)


def _params(sizes: LlamaSizes, read: Callable[[str], np.ndarray], names: Mapping[str, str]) -> PyTree:
    """Linear layers are [inputs, outputs] here, [outputs, inputs] there."""

    def kernel(layer: int, *parts: str) -> PyTree:
        return {"kernel": np.concatenate([read(names[part].format(layer)) for part in parts]).T.copy()}

    params: dict[str, Any] = {"embedding": read(names["embedding"]), "norm": read(names["norm"])}
    if not sizes.tied:
        params["output"] = read(names["output"])
    for layer in range(sizes.num_layers):
        params[f"layer_{layer}"] = {
            "attention_norm": read(names["attention_norm"].format(layer)),
            "mlp_norm": read(names["mlp_norm"].format(layer)),
            "qkv": kernel(layer, "q", "k", "v"),
            "out": kernel(layer, "o"),
            "gate_up": kernel(layer, "gate", "up"),
            "down": kernel(layer, "down"),
        }
    return params


def _found(tensors: Mapping[str, Any], name: str, where: Path) -> Any:
    if name not in tensors:
        raise DataError(f"{where} has no tensor {name!r}: it is incomplete, or of another kind")
    return tensors[name]


def _tokenizer(fields: Mapping[str, Any]) -> Tokenizer:
    """Byte-level pairs (as GPT-2), with digits one by one where the file says "smollm"."""
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={token: place for place, token in enumerate(tokens)}, merges=merges))
    split = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if fields.get("tokenizer.ggml.pre") == "smollm":
        split.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Sequence(split), decoders.ByteLevel()
    special = [(t, k) for t, k in zip(tokens, kinds, strict=True) if k in SPECIAL]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in special if k == CONTROL])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t, k in special if k != CONTROL])
    return tokenizer
