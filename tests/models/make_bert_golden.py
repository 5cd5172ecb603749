"""Makes the golden hidden states of transformers' BertModel. Needs PyTorch: pip install torch==2.13.0

    python tests/models/make_bert_golden.py MINILM_DIRECTORY

The tests import the sentences, configs and random weights from here; only `main` and `oracle_*` need PyTorch.
"""

import sys
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden"
MAX_LENGTH = 300
PADS = 2  # padded positions kept after each sentence
DIMS = 4  # sampled dimensions of each hidden state of MiniLM

SENTENCES = [
    "",
    "a",
    "Toy Story (1995). Animation, Children's, Comedy",
    "Heat (1995). Action, Crime, Thriller",
    "Cité des enfants perdus, La (1995). Adventure, Sci-Fi",
    "Something funny for a rainy evening.",
    "I did NOT like it: too long, too loud!!!",
    "電影非常好看，我很喜欢。",
    "这部电影的情节很精彩",
    "日本の映画とアニメ",
    "한국 영화",
    "Фильм о любви и войне",
    "فيلم جميل",
    "🎬🍿 best film ever 🎉🎉",
    "👩‍👩‍👧‍👦 family film",
    "naïve café, œuvre, straße",
    "e-mail: nobody@example.org, https://example.org/a?b=c&d=e#f",
    "3.14159 1,000,000 $5.99 50%",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "x" * 150,
    "\t tabs \n and  newlines \r\n and\u00a0no-break\u200bzero width",
    "[CLS] [SEP] [MASK] written by hand",
    "ALL CAPS AND lower And MiXeD",
    "¿Qué? ¡Sí! — “quoted” …",
    "\x00control\x07characters",
    "word " * 12,
    "good bad " * 9,
    "A long plot summary: " + "the hero leaves home, meets a stranger, and everything changes. " * 6,
    "中文" * 45,
    "the quick brown fox jumps over the lazy dog. " * 40,
    *(
        f"Film number {n} ({1950 + n}). " + ", ".join(["Drama", "Comedy", "War", "Musical"][: n % 4 + 1])
        for n in range(20)
    ),
]

_CHINESE = "的一是了我不人在他有这个上们来到时大地为子中你说生国年着就那和要她出也得里后自以会家电影好看很喜欢情节精彩"

TINY = {
    "english": {"hidden_act": "gelu", "vocab_size": 60, "type_vocab_size": 2},
    "tanh": {"hidden_act": "gelu_new", "vocab_size": 60, "type_vocab_size": 1},
    "relu": {"hidden_act": "relu", "vocab_size": 60, "num_attention_heads": 2, "layer_norm_eps": 1e-5},
    "chinese": {"hidden_act": "gelu", "vocab_size": 6 + len(_CHINESE) + 4, "directionality": "bidi"},
}


def chinese_vocab() -> list[str]:
    """A vocabulary as bert-base-chinese has it: special tokens, one token a character, some pieces of Latin words."""
    return ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_CHINESE, "film", "##s", "##1", "，"]


def tiny_config(name: str) -> dict:
    return {
        "model_type": "bert",
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 40,
        "max_position_embeddings": 20,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        **TINY[name],
    }


def tiny_weights(config: dict, seed: int = 0) -> dict[str, np.ndarray]:
    """Random weights of a BertModel by its PyTorch names, large enough that every part is felt."""
    rng = np.random.RandomState(seed)
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (config["vocab_size"], hidden),
        "embeddings.position_embeddings.weight": (config["max_position_embeddings"], hidden),
        "embeddings.token_type_embeddings.weight": (config["type_vocab_size"], hidden),
    }
    norms = ["embeddings.LayerNorm"]
    for layer in (f"encoder.layer.{index}" for index in range(config["num_hidden_layers"])):
        for part in ("self.query", "self.key", "self.value", "output.dense"):
            shapes |= {
                f"{layer}.attention.{part}.weight": (hidden, hidden),
                f"{layer}.attention.{part}.bias": (hidden,),
            }
        shapes |= {f"{layer}.intermediate.dense.weight": (inner, hidden), f"{layer}.intermediate.dense.bias": (inner,)}
        shapes |= {f"{layer}.output.dense.weight": (hidden, inner), f"{layer}.output.dense.bias": (hidden,)}
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    weights = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    for norm in norms:
        weights[f"{norm}.weight"] = rng.uniform(0.5, 1.5, hidden).astype(np.float32)
        weights[f"{norm}.bias"] = rng.normal(0, 0.3, hidden).astype(np.float32)
    return weights


def tiny_inputs(config: dict, seed: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(token ids, mask, token types), each [4, 12]; lengths 12, 7, 2 and 1."""
    rng = np.random.RandomState(seed)
    ids = rng.randint(0, config["vocab_size"], (4, 12)).astype(np.int32)
    types = rng.randint(0, config["type_vocab_size"], (4, 12)).astype(np.int32)
    mask = np.arange(12)[None, :] < np.array([12, 7, 2, 1])[:, None]
    return np.where(mask, ids, 0).astype(np.int32), mask, types


def sampled_dims(layers: int, tokens: int, width: int) -> np.ndarray:
    """Which dimensions are kept of each layer and token: int [layers, tokens, DIMS]."""
    return np.random.RandomState(7).randint(0, width, (layers, tokens, DIMS))


def kept(lengths: np.ndarray, tokens: int) -> np.ndarray:
    """Which positions are kept: the real ones and PADS padded ones; bool [texts, tokens]."""
    return np.arange(tokens)[None, :] < np.minimum(lengths + PADS, tokens)[:, None]


def oracle_hidden(model, ids: np.ndarray, mask: np.ndarray, types: np.ndarray | None = None) -> np.ndarray:
    """Hidden states [layers + 1, batch, tokens, hidden] of a BertModel."""
    import torch

    arguments = {"input_ids": torch.tensor(ids).long(), "attention_mask": torch.tensor(mask).long()}
    if types is not None:
        arguments["token_type_ids"] = torch.tensor(types).long()
    with torch.no_grad():
        return np.stack([h.numpy() for h in model(**arguments, output_hidden_states=True).hidden_states])


def oracle_tiny(name: str):
    import torch
    from transformers import BertConfig, BertModel

    config = tiny_config(name)
    model = BertModel(BertConfig(**config), add_pooling_layer=False).eval()
    model.load_state_dict({key: torch.tensor(value) for key, value in tiny_weights(config).items()})
    return model


def oracle_minilm(directory: str | Path, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(token ids, mask, hidden states) of all sentences as one padded batch."""
    import torch
    from transformers import BertModel, BertTokenizer

    tokenizer = BertTokenizer.from_pretrained(directory)
    batch = tokenizer(SENTENCES, padding="longest", truncation=True, max_length=MAX_LENGTH, return_tensors="np")
    ids, mask = batch["input_ids"].astype(np.int32), batch["attention_mask"].astype(bool)
    model = BertModel.from_pretrained(directory).eval().to(getattr(torch, dtype))
    parts = [oracle_hidden(model, ids[i : i + 10], mask[i : i + 10]) for i in range(0, len(ids), 10)]
    return ids, mask, np.concatenate(parts, axis=1)


def main(directory: str) -> None:
    GOLDEN.mkdir(exist_ok=True)
    tiny = {name: oracle_hidden(oracle_tiny(name), *tiny_inputs(tiny_config(name))) for name in TINY}
    np.savez_compressed(GOLDEN / "bert_tiny.npz", **tiny)
    ids, mask, hidden = oracle_minilm(directory)
    lengths = mask.sum(1)
    states = hidden[:, kept(lengths, ids.shape[1])]
    sample = np.take_along_axis(states, sampled_dims(*states.shape), axis=2)
    np.savez_compressed(
        GOLDEN / "bert_minilm.npz", ids=ids[mask].astype(np.uint16), lengths=lengths.astype(np.int32), sample=sample
    )


if __name__ == "__main__":
    main(sys.argv[1])
