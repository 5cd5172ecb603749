"""A Hugging Face BERT directory (config.json, model.safetensors) to our Bert and its parameters."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.errors import DataError, UserError
from jaxrec.models.encoders.bert import ACTIVATIONS, Bert

PyTree = Any

# what other heads and old versions store beside the encoder: read by nobody here
_IGNORED = re.compile(
    r"(cls|pooler|classifier|qa_outputs|seq_relationship|dropout|linear)\..*|embeddings\.(position_ids|token_type_ids)"
)
_SHOWN = 20
_CONVERT = (
    """python -c "from transformers import BertModel; BertModel.from_pretrained('{0}').save_pretrained('{0}')\""""
)


def bert_of(config: Mapping[str, Any], *, dtype: str = "float32", remat: bool = False) -> Bert:
    """The module that a Hugging Face config.json describes; absent keys have the defaults of BERT-base.

    Raises UserError for another kind of model or a variant that is not built.
    """
    kind = config.get("model_type", "bert")
    if kind != "bert":
        raise UserError(f"config.json is of a {kind!r} model; only model_type 'bert' can be loaded")
    positions = config.get("position_embedding_type", "absolute")
    if positions != "absolute":
        raise UserError(f"config.json has position_embedding_type {positions!r}; only 'absolute' can be loaded")
    if config.get("is_decoder"):
        raise UserError("config.json has is_decoder=true; only encoders can be loaded")
    activation = config.get("hidden_act", "gelu")
    if activation not in ACTIVATIONS:
        raise UserError(f"config.json has hidden_act {activation!r}; it is one of {', '.join(ACTIVATIONS)}")
    hidden, heads = config.get("hidden_size", 768), config.get("num_attention_heads", 12)
    if hidden % heads:
        raise UserError(f"config.json has hidden_size {hidden}, not a multiple of num_attention_heads {heads}")
    return Bert(
        vocab_size=config.get("vocab_size", 30_522),
        hidden_size=hidden,
        num_layers=config.get("num_hidden_layers", 12),
        num_heads=heads,
        intermediate_size=config.get("intermediate_size", 3_072),
        max_positions=config.get("max_position_embeddings", 512),
        num_token_types=config.get("type_vocab_size", 2),
        activation=activation,
        layer_norm_eps=config.get("layer_norm_eps", 1e-12),
        dropout=config.get("hidden_dropout_prob", 0.1),
        attention_dropout=config.get("attention_probs_dropout_prob", 0.1),
        init_scale=config.get("initializer_range", 0.02),
        dtype=dtype,
        remat=remat,
    )


def read_config(directory: str | Path) -> dict[str, Any]:
    """The directory's config.json. Raises UserError where there is none, DataError where it is not JSON."""
    path = Path(directory) / "config.json"
    if not path.is_file():
        raise UserError(f"{path}: no such file; a BERT directory holds config.json, model.safetensors and a tokenizer")
    try:
        config = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}); copy it again") from None
    if not isinstance(config, dict):
        raise DataError(f"{path}: a JSON object is expected, not a {type(config).__name__}")
    return config


def load_bert(directory: str | Path, *, dtype: str = "float32", remat: bool = False) -> tuple[Bert, PyTree]:
    """(module, params) of a Hugging Face BERT directory: `module.apply({"params": params}, token_ids, mask)`.

    params are float32 numpy arrays on the host.

    Raises UserError for a directory that is not of a BERT in safetensors, DataError for one that is damaged or whose
    weights do not fit its config.json.
    """
    module = bert_of(read_config(directory), dtype=dtype, remat=remat)
    tensors = {}
    for path in weight_files(directory):
        tensors.update(_read(path))
    return module, convert(module, tensors, origin=str(directory))


def weight_files(directory: str | Path) -> list[Path]:
    """The safetensors files: model.safetensors, or the shards that model.safetensors.index.json names."""
    directory = Path(directory)
    whole, index = directory / "model.safetensors", directory / "model.safetensors.index.json"
    if whole.is_file():
        return [whole]
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise DataError(f"{index}: no weight_map of tensor names to files; copy it again") from None
        for name in names:
            if Path(name).name != name:
                raise DataError(f"{index}: names {name!r}, which is not a file of this directory")
            if not (directory / name).is_file():
                raise DataError(f"{directory / name}: missing, but {index.name} names it; copy all shards")
        return [directory / name for name in names]
    found = next((p.name for p in (*directory.glob("*.bin"), *directory.glob("*.h5"), *directory.glob("*.ckpt*"))), "")
    if found:
        raise UserError(
            f"{directory}: has {found} but no model.safetensors, and unsafe formats are not read. "
            f"Convert it once where PyTorch is installed: {_CONVERT.format(directory)}"
        )
    raise UserError(f"{whole}: no such file")


def _read(path: Path) -> dict[str, np.ndarray]:
    import ml_dtypes  # noqa: F401  teaches numpy bfloat16, before safetensors asks for it
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        pointer = path.open("rb").read(30).startswith(b"version https://git-lfs")
        why = (
            "a Git LFS pointer, not the weights; run `git lfs pull`" if pointer else f"damaged ({error}); copy it again"
        )
        raise DataError(f"{path}: {why}") from None


@dataclass(frozen=True)
class _Leaf:
    """Where a tensor of the checkpoint goes. shape: as stored there; transpose: PyTorch keeps [out, in]."""

    name: str
    path: tuple[str, ...]
    shape: tuple[int, ...]
    transpose: bool = False


def _leaves(bert: Bert) -> Iterator[_Leaf]:
    hidden, inner = bert.hidden_size, bert.intermediate_size

    def dense(name: str, path: tuple[str, ...], inputs: int, outputs: int) -> Iterator[_Leaf]:
        yield _Leaf(f"{name}.weight", (*path, "kernel"), (outputs, inputs), transpose=True)
        yield _Leaf(f"{name}.bias", (*path, "bias"), (outputs,))

    def norm(name: str, path: tuple[str, ...]) -> Iterator[_Leaf]:
        yield _Leaf(f"{name}.weight", (*path, "scale"), (hidden,))
        yield _Leaf(f"{name}.bias", (*path, "bias"), (hidden,))

    tables = (
        ("word_embeddings", "words", bert.vocab_size),
        ("position_embeddings", "positions", bert.max_positions),
        ("token_type_embeddings", "token_types", bert.num_token_types),
    )
    for name, ours, rows in tables:
        yield _Leaf(f"embeddings.{name}.weight", ("embeddings", ours, "embedding"), (rows, hidden))
    yield from norm("embeddings.LayerNorm", ("embeddings", "norm"))
    for index in range(bert.num_layers):
        theirs, ours = f"encoder.layer.{index}", f"layer_{index}"
        for part in ("query", "key", "value"):
            yield from dense(f"{theirs}.attention.self.{part}", (ours, "attention", part), hidden, hidden)
        yield from dense(f"{theirs}.attention.output.dense", (ours, "attention", "output"), hidden, hidden)
        yield from norm(f"{theirs}.attention.output.LayerNorm", (ours, "attention_norm"))
        yield from dense(f"{theirs}.intermediate.dense", (ours, "inner"), hidden, inner)
        yield from dense(f"{theirs}.output.dense", (ours, "output"), inner, hidden)
        yield from norm(f"{theirs}.output.LayerNorm", (ours, "output_norm"))


def _plain(name: str) -> str:
    """A tensor name without the `bert.` prefix, and with today's names of the layer norms."""
    name = name.removeprefix("bert.")
    return re.sub(r"LayerNorm\.gamma$", "LayerNorm.weight", re.sub(r"LayerNorm\.beta$", "LayerNorm.bias", name))


def convert(bert: Bert, tensors: Mapping[str, np.ndarray], *, origin: str = "checkpoint") -> PyTree:
    """Params of `bert` (for `bert.apply({"params": params}, ...)`) from tensors named as in PyTorch, as float32.

    Names may begin with `bert.`; layer norms may be weight/bias or gamma/beta; pooler and task heads are left out.
    Raises DataError with the missing, unexpected and wrong-shape names.
    """
    found: dict[str, np.ndarray] = {}
    unexpected = []
    leaves = {leaf.name: leaf for leaf in _leaves(bert)}
    for stored, tensor in tensors.items():
        name = _plain(stored)
        if name in leaves and name not in found:
            found[name] = tensor
        elif name in leaves or not _IGNORED.fullmatch(name):
            unexpected.append(f"{stored} {tensor.shape}")
    missing = [f"{leaf.name} {leaf.shape}" for leaf in leaves.values() if leaf.name not in found]
    wrong = [
        f"{name}: {tensor.shape}, config.json says {leaves[name].shape}"
        for name, tensor in found.items()
        if tensor.shape != leaves[name].shape
    ]
    problems = {"missing": missing, "unexpected": unexpected, "wrong shape": wrong}
    if any(problems.values()):
        raise DataError(
            f"{origin}: the weights do not fit config.json"
            + "".join(_listed(what, names) for what, names in problems.items() if names)
        )
    params: dict = {}
    for name, tensor in found.items():
        leaf = leaves[name]
        *above, last = leaf.path
        inside = params
        for step in above:
            inside = inside.setdefault(step, {})
        inside[last] = np.ascontiguousarray(tensor.T if leaf.transpose else tensor, np.float32)
    return params


def _listed(what: str, names: list[str]) -> str:
    more = f"\n    and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"\n  {what} ({len(names)}):" + "".join(f"\n    {name}" for name in sorted(names)[:_SHOWN]) + more
