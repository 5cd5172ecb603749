"""Exported = in-process, whatever is asked."""

import jax
import jax.numpy as jnp
import numpy as np
import planted
import pyarrow as pa
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxrec.data.queries import gather_queries
from jaxrec.ranker import Arrays, Query, rank
from jaxrec.serve.export import export
from jaxrec.serve.recommender import Recommender

K = 10


def ranked(ranker, data, user_rows, *, k=K, allowed=None, at=None, leave_out_seen=True):
    """Scores and rows of the ranker itself, for stored users."""
    histories = planted.histories(data)
    at = int(histories.timestamps.max()) if at is None else at
    text = np.zeros((data.num_users, planted.TEXT), np.float32)
    query = gather_queries(histories, user_rows, ranker.history_length, at, data.users.features.values, text)
    seen = gather_queries(histories, user_rows, 64 if leave_out_seen else 0, at).history
    allowed = np.ones(data.num_items, bool) if allowed is None else allowed
    return rank(ranker, ranker.arrays, Query(*jax.tree.map(jnp.asarray, query)), seen, jnp.asarray(allowed), k=k)


def as_lists(table: pa.Table) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for row in table.to_pylist():
        lists.setdefault(row["user_id"], []).append(row["item_id"])
        assert row["rank"] == len(lists[row["user_id"]])
    return lists


def test_all_users_get_the_same_list(data, ranker, recommender):
    expected = ranked(ranker, data, np.arange(data.num_users))
    table = recommender.recommend_many(k=K, batch=16)
    lists = as_lists(table)
    assert list(lists) == data.user_map.ids.to_pylist()
    for user, rows in zip(lists, np.asarray(expected.rows), strict=True):
        assert lists[user] == data.item_map.take(rows).tolist()
    np.testing.assert_allclose(table["score"].to_numpy(), np.asarray(expected.scores).ravel(), rtol=1e-5, atol=1e-6)


def test_one_user_gets_the_list_of_the_bulk(data, recommender):
    lists = as_lists(recommender.recommend_many(k=K))
    for user in ("u0", "u7", "u39"):
        answer = recommender.recommend(user=user, k=K)
        assert [r.item_id for r in answer] == lists[user]
        assert [r.rank for r in answer] == list(range(1, K + 1))
        assert [r.score for r in answer] == sorted((r.score for r in answer), reverse=True)


def test_a_history_is_asked_like_the_user_it_came_from(data, ranker, recommender):
    histories = planted.histories(data)
    user = 8
    part = slice(histories.offsets[user], histories.offsets[user + 1])
    events = list(
        zip(
            data.item_map.take(histories.item_rows[part]).tolist(),
            histories.weights[part].tolist(),
            histories.timestamps[part].tolist(),
            strict=True,
        )
    )
    age = 20.0 + user
    given = recommender.recommend(history=events, features={"age": age}, k=K)
    stored = recommender.recommend(user=f"u{user}", k=K)
    assert [r.item_id for r in given] == [r.item_id for r in stored]
    assert [r.score for r in given] == pytest.approx([r.score for r in stored])


def test_an_event_just_now_follows_the_stored_ones(recommender):
    before = recommender.recommend(user="u1", k=1, explain=False)[0].item_id
    after = recommender.recommend(user="u1", history=[before], k=20, explain=False)
    assert before not in [r.item_id for r in after]
    many = recommender.recommend(user="u1", history=["i0", "i1", "i2", "i4", "i5"], k=1)
    assert before in {f"i{i}" for i in range(12, 24)} and many[0].item_id in {f"i{i}" for i in range(12)}


def test_the_time_of_asking_is_used(data, ranker, recommender):
    late = int(planted.histories(data).timestamps.max()) + 500 * planted.DAY
    expected = ranked(ranker, data, np.arange(data.num_users), at=late)
    table = recommender.recommend_many(k=K, at=late)
    np.testing.assert_allclose(table["score"].to_numpy(), np.asarray(expected.scores).ravel(), rtol=1e-5, atol=1e-6)
    now = recommender.recommend_many(k=K)
    assert not np.allclose(now["score"].to_numpy(), table["score"].to_numpy())


def test_candidates_and_exclusions(data, ranker, recommender):
    wanted = ["i3", "i14", "i15", "i23"]
    allowed = np.zeros(data.num_items, bool)
    allowed[data.item_map.rows(wanted)] = True
    expected = ranked(ranker, data, np.arange(data.num_users), allowed=allowed, k=4)
    lists = as_lists(recommender.recommend_many(k=4, candidates=wanted))
    for user, rows in zip(data.user_map.ids.to_pylist(), np.asarray(expected.rows), strict=True):
        assert lists.get(user, []) == data.item_map.take(rows[rows >= 0]).tolist()
    answer = recommender.recommend(history=["i3"], candidates=wanted, exclude=["i14"])
    assert {r.item_id for r in answer} == {"i15", "i23"}
    answer = recommender.recommend(history=["i3"], candidates=wanted, exclude=["i14"], exclude_seen=False)
    assert {r.item_id for r in answer} == {"i3", "i15", "i23"}


def test_an_item_without_events_is_ranked(recommender):
    assert "i23" in [r.item_id for r in recommender.recommend(history=["i12", "i13"], k=20)]


def test_a_table_of_histories_of_people_never_seen(recommender):
    events = pa.table({"user_id": ["a", "b", "a", "b"], "item_id": ["i1", "i13", "i2", "i14"]})
    lists = as_lists(recommender.recommend_many(events, k=5))
    listed = pa.table({"user_id": ["a", "b"], "items": [["i1", "i2"], ["i13", "i14"]]})
    assert lists == as_lists(recommender.recommend_many(listed, k=5))
    assert lists["a"] == [r.item_id for r in recommender.recommend(history=["i1", "i2"], k=5)]
    assert lists["b"] == [r.item_id for r in recommender.recommend(history=["i13", "i14"], k=5)]


def test_batches_do_not_matter_and_progress_is_told(recommender):
    told = []
    one = recommender.recommend_many(k=5, batch=1)
    many = recommender.recommend_many(k=5, batch=7, progress=lambda done, total: told.append((done, total)))
    assert one.select(["user_id", "item_id", "rank"]) == many.select(["user_id", "item_id", "rank"])
    assert told[-1] == (40, 40) and [t for t, _ in told] == sorted({t for t, _ in told})


def test_permuted_rows_give_permuted_answers(data, ranker, tmp_path):
    order = np.random.default_rng(5).permutation(data.num_items)
    items = jax.tree.map(lambda leaf: leaf[order], ranker.arrays.items)
    export(
        planted.PlantedRanker(Arrays(ranker.arrays.shared, items)),
        permuted(data, order),
        tmp_path / "artifact",
        user_text=planted.TEXT,
    )
    straight = tmp_path / "straight"
    export(ranker, data, straight, user_text=planted.TEXT)
    asked = pa.table({"user_id": ["a", "a", "b"], "item_id": ["i2", "i5", "i17"]})
    answers = [Recommender.load(p).recommend_many(asked, k=10) for p in (straight, tmp_path / "artifact")]
    assert answers[0]["item_id"].to_pylist() == answers[1]["item_id"].to_pylist()
    np.testing.assert_allclose(answers[0]["score"], answers[1]["score"], rtol=1e-5)


def permuted(data, order):
    from dataclasses import replace

    from jaxrec.data.catalog import Catalog
    from jaxrec.data.ids import IdMap

    table = pa.table({"item_id": data.item_map.ids, "title": data.catalog.titles}).take(pa.array(order))
    catalog = Catalog.of(table, table)
    places = np.argsort(order).astype(np.int32)
    log = replace(data.interactions, item_rows=places[data.interactions.item_rows])
    return replace(data, interactions=log, catalog=catalog, item_map=IdMap(table["item_id"].combine_chunks(), "item"))


def test_sharded_and_padded_arrays_are_gathered(data, ranker, tmp_path):
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    padded = jax.tree.map(lambda leaf: jnp.concatenate([leaf, leaf[:8]]), ranker.arrays.items)
    by_row = NamedSharding(mesh, PartitionSpec("model"))
    whole = NamedSharding(mesh, PartitionSpec())
    items = jax.device_put(padded, by_row)
    sharded = planted.PlantedRanker(Arrays(jax.device_put(ranker.arrays.shared, whole), items))
    export(sharded, data, tmp_path / "artifact", histories=planted.histories(data), user_text=planted.TEXT)
    answer = Recommender.load(tmp_path / "artifact").recommend_many(k=K)
    expected = ranked(ranker, data, np.arange(data.num_users))
    assert answer["item_id"].to_pylist() == data.item_map.take(np.asarray(expected.rows).ravel()).tolist()


def test_equal_scores_keep_catalog_order(data, ranker, tmp_path):
    flat = jax.tree.map(jnp.zeros_like, ranker.arrays.items)
    export(
        planted.PlantedRanker(Arrays(ranker.arrays.shared, flat)), data, tmp_path / "artifact", user_text=planted.TEXT
    )
    answer = Recommender.load(tmp_path / "artifact").recommend(history=["i1"], k=4)
    assert [r.item_id for r in answer] == ["i0", "i2", "i3", "i4"]
