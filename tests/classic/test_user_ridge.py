"""People who have no history are given what others of their kind chose."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from jaxrec.classic.user_ridge import UserRidge
from jaxrec.data.dataset import index_ids
from jaxrec.data.interactions import Histories
from jaxrec.data.queries import gather_queries
from jaxrec.data.tables import Tables
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.ranker import Query, score_all
from jaxrec.serve.export import export
from jaxrec.serve.recommender import Recommender

USERS, ITEMS = 30, 8


def planted(**known):
    """Those of the north have even items, those of the south odd ones; all have i0. The last two users have nothing."""
    draw = np.random.default_rng(0)
    pairs = [(f"u{u:02}", f"i{i}") for u in range(USERS - 2) for i in range(ITEMS) if i == 0 or i % 2 == u % 2]
    pairs = [pair for pair in pairs if draw.random() < 0.8]
    users, items = (list(column) for column in zip(*pairs, strict=True))
    people = pa.table({"user_id": [f"u{u:02}" for u in range(USERS)], **known})
    catalog = pa.table({"item_id": [f"i{i}" for i in range(ITEMS)], "title": [f"F {i}" for i in range(ITEMS)]})
    log = pa.table({"user_id": users, "item_id": items, "timestamp": np.arange(len(users))})
    made = index_ids(Tables(log, catalog, people, "planted"))
    return TrainingData(made, made.interactions)


@pytest.fixture(scope="module")
def data():
    return planted(region=["north", "south"] * (USERS // 2))


def asked(data, rows):
    features = data.dataset.users.features.values
    return Query(*gather_queries(Histories.of(data.train, USERS), np.array(rows), 1, 0, features))


def test_it_is_the_ridge_regression(data):
    ranker = UserRidge(l2=3.0).fit(data)
    held = np.zeros((USERS, ITEMS))
    held[data.train.user_rows, data.train.item_rows] = 1
    there = np.unique(data.train.user_rows)
    known, chosen = data.dataset.users.features.values[there].astype(float), held[there]
    centred = known - known.mean(axis=0)
    solved = np.linalg.solve(
        centred.T @ centred + 3 * np.eye(known.shape[1]), centred.T @ (chosen - chosen.mean(axis=0))
    )
    expected = chosen.mean(axis=0) + (data.dataset.users.features.values - known.mean(axis=0)) @ solved
    rows = np.arange(USERS)
    np.testing.assert_allclose(score_all(ranker, ranker.arrays, asked(data, rows)), expected, atol=1e-5)


def test_who_has_nothing_gets_what_their_kind_has_and_who_says_nothing_what_is_popular(data):
    ranker = UserRidge(l2=1.0).fit(data)
    north, south, nobody = np.asarray(
        score_all(ranker, ranker.arrays, asked(data, [*data.dataset.user_map.rows(["u28", "u29"]), -1]))
    )
    even = data.dataset.item_map.rows([f"i{i}" for i in range(2, ITEMS, 2)])
    odd = data.dataset.item_map.rows([f"i{i}" for i in range(1, ITEMS, 2)])
    assert north[even].min() > north[odd].max() and south[odd].min() > south[even].max()
    np.testing.assert_allclose(nobody, np.asarray(ranker.arrays.items["share"]), atol=1e-6)


def test_exported_is_in_process(data, tmp_path):
    ranker = UserRidge().fit(data)
    export(ranker, data.dataset, tmp_path / "a", histories=Histories.of(data.train, USERS))
    found = Recommender.load(tmp_path / "a").recommend("u29", k=ITEMS)
    scores = np.asarray(score_all(ranker, ranker.arrays, asked(data, data.dataset.user_map.rows(["u29"]))))[0]
    rows = data.dataset.item_map.rows([item.item_id for item in found])
    np.testing.assert_allclose([item.score for item in found], scores[rows], atol=1e-6)


def test_words_of_their_own_are_read_and_travel_with_the_artifact(tmp_path):
    """Nothing is known of anybody but a vector of words, which tells the taste; the last two users have no history."""
    words = np.eye(2, dtype=np.float32)[np.arange(USERS) % 2]
    told = replace(planted(), user_text=words)
    ranker = UserRidge(l2=1.0).fit(told)
    export(ranker, told.dataset, tmp_path / "a", histories=Histories.of(told.train, USERS), user_text_vectors=words)
    found = Recommender.load(tmp_path / "a").recommend("u29", k=4)
    assert {item.item_id for item in found} <= {"i0", "i1", "i3", "i5", "i7"}  # all have i0, the south odd ones


def test_refusals(data):
    with pytest.raises(UserError, match="above 0"):
        UserRidge(l2=0.0).fit(data)
    with pytest.raises(UserError, match="needs users' features or words"):
        UserRidge().fit(planted())
