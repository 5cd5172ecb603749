"""Weighted tags: the formula by hand, planted tastes, evidence."""

import json
from math import log2

import numpy as np
import pytest

from jaxrec.data.features import Tags
from jaxrec.serve.tag_profiles import base_rates, blended_events, tag_weights

# rows: 0 {a}, 1 {a, b}, 2 {b}, 3 {}
TAGS = Tags(("a", "b"), np.array([0, 1, 3, 4, 4]), np.array([0, 0, 1, 1], np.int32))


def test_base_rates():
    np.testing.assert_allclose(base_rates(TAGS, np.zeros(4)), [0.5, 0.5])
    np.testing.assert_allclose(base_rates(TAGS, np.array([6, 0, 2, 0])), [6.5 / 9, 2.5 / 9])


def test_the_formula():
    base = np.array([0.5, 0.25])
    found = tag_weights(TAGS, np.array([0, 2, 1]), np.array([1.0, 2.0, 3.0]), base, prior=5)
    share = (2.5 + 5 * 0.25) / 8  # weights scaled to mean 1 are 0.5, 1, 1.5; b is carried by the last two
    assert [TAGS.names[t.tag] for t in found] == ["b", "a"]
    assert found[1].weight == pytest.approx(4.5 / 8 * log2(4.5 / 8 / 0.5))  # a is carried by 0.5 and 1.5
    assert found[0].share == pytest.approx(share) and found[0].base == 0.25
    assert found[0].weight == pytest.approx(share * log2(share / 0.25))
    assert found[0].evidence.tolist() == [2, 1]


def test_both_tags_when_both_are_above():
    found = tag_weights(TAGS, np.array([1, 1]), np.array([1.0, 1.0]), np.array([0.5, 0.25]), prior=2)
    assert [t.tag for t in found] == [1, 0]
    assert found[1].weight == pytest.approx((3 / 4) * log2(3 / 4 / 0.5))
    assert found[0].evidence.tolist() == [1, 0], "equal weights: the latest event first"


def test_nothing_known():
    base = np.array([0.5, 0.5])
    assert tag_weights(TAGS, np.array([], int), np.array([]), base) == []
    assert tag_weights(TAGS, np.array([0]), np.array([-1.0]), base) == []
    assert tag_weights(TAGS, np.array([3]), np.array([1.0]), base) == []


def test_blended_events():
    rows, weights = blended_events(3, np.array([0, 1, 2]), np.array([0.6, 0.2, -0.5]))
    assert rows.tolist() == [3, 0, 1, 2]
    np.testing.assert_allclose(weights, [1, 0.75, 0.25, 0])
    rows, weights = blended_events(3, np.array([0]), np.array([-0.5]))
    assert rows.tolist() == [3] and weights.tolist() == [1]


def test_a_user_has_the_planted_taste(recommender):
    for user, tag in (("u0", "Comedy"), ("u1", "Drama")):
        profile = recommender.profile(user=user)
        assert profile.tags[0].tag == tag and profile.tags[0].share > profile.tags[0].base
        assert profile.tags[0].evidence and profile.kind == "user" and len(profile.vector) == 8
        carried = {r.item_id: r.tags for r in recommender.recommend(user, k=20, exclude_seen=False)}
        assert all(tag in carried.get(e.item_id, (tag,)) for e in profile.tags[0].evidence)
    assert profile.lines()[0].startswith("user u1, from ")
    json.dumps(profile.to_json())


def test_a_history_has_a_profile(recommender):
    profile = recommender.profile(history=[("i0", 5.0), ("i14", 0.5), ("i3", 4.0)])
    assert [t.tag for t in profile.tags][:2] == ["Romance", "Comedy"] and profile.id is None
    assert [e.item_id for e in profile.tags[0].evidence] == ["i0", "i3"]


def test_an_item_has_its_tags_and_likely_ones(recommender):
    profile = recommender.profile(item="i1")  # a comedy beside comedies with romance
    tags = {t.tag: t for t in profile.tags}
    assert tags["Comedy"].own and not tags["Romance"].own
    assert tags["Comedy"].evidence[0].item_id == "i1"
    assert tags["Romance"].evidence[0].item_id in {f"i{i}" for i in range(0, 12, 3)}
    assert "Romance, likely" in "\n".join(profile.lines())


def test_similar_items_share_the_taste(recommender):
    similar = recommender.similar("i2", k=5)
    assert len(similar) == 5 and {r.item_id for r in similar} <= {f"i{i}" for i in range(12)} - {"i2"}
    assert all(-1 <= r.score <= 1.0001 for r in similar)
