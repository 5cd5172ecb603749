"""The routes, over HTTP as a program uses them."""

import threading
from dataclasses import replace

import numpy as np
import planted
import pytest
from fastapi.testclient import TestClient
from planted import ids

from jaxrec.serve.export import export
from jaxrec.serve.recommender import Recommender
from jaxrec.serve.service.app import make_app
from jaxrec.serve.service.events import EventLog
from jaxrec.serve.service.live import Live, by_kinds
from jaxrec.serve.service.meters import Meters
from jaxrec.serve.service.service import Service

COMEDIES = {f"i{i}" for i in range(12)}


def test_the_service_ranks_as_the_recommender_does(ask, artifact):
    recommender = Recommender.load(artifact)
    for user in ("u3", "u8"):
        own = recommender.recommend(user, k=7, explain=False, at=recommender.manifest.asked_at)
        answer = ask("recommend", user=user, k=7)
        assert set(ids(answer)) == {item.item_id for item in own} and answer["basis"] == ["model"]


def test_a_history_gets_its_own_taste_and_reasons(ask):
    answer = ask("recommend", history=["i1", {"item_id": "i2", "weight": 5.0}], k=5, explain=True)
    assert set(ids(answer)) <= COMEDIES - {"i1", "i2"}
    assert answer["items"][0]["reason"]["because"][0]["item_id"] in {"i1", "i2"}
    for item in answer["items"]:
        sources = item["reason"]["sources"]
        assert set(sources) == {"behaviour", "popularity"}
        assert sum(sources.values()) == pytest.approx(item["score"], abs=1e-4)


def test_unknown_users_get_what_is_popular_and_unknown_items_are_named(ask, artifact):
    answer = ask("recommend", user="new", history=["nowhere"], k=5)
    popular = Recommender.load(artifact).loaded.catalog.popularity
    assert answer["basis"] == ["popularity"] and answer["unknown_items"] == ["nowhere"]
    assert [popular[int(item[1:])] for item in ids(answer)] == sorted(popular, reverse=True)[:5]


def test_the_next_answer_knows_an_event(ask):
    before = ids(ask("recommend", user="u2", k=20))
    ask("events", events=[{"user": "u2", "item_id": before[0], "kind": "like"}])
    assert before[0] not in ids(ask("recommend", user="u2", k=20))
    ask("events", events=[{"user": "u2", "item_id": before[0], "kind": "undo"}])
    assert ids(ask("recommend", user="u2", k=20)) == before


def test_a_dislike_goes_and_pushes_its_like_down(ask):
    history = ["i1", "i14"]  # both tastes
    before = ask("recommend", history=history, k=20)
    against = ask("recommend", history=history, dislikes=["i13"], k=20)

    def place(answer):
        return np.mean([rank for rank, item in enumerate(ids(answer)) if item not in COMEDIES])

    assert "i13" not in ids(against) and place(against) > place(before)


def test_filters_candidates_and_exclusions_hold(ask):
    assert set(ids(ask("recommend", user="u1", k=20, filters={"any_tags": ["comedy"]}))) <= COMEDIES
    assert not set(ids(ask("recommend", user="u1", k=20, filters={"no_tags": ["Comedy"]}))) & COMEDIES
    only = ask("recommend", user="u0", k=20, candidates=["i20", "i21", "?"], exclude=["i21"])
    assert ids(only) == ["i20"] and only["unknown_items"] == ["?"]
    assert ids(ask("recommend", user="u0", filters={"all_tags": ["no such tag"]})) == []


def test_a_sentence_needs_no_history_and_its_negation_is_kept(ask):
    answer = ask("recommend", sentence="a comedy", k=10)
    assert set(ids(answer)) <= COMEDIES and answer["understood"]["tags"] == ["Comedy"]
    answer = ask("recommend", sentence="a film, no comedy please", k=10)
    assert not set(ids(answer)) & COMEDIES


def test_a_sentence_of_negations_alone_ranks_what_is_left(ask):
    answer = ask("recommend", sentence="no comedy", k=10)
    assert len(ids(answer)) == 10 and not set(ids(answer)) & COMEDIES
    answer = ask("chat", turns=["a comedy", "no, without comedy"], k=5)
    assert answer["understood"]["tags"] == [] and not set(ids(answer)) & COMEDIES and answer["reply"]


def test_a_conversation_is_answered_by_the_model_of_the_asker(ask):
    answer = ask("chat", turns=["something sad"], history=["i14", "i15"], k=5)
    assert answer["basis"] == ["model", "sentence"] and answer["items"][0]["title"] in answer["reply"]


def test_the_dials_change_the_list_and_only_the_list(ask):
    plain = ask("recommend", user="u0", k=8)
    same = ask("recommend", user="u0", k=8, diversity=0.0, language=0.2)
    assert ids(plain) == ids(same)
    varied = ask("recommend", user="u0", k=8, diversity=1.0)
    assert ids(varied)[0] == ids(plain)[0] and ids(varied) != ids(plain)
    assert len({tag for item in varied["items"][:4] for tag in item["tags"]}) > 1


def test_new_items_are_ranked_in_the_next_call(ask):
    added = {"item_id": "fresh", "columns": {"title": "Funny comedy", "genres": ["Comedy"]}}
    assert ask("items", items=[added])["added"] == ["fresh"]
    assert "fresh" in ids(ask("recommend", history=["i1", "i2"], k=20, candidates=["fresh", "i20"]))
    assert ask("items", items=[added])["changed"] == ["fresh"]
    assert ask("recommend", sentence="funny comedy", k=20, candidates=["fresh"])["items"][0]["item_id"] == "fresh"
    ask("items", items=[{"item_id": "plain", "columns": {"title": "Of no kind"}}])
    assert ask("profile", item="plain")["model"] and ask("profile", user="u0")["tags"]


def test_a_known_item_can_be_described_anew(ask):
    only = {"user": "u0", "k": 20, "candidates": ["i22"], "filters": {"any_tags": ["Romance"]}}
    assert ids(ask("recommend", **only)) == []
    changed = {"item_id": "i22", "columns": {"title": "High Noon", "genres": ["Romance", "Drama"]}}
    assert ask("items", items=[changed])["changed"] == ["i22"]
    assert [item["title"] for item in ask("recommend", **only)["items"]] == ["High Noon"]
    ask("items", items=[{"item_id": "i22", "columns": {"title": "Sad film 22 <b>", "genres": ["Drama"]}}])


def test_explanations_profiles_and_neighbours(ask):
    found = ask("explain", history=["i1", "i14"], items=["i2"])["items"][0]
    assert found["falls_without"]["history"] > 0 and found["reason"]["because"][0]["item_id"] == "i1"
    assert ask("profile", user="u0")["tags"][0]["tag"] in {"Comedy", "Romance"}
    assert set(ids(ask("similar", item_id="i1", k=5))) <= COMEDIES | {"fresh", "plain"}


def programs(live) -> dict[str, int]:
    """How many programs each function has been compiled to."""
    return {name: function._cache_size() for name, function in live.recommender.loaded.functions.compiled.items()}


def test_no_question_waits_for_a_program(service, ask):
    before = programs(service.live)
    for count in (1, 16, 17, 70, 300):
        history = [f"i{number % 24}" for number in range(count)]
        asker = {"history": history, "k": 20, "exclude_seen": False}
        ask("recommend", **asker, explain=True)
        ask("recommend", **asker, dislikes=["i23"])
        ask("recommend", **asker, sentence="a funny film " * min(count, 70))
        ask("explain", history=history, items=[f"i{number}" for number in range(20)])
    for name, known in (("similar", {"item_id": "i1"}), ("profile", {"user": "u1"}), ("profile", {"item": "i1"})):
        ask(name, **known)
    assert programs(service.live) == before


@pytest.fixture
def room(monkeypatch):
    """Little, so that it is soon used up."""
    monkeypatch.setattr("jaxrec.serve.service.live.ROOM", 64)
    return 64


def test_room_for_items_is_made_before_it_is_needed(artifact, room):
    live = Live.load(artifact)
    live.warm_up()

    def more(live: Live, name: str) -> Live:
        items = {f"{name}{number}": {"title": "Funny comedy", "genres": ["Comedy"]} for number in range(room - 20)}
        return live.with_items(items)[0]

    fuller = more(live, "a")
    assert fuller.crowded and fuller.recommender.loaded.room == live.recommender.loaded.room
    fuller.roomier().warm_up()
    before = programs(fuller)
    grown = more(fuller, "b")
    asked = grown.recommender.asked(history=["i1", "a0", "b0"])
    assert (grown.rank([asked])[0][1] < len(grown.catalog)).all()
    assert len(grown.catalog) > live.recommender.loaded.room and not grown.crowded
    assert {name: before[name] for name in ("recommend", "score_rows")} == {
        name: programs(grown)[name] for name in ("recommend", "score_rows")
    }


def test_programs_are_made_as_long_as_they_are_wanted(artifact):
    live, asked = Live.load(artifact), iter([True, True])
    live.warm_up(lambda: next(asked, False))
    assert programs(live)["recommend"] == 1 and not live.costs


def test_the_same_functions_are_not_compiled_again(client, service, artifact):
    again = Live.load(artifact, service.live)
    before = programs(again)
    again.warm_up()
    assert again.recommender is not service.live.recommender and programs(again) == before != {}


def test_items_beyond_the_room_are_ranked_as_well(artifact, tmp_path, room):
    service = Service(artifact, EventLog(tmp_path / "events.sqlite"), Meters())
    with TestClient(make_app(service)) as client:
        for name in "ab":
            columns = {"title": "Funny comedy", "genres": ["Comedy"]}
            items = [{"item_id": f"{name}{number}", "columns": columns} for number in range(room - 20)]
            assert client.post("/v1/items", json={"items": items}).status_code == 200
        asked = {"history": ["i1"], "k": 20, "candidates": ["a0", f"b{room - 21}", "i20"]}
        assert set(ids(client.post("/v1/recommend", json=asked).json())) == set(asked["candidates"])
        assert service._ahead.done() and service.live.recommender.loaded.room > len(service.live.catalog)


def test_health_metrics_and_description(client, ask):
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").status_code == 200
    ask("recommend", user="u1")
    text = client.get("/metrics").text
    assert 'jaxrec_requests_total{route="/v1/recommend",status="200"}' in text and "jaxrec_batch_askers" in text
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/recommend", "/v1/events", "/v1/items", "/v2/models/{name}/infer", "/readyz"} <= set(paths)
    before = client.get("/v1/drift").json()["events"]
    ask("events", events=[{"user": "drifter", "item_id": "nowhere", "kind": "view"}])
    drift = client.get("/v1/drift").json()
    assert drift["events"] == before + 1 and drift["unknown_items"] > 0 and drift["new_users"] > 0


def test_open_inference_is_the_exported_function(client, artifact):
    recommender = Recommender.load(artifact)
    about = client.get("/v2/models/planted").json()
    assert [tensor["name"] for tensor in about["outputs"]] == ["scores", "rows"]
    history = {"name": "history", "shape": [2, 3], "datatype": "INT64", "data": [[1, 2, 3], [13, 14, -1]]}
    answer = client.post("/v2/models/planted/infer", json={"id": "7", "inputs": [history]}).json()
    rows = np.array(answer["outputs"][1]["data"]).reshape(2, 20)
    alone = recommender.recommend(history=["i13", "i14"], k=5, explain=False)
    assert [f"i{row}" for row in rows[1, :5]] == [item.item_id for item in alone] and answer["id"] == "7"
    for at in (slice(0, 2), slice(38, 40)):  # padding wherever it stands
        padded = np.full((1, 40), -1)
        padded[0, at] = 13, 14
        tensor = history | {"shape": [1, 40], "data": padded.tolist()}
        found = client.post("/v2/models/planted/infer", json={"inputs": [tensor]}).json()["outputs"][1]["data"]
        assert found == rows[1].tolist()
    for wrong in (
        history | {"data": [1, 2]},
        history | {"data": [[1, 2, 3], [13, 14, 10**6]]},
        history | {"name": "other"},
        history | {"data": [[1, 2, 3], [13, 14, "x"]]},
        history | {"datatype": "INT32", "data": [[1, 2, 3], [13, 14, 2**40]]},
    ):
        refused = client.post("/v2/models/planted/infer", json={"inputs": [wrong]})
        assert refused.status_code in (400, 422), refused.text
    assert client.post("/v2/models/other/infer", json={"inputs": [history]}).status_code == 404


def test_a_token_is_asked_for(artifact, tmp_path):
    service = Service(artifact, EventLog(tmp_path / "events.sqlite"), Meters())
    with TestClient(make_app(service, token="abc")) as client:
        assert client.post("/v1/recommend", json={"user": "u1"}).status_code == 401
        assert client.get("/metrics", headers={"authorization": "Bearer ab"}).status_code == 401
        right = {"authorization": "Bearer abc"}
        assert client.post("/v1/recommend", json={"user": "u1"}, headers=right).status_code == 200
        assert client.get("/healthz").status_code == 200


def test_items_and_events_outlive_the_service(artifact, tmp_path):
    for first in (True, False):
        service = Service(artifact, EventLog(tmp_path / "events.sqlite"), Meters())
        with TestClient(make_app(service)) as client:
            if first:
                client.post("/v1/items", json={"items": [{"item_id": "kept", "columns": {"title": "Sad drama"}}]})
                client.post("/v1/events", json={"events": [{"user": "new", "item_id": "i14", "kind": "like"}]})
            answer = client.post("/v1/recommend", json={"user": "new", "k": 20}).json()
            assert answer["basis"] == ["model"] and "i14" not in ids(answer)
            found = client.get("/v1/items", params={"q": "sad dr"}).json()["items"]
            assert [item["item_id"] for item in found] == ["kept"]


def test_items_are_grouped_by_the_kinds_of_their_values():
    items = {"a": {"n": 1}, "b": {"n": "x"}, "c": {"n": 2.5, "m": ["t"]}, "d": {"m": "t"}, "e": {"n": None}}
    assert [list(group) for group in by_kinds(items)] == [["a", "c", "e"], ["b", "d"]]
    assert by_kinds({}) == []


def test_items_told_of_in_different_ways_are_all_there_again(artifact, tmp_path):
    told = ({"title": "First", "shelf": 3}, {"title": "Second", "shelf": "top"}, {"title": "Third", "shelf": 2.5})
    service = Service(artifact, EventLog(tmp_path / "events.sqlite"), Meters())
    with TestClient(make_app(service)) as client:
        for columns in told:
            item = {"item_id": columns["title"], "columns": columns}
            assert client.post("/v1/items", json={"items": [item]}).json()["added"] == [columns["title"]]
        assert client.post("/v1/reload").status_code == 200
        for columns in told:
            found = client.get("/v1/items", params={"q": columns["title"]}).json()["items"]
            assert columns["title"] in [item["item_id"] for item in found]


def test_whole_numbers_of_any_size_are_read(artifact, tmp_path):
    numbers = ("0.5", "7", "9223372036854775807", "9223372036854775808", "-9223372036854775809", "1" + "0" * 30)
    service = Service(artifact, EventLog(tmp_path / "events.sqlite"), Meters())
    with TestClient(make_app(service), headers={"content-type": "application/json"}) as client:

        def told(number: str):
            item = f'{{"item_id": "n{number}", "columns": {{"title": "Shelved", "shelf": {number}}}}}'
            return client.post("/v1/items", content=f'{{"items": [{item}]}}')

        for number in numbers:
            assert told(number).json()["added"] == [f"n{number}"]
        assert told("1" + "0" * 400).status_code in (400, 422)
        assert client.post("/v1/reload").status_code == 200
        found = client.get("/v1/items", params={"q": "shelved"}).json()["items"]
        assert {item["item_id"] for item in found} == {f"n{number}" for number in numbers}


def test_a_damaged_artifact_is_not_taken_over(artifact, data, tmp_path):
    import shutil

    copy = tmp_path / "artifact"
    shutil.copytree(artifact, copy)
    service = Service(copy, EventLog(tmp_path / "events.sqlite"), Meters())
    with TestClient(make_app(service)) as client:
        before = client.get("/v1/model").json()["model"]
        items = copy / "items.safetensors"
        whole = items.read_bytes()
        items.write_bytes(whole[:-4] + b"\0\0\0\1")
        assert client.post("/v1/reload").status_code == 400
        assert client.get("/v1/model").json()["model"] == before
        assert client.post("/v1/recommend", json={"user": "u1"}).status_code == 200
        items.write_bytes(whole)
        export(planted.ranker(data), data, copy, histories=planted.histories(data), name="second", k_max=20)
        assert "second" in client.post("/v1/reload").json()["model"]
        assert client.post("/v1/recommend", json={"user": "u1"}).status_code == 200


def test_many_at_once_get_each_their_own_answer(client):
    alone = {f"u{n}": ids(client.post("/v1/recommend", json={"user": f"u{n}"}).json()) for n in range(24)}
    found = {}

    def work(user):
        found[user] = ids(client.post("/v1/recommend", json={"user": user}).json())

    threads = [threading.Thread(target=work, args=(user,)) for user in alone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == alone


def test_another_artifact_can_be_compared_with(artifact, data, tmp_path):
    second = tmp_path / "second"
    turned = planted.ranker(data)
    items = turned.arrays.items | {"vector": -turned.arrays.items["vector"]}
    export(
        replace(turned, arrays=turned.arrays._replace(items=items)),
        data,
        second,
        histories=planted.histories(data),
        name="second",
        k_max=20,
    )
    service = Service(artifact, EventLog(tmp_path / "events.sqlite"), Meters(), other=second)
    with TestClient(make_app(service)) as client:
        assert "second" in client.get("/v1/model").json()["other"]
        ours, theirs = (
            client.post("/v1/recommend", json={"user": "u0", "k": 3, "other": other}).json() for other in (False, True)
        )
        assert "planted" in ours["model"] and "second" in theirs["model"]
