"""Tags for items that carry none, read from their vectors: ridge regression, judged on each item left out of its fit.

With X the vectors (a column of ones beside them) and Y the multi-hot tags of n items that carry some, the weights are
W = (X^T X + l2 I)^-1 X^T Y. What the fit without item i would say of i needs no second fit (the jackknife of linear
smoothers: Allen, Technometrics 1974): with h_i = x_i (X^T X + l2 I)^-1 x_i^T it is (x_i W - h_i y_i) / (1 - h_i).
l2 and the score from which on a tag is likely are those with the highest micro F1 of these left-out scores.
"""

from dataclasses import dataclass

import numpy as np

from jaxrec.data.features import Tags

L2 = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
ITEMS_AT_MOST = 20_000  # that the weights are fitted on
TAGS_AT_MOST = 300  # the most frequent ones; the rest is too rare to be foretold
THRESHOLDS = np.linspace(0.05, 0.8, 76)


@dataclass(frozen=True, eq=False)
class LikelyTags:
    """weights: float64 [dim + 1, tags]; scale: of the vectors. l2: per 1,000 items. threshold: likely from it on.

    f1: micro F1 on items left out, of the tags at the threshold; tag_rows: int [tags], the rows of the tags foretold.
    """

    weights: np.ndarray
    scale: float
    threshold: float
    l2: float
    f1: float
    tag_rows: np.ndarray

    @classmethod
    def fit(cls, vectors: np.ndarray, tags: Tags) -> "LikelyTags | None":
        """vectors: float [items, dim], a row of zeros where nothing is known of the item; aligned with `tags`.

        None where fewer than 20 items have both a vector and a tag.
        """
        carried = np.flatnonzero((np.diff(tags.offsets) > 0) & vectors.any(axis=1))
        if len(carried) < 20:
            return None
        rows = carried[:: -(-len(carried) // ITEMS_AT_MOST)]
        counts = np.bincount(tags.tag_rows, minlength=len(tags.names))
        common = np.sort(np.argsort(-counts, kind="stable")[:TAGS_AT_MOST])
        truth = _multi_hot(tags, rows, common)
        scale = float(1 / np.sqrt(np.mean(np.square(vectors[rows], dtype=np.float64).sum(axis=1))))
        x = _with_one(vectors[rows], scale)
        best = None
        for l2, (weights, left_out) in zip(L2, left_out_scores(x, truth, np.array(L2) * len(x) / 1_000), strict=True):
            f1 = [_micro_f1(left_out >= t, truth) for t in THRESHOLDS]
            if best is None or max(f1) > best.f1:
                at = int(np.argmax(f1))
                best = cls(weights, scale, float(THRESHOLDS[at]), l2, f1[at], common)
        return best

    def scores(self, vectors: np.ndarray) -> np.ndarray:
        """How likely each of `tag_rows` is, about 0 to 1, float64 [n, tags]; of zeros where a vector is zero."""
        known = vectors.any(axis=1)
        return np.where(known[:, None], _with_one(vectors, self.scale) @ self.weights, 0.0)

    def filled(self, tags: Tags, vectors: np.ndarray) -> Tags:
        """The same tags, and the likely ones for the items that carry none."""
        bare = np.flatnonzero(np.diff(tags.offsets) == 0)
        item, tag = np.nonzero(self.scores(vectors[bare]) >= self.threshold)
        lengths = np.diff(tags.offsets)
        lengths[bare] = np.bincount(item, minlength=len(bare))
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.empty(offsets[-1], np.int32)
        owner = np.repeat(np.arange(len(lengths)), lengths)
        given = np.zeros(len(lengths), bool)
        given[bare] = True
        rows[given[owner]], rows[~given[owner]] = self.tag_rows[tag], tags.tag_rows
        return Tags(tags.names, offsets, rows)


def left_out_scores(x: np.ndarray, truth: np.ndarray, l2: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each l2: W, float64 [dim, tags], and the scores of each item by the fit without it, float64 [n, tags]."""
    values, axes = np.linalg.eigh(x.T @ x)
    along, told = x @ axes, axes.T @ (x.T @ truth)
    found = []
    for one in l2:
        shrunk = 1 / (np.maximum(values, 0) + one)
        leverage = (np.square(along) @ shrunk)[:, None]
        weights = axes @ (shrunk[:, None] * told)
        found.append((weights, (x @ weights - leverage * truth) / (1 - leverage)))
    return found


def _multi_hot(tags: Tags, rows: np.ndarray, which: np.ndarray) -> np.ndarray:
    place = np.full(len(tags.names), -1)
    place[which] = np.arange(len(which))
    counts = tags.offsets[rows + 1] - tags.offsets[rows]
    owner = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)
    column = place[tags.tag_rows[tags.offsets[rows][owner] + within]]
    out = np.zeros((len(rows), len(which)))
    out[owner[column >= 0], column[column >= 0]] = 1
    return out


def _with_one(vectors: np.ndarray, scale: float) -> np.ndarray:
    return np.concatenate([np.asarray(vectors, np.float64) * scale, np.ones((len(vectors), 1))], axis=1)


def _micro_f1(given: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * truth[given].sum() / max(given.sum() + truth.sum(), 1))
