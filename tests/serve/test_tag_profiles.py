"""Weighted tags: the formula by hand, planted tastes, evidence."""

import json
from dataclasses import replace
from math import log2

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxrec.data.features import Tags
from jaxrec.data.interactions import Histories
from jaxrec.data.words import find_keywords, keywords
from jaxrec.serve.export import items_table
from jaxrec.serve.profiles import _without_parts, item_profile, user_profile
from jaxrec.serve.stored import StoredItems
from jaxrec.serve.tag_profiles import (
    TagWeight,
    base_rates,
    blended_events,
    imagined,
    tag_counts,
    tag_scores,
    tag_weights,
)

# rows: 0 {a}, 1 {a, b}, 2 {b}, 3 {}
TAGS = Tags(("a", "b"), np.array([0, 1, 3, 4, 4]), np.array([0, 0, 1, 1], np.int32))

NOTHING = Tags((), np.zeros(2, np.int64), np.zeros(0, np.int32))


def listed(tags: Tags) -> pa.Array:
    return pa.array([tags.of(row) for row in range(len(tags.offsets) - 1)], pa.list_(pa.string()))


def test_base_rates():
    np.testing.assert_allclose(base_rates(TAGS, np.zeros(4)), [0.5, 0.5])
    np.testing.assert_allclose(base_rates(TAGS, np.array([6, 0, 2, 0])), [6.5 / 9, 2.5 / 9])


def test_the_formula():
    base = np.array([0.5, 0.25])
    found = tag_weights(TAGS, np.array([0, 2, 1]), np.array([1.0, 2.0, 3.0]), base, prior=5)
    share = (2.5 + 5 * 0.25) / 8  # weights scaled to mean 1 are 0.5, 1, 1.5; b is carried by the last two
    assert [TAGS.names[t.tag] for t in found] == ["b", "a"]
    assert found[1].weight == pytest.approx(4.5 / 8 * log2(4.5 / 8 / 0.5))  # a is carried by 0.5 and 1.5
    assert found[0].share == pytest.approx(2.5 / 3) and found[0].base == 0.25
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


def test_rare_tags_are_drawn_further():
    counts, base = np.array([[3.0, 30.0]]), np.array([0.01, 0.3])
    scores = tag_scores(counts, np.array([50.0]), base, prior=imagined(base, 10.0))
    lift = (counts + 10) / (50 * base + 10)
    np.testing.assert_allclose(scores, base * lift * np.log2(lift))
    assert np.argmax(tag_scores(counts, np.array([50.0]), base, prior=5.0) / base) == 0 and lift[0, 0] < 1.3


def test_counts_of_many_users_are_those_of_each():
    users, rows = np.array([1, 0, 1, 1]), np.array([0, 1, 2, 1])
    counts, totals = tag_counts(TAGS, users, rows, np.array([1.0, 7.0, 2.0, -1.0]), 3)
    np.testing.assert_allclose(counts, [[1, 1], [2 / 3, 4 / 3], [0, 0]])
    assert totals.tolist() == [1, 2, 0]


def test_a_tag_needs_different_items():
    base = np.array([0.1, 0.1])
    rows, weights = np.array([0, 0, 1, 2]), np.array([1.0, 1.0, 1.0, 0.0])
    assert [t.tag for t in tag_weights(TAGS, rows, weights, base, least_items=2)] == [0]
    assert tag_weights(TAGS, rows, weights, base, least_items=3) == []


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
    tags = {t.tag: t for t in profile.tags[:2]}
    assert set(tags) == {"Romance", "Comedy"} and profile.id is None
    assert [e.item_id for e in tags["Romance"].evidence] == ["i0", "i3"]


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


def test_words_stand_after_tags_with_their_items(data, ranker, tmp_path):
    titles = [f"{'Star Trek' if i % 2 else 'Quiet'} film {i}" for i in range(24)]
    catalog = replace(data.catalog, titles=pa.array(titles), texts=pa.array(titles))
    words = keywords(catalog.texts, most=0.6)
    assert set(words.names) == {"star trek", "quiet"}
    table = items_table(replace(data, catalog=catalog), np.ones(24, np.int64))
    path = tmp_path / "items.parquet"
    pq.write_table(table.set_column(table.column_names.index("words"), "words", listed(words)), path)
    stored = StoredItems.read(path)
    rows = np.array([1, 3, 5, 0])
    events = Histories(np.array([0, 4]), rows, np.zeros(4, np.int64), np.ones(4, np.float32))
    profile = user_profile(stored, "u", events, None, 10, stored.tags)
    kinds = [t.kind for t in profile.tags]
    assert kinds == sorted(kinds) and [t.tag for t in profile.tags if t.kind == "word"] == ["star trek"]
    assert [e.item_id for e in profile.tags[-1].evidence] == ["i5", "i3", "i1"]
    assert '"star trek": 75% here' in profile.lines()[-1]
    item = item_profile(stored, 1, np.array([3]), np.array([0.5]), None, 10, stored.tags)
    assert [(t.tag, t.own) for t in item.tags if t.kind == "word"] == [("star trek", True)]
    said = find_keywords(pa.array(["Star Trek"]), words.names)
    more = stored.extended(["n"], pa.array(["A Star Trek film"]), pa.array([""]), NOTHING, said)
    assert more.words.of(24) == ["star trek"] and more.words.of(1) == ["star trek"] and more.tags.of(24) == []


def test_a_pair_stands_for_its_words():
    names = ("star", "star trek", "war")
    star, pair, war = (TagWeight(t, 1.0, 0.5, 0.1, np.arange(3)) for t in range(3))
    assert _without_parts([star, pair, war], names) == [pair, war]
    often = star._replace(evidence=np.arange(7))
    assert _without_parts([often, pair], names) == [often, pair], "the word says more than the pair"


def test_an_artifact_without_words_loads(artifact, tmp_path):
    table = pq.read_table(artifact / "items.parquet")
    assert "words" in table.column_names
    pq.write_table(table.drop_columns(["words"]), tmp_path / "items.parquet")
    stored = StoredItems.read(tmp_path / "items.parquet")
    assert stored.words.names == () and len(stored.words.offsets) == len(stored) + 1
    events = Histories(np.array([0, 1]), np.array([1]), np.zeros(1, np.int64), np.ones(1, np.float32))
    assert {t.kind for t in user_profile(stored, "u", events, None, 10, stored.tags).tags} == {"tag"}


def test_an_item_without_tags_is_given_likely_ones(recommender):
    bare = pa.table({"item_id": ["n1", "n2"], "title": ["A funny film", "A sad film"]})
    more = recommender.with_new_items(bare, text_vectors=vectors_like(recommender, ["i1", "i13"]))
    assert more.loaded.catalog.tags.of(24) == [] and "Comedy" in more.loaded.profile_tags.of(24)
    assert "Drama" in more.loaded.profile_tags.of(25)
    assert more.loaded.profile_tags.of(0) == recommender.loaded.catalog.tags.of(0)
    tags = more.profile(item="n1").tags
    assert tags[0].tag == "Comedy" and not tags[0].own
    history = more.profile(history=["n2", "n2"]).tags
    assert history[0].tag == "Drama" and history[0].evidence[0].item_id == "n2"


def vectors_like(recommender, ids) -> np.ndarray:
    """Text vectors of items that are in the catalog."""
    catalog = recommender.loaded.catalog
    rows = [int(row) for row in catalog.ids.find(ids)]
    return recommender.loaded.encode_text([f"{catalog.title(row)}. {', '.join(catalog.tags.of(row))}" for row in rows])
