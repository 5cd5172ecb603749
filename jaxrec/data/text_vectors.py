"""What rankers read of a text: its direction alone, and nothing of an empty one. Training and serving share this."""

from collections.abc import Sequence

import numpy as np


def unit_text_vectors(vectors: np.ndarray, texts: Sequence[str | None] | None = None) -> np.ndarray:
    """Rows of length 1, float32 [texts, dim], in the direction of `vectors`; zero where the text is empty or blank.

    A row of zeros stays zero. Without texts, every row counts as said.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    units = (vectors / np.maximum(lengths, 1e-9)).astype(np.float32)
    if texts is not None:
        units[[not says_anything(text) for text in texts]] = 0
    return units


def says_anything(text: str | None) -> bool:
    return bool(text and text.strip())
