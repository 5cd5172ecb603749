"""Writes small BERT directories as Hugging Face has them."""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file


def write(directory: Path, config: dict, weights: dict[str, np.ndarray], vocab: list[str] | None = None) -> Path:
    """config.json and model.safetensors, and vocab.txt where a vocabulary is given."""
    (directory / "config.json").write_text(json.dumps(config))
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in weights.items()}, directory / "model.safetensors")
    if vocab:
        (directory / "vocab.txt").write_text("".join(f"{token}\n" for token in vocab), "utf-8")
    return directory
