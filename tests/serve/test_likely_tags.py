"""Tags foretold from vectors: the left-out scores against fits without the item, planted tags, items without any."""

import numpy as np

from jaxrec.data.features import Tags
from jaxrec.serve.likely_tags import LikelyTags, left_out_scores


def planted(seed: int = 0, items: int = 120, noise: float = 0.3) -> tuple[np.ndarray, Tags]:
    """Two tags, each a direction of the vectors; every item carries at least one of them but the last ten none."""
    draw = np.random.default_rng(seed)
    hot = draw.random((items, 2)) < 0.5
    hot[~hot.any(1), 0] = True
    vectors = hot @ np.eye(2, 6) * 2 + noise * draw.normal(size=(items, 6))
    hot[-10:] = False
    rows = np.nonzero(hot)[1].astype(np.int32)
    return vectors, Tags(("a", "b"), np.concatenate([[0], np.cumsum(hot.sum(1))]), rows)


def test_left_out_scores_are_those_of_fits_without_the_item():
    draw = np.random.default_rng(1)
    x, truth, l2 = draw.normal(size=(15, 4)), (draw.random((15, 3)) < 0.4).astype(float), 2.0
    _, left_out = left_out_scores(x, truth, np.array([l2]))[0]
    for i in range(15):
        others = np.arange(15) != i
        weights = np.linalg.solve(x[others].T @ x[others] + l2 * np.eye(4), x[others].T @ truth[others])
        np.testing.assert_allclose(left_out[i], x[i] @ weights, atol=1e-10)


def test_planted_tags_are_found():
    vectors, tags = planted()
    likely = LikelyTags.fit(vectors, tags)
    assert likely.f1 > 0.95 and 0.2 < likely.threshold < 0.8
    filled = likely.filled(tags, vectors)
    for row in range(110):
        assert filled.of(row) == tags.of(row)
    for row in range(110, 120):
        assert set(filled.of(row)) == {n for n, v in zip("ab", vectors[row, :2], strict=True) if v > 1}


def test_noise_is_judged_as_noise():
    vectors, tags = planted()
    shuffled = np.random.default_rng(2).permutation(vectors)
    assert LikelyTags.fit(shuffled, tags).f1 < LikelyTags.fit(vectors, tags).f1 - 0.1


def test_nothing_is_said_where_nothing_is_known():
    vectors, tags = planted()
    vectors[115] = 0
    likely = LikelyTags.fit(vectors, tags)
    assert likely.filled(tags, vectors).of(115) == []
    assert LikelyTags.fit(np.zeros_like(vectors), tags) is None
    assert LikelyTags.fit(vectors[:15], Tags(tags.names, tags.offsets[:16], tags.tag_rows[: tags.offsets[15]])) is None
