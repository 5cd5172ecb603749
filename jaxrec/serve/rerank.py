"""A list chosen for people: varied, like the asker's own mix, more or less popular, new to the asker. Plain numpy."""

from dataclasses import dataclass

import numpy as np

ALIKE = 15.0  # standard deviations of a score that a cosine of one costs at full diversity: texts differ by tenths
SMOOTHING = 0.01  # of the list's mix, so that a tag that is not there yet costs much but not everything


@dataclass(frozen=True)
class Dials:
    """How strongly a list is changed, each from 0 (not at all) to 1; popularity from -1, for less popular items."""

    diversity: float = 0.0
    calibration: float = 0.0
    popularity: float = 0.0
    novelty: float = 0.0

    @property
    def any(self) -> bool:
        return bool(self.diversity or self.calibration or self.popularity or self.novelty)


def standard(values: np.ndarray) -> np.ndarray:
    """Mean 0 and standard deviation 1; zeros where all are alike."""
    spread = values.std()
    return (values - values.mean()) / spread if spread > 1e-9 else np.zeros_like(values)


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1, or zero."""
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-9)


def pick(
    scores: np.ndarray,
    k: int,
    dials: Dials,
    *,
    vectors: np.ndarray,
    tags: np.ndarray,
    wanted: np.ndarray,
    popularity: np.ndarray,
) -> np.ndarray:
    """Places of the k chosen candidates, int64, in the order in which they are shown.

    scores: [n], standardised. vectors: float [n, dim], unit rows, what diversity compares. tags: float [n, tags], each
    row a share of 1, or zeros; wanted: float [tags], the asker's own mix. popularity: [n], of any scale.
    diversity: maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): score - dial x ALIKE x the cosine
    with the nearest item chosen before. calibration: the Kullback-Leibler divergence of the list's mix of tags from the
    asker's (Steck, RecSys 2018) is held down greedily. novelty: 1 - cosine of the item's tags with the asker's mix.
    """
    value = scores + dials.popularity * standard(np.log1p(popularity))
    if dials.novelty and wanted.any():
        value = value + dials.novelty * standard(1.0 - unit(tags) @ unit(wanted))
    if not dials.diversity and not (dials.calibration and wanted.any()):
        return np.argsort(-value, kind="stable")[:k]
    left, chosen = np.ones(len(value), bool), []
    nearest, mix = np.zeros(len(value)), np.zeros(tags.shape[1])
    while len(chosen) < min(k, len(value)):
        gain = value - ALIKE * dials.diversity * nearest
        if dials.calibration and wanted.any():
            lists = (mix[None, :] + tags) / (len(chosen) + 1)
            gain = gain - 5.0 * dials.calibration * divergence(wanted, lists)
        best = int(np.argmax(np.where(left, gain, -np.inf)))
        chosen.append(best)
        left[best] = False
        nearest = np.maximum(nearest, vectors @ vectors[best])
        mix = mix + tags[best]
    return np.array(chosen, np.int64)


def divergence(wanted: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """KL(wanted | smoothed list) in nats, float [n]; wanted: [tags], lists: [n, tags], shares."""
    smooth = (1.0 - SMOOTHING) * lists + SMOOTHING * wanted[None, :]
    there = wanted > 0
    return (wanted[there] * np.log(wanted[there] / np.maximum(smooth[:, there], 1e-12))).sum(axis=1)
