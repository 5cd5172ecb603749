"""The dials: what each does to a list, against its formula."""

import numpy as np
import pytest

from jaxrec.serve.rerank import ALIKE, Dials, divergence, pick, standard, unit

DRAW = np.random.default_rng(0)
SCORES = standard(np.sort(DRAW.normal(size=40))[::-1])
TAGS = np.eye(4)[DRAW.integers(0, 4, 40)]
VECTORS = unit(TAGS + 0.05 * DRAW.normal(size=TAGS.shape))
FAME = DRAW.integers(1, 1_000, 40)


def chosen(**dials):
    wanted = np.array([0.7, 0.3, 0.0, 0.0])
    return pick(SCORES, 10, Dials(**dials), vectors=VECTORS, tags=TAGS, wanted=wanted, popularity=FAME)


def test_at_zero_the_list_is_the_ranking():
    np.testing.assert_array_equal(chosen(), np.arange(10))


def test_diversity_is_maximal_marginal_relevance():
    picked = chosen(diversity=0.5)
    for place in range(1, 10):
        before = picked[:place]
        gain = SCORES - 0.5 * ALIKE * np.maximum((VECTORS @ VECTORS[before].T).max(axis=1), 0)
        gain[before] = -np.inf
        assert picked[place] == gain.argmax()
    assert len(set(TAGS[picked].argmax(axis=1))) == 4


def test_calibration_brings_the_mix_to_the_asker():
    def far(picked):
        return divergence(np.array([0.7, 0.3, 0.0, 0.0]), TAGS[picked].mean(axis=0)[None])[0]

    assert far(chosen(calibration=1.0)) < far(chosen(calibration=0.3)) < far(chosen())


def test_divergence_is_kullback_and_leibler():
    wanted, mix = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.5, 0.25])
    smooth = 0.99 * mix + 0.01 * wanted
    expected = 0.5 * np.log(0.5 / smooth[0]) + 0.5 * np.log(0.5 / smooth[1])
    assert divergence(wanted, mix[None])[0] == pytest.approx(expected)


def test_popularity_and_novelty_point_both_ways():
    assert FAME[chosen(popularity=1.0)].mean() > FAME[chosen()].mean() > FAME[chosen(popularity=-1.0)].mean()
    own = np.array([0.7, 0.3, 0.0, 0.0])
    assert (TAGS[chosen(novelty=1.0)] @ own).mean() < (TAGS[chosen()] @ own).mean()
