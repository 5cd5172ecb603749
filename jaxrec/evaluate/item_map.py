"""Items in the plane: their vectors' first two principal components."""

import numpy as np


def item_map(vectors: np.ndarray) -> np.ndarray:
    """Coordinates float32 [n, 2] in [-1, 1] of vectors [n, d]: principal components through an SVD of the centred rows.

    Both axes have one scale, so that distances keep their proportion. The sign of an axis, which an SVD leaves open, is
    the one where the farthest item is positive: equal vectors make equal maps. Rows with nan or infinity stand at 0.
    """
    vectors = np.asarray(vectors, np.float64)
    rows, dim = vectors.shape
    known = np.isfinite(vectors).all(axis=1)
    points = np.zeros((rows, 2))
    if known.sum() < 2 or dim == 0:
        return points.astype(np.float32)
    centred = vectors[known] - vectors[known].mean(axis=0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    placed = np.zeros((len(centred), 2))
    placed[:, : len(axes)] = centred @ axes.T
    farthest = placed[np.abs(placed).argmax(axis=0), np.arange(2)]
    largest = np.abs(placed).max()
    points[known] = placed * np.where(farthest < 0, -1, 1) / (largest if largest > 1e-12 else 1)
    return points.astype(np.float32)
