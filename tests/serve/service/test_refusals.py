"""What the service refuses: with a reason, before it is read where it is large, and without the sender's words."""

import json

import pytest


@pytest.mark.parametrize(
    "name, body, status",
    [
        ("recommend", '{"k": NaN}', 400),
        ("recommend", '{"language": 1e400}', 422),
        ("recommend", '{"k": 100000}', 422),
        ("recommend", '{"k": "3"}', 422),
        ("recommend", '{"k": 3.5}', 422),
        ("recommend", '{"user": 42}', 422),
        ("recommend", '{"secret": 1}', 422),
        ("recommend", '{"features": {"' + "secret" * 99 + '": 1}}', 422),
        ("recommend", '{"k": 21, "user": "u1"}', 400),
        ("chat", '{"turns": ["secret"], "k": 20, "history": ["secret"], "features": {"secret": 1}}', 400),
        ("recommend", '{"history": [' + '"i1",' * 2000 + '"i1"]}', 422),
        ("recommend", "[" * 100_000, 400),
        ("recommend", "{", 400),
        ("recommend", "", 422),
        ("recommend", '{"features": {"secret": 1}}', 400),
        ("similar", '{"item_id": "secret"}', 400),
        ("profile", '{"user": "secret"}', 400),
        ("events", '{"events": []}', 422),
        ("events", '{"events": [{"user": "u", "item_id": "i1", "kind": "secret"}]}', 422),
        ("items", '{"items": [{"item_id": "x", "columns": {"title": ["a"]}}, {"item_id": "x"}]}', 400),
        ("nowhere", "{}", 404),
    ],
)
def test_bad_requests_are_refused_without_an_echo(client, name, body, status):
    answer = client.post(f"/v1/{name}", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["message"] and "secret" not in answer.text


@pytest.mark.parametrize(
    "name, body, said",
    [
        ("recommend", {"user_id": "42"}, "a name that is not known; did you mean 'user'?"),
        ("recommend", {"qqqq": 1}, "a name that is not known; GET /openapi.json lists the names that there are"),
        (
            "events",
            {"events": [{"user": "u", "item_id": "i1", "kind": "view", "itemId": "i1"}]},
            "events.0: a name that is not known; did you mean 'item_id'?",
        ),
    ],
)
def test_a_name_that_is_not_known_is_told_by_the_nearest(client, name, body, said):
    answer = client.post(f"/v1/{name}", json=body)
    assert (answer.status_code, answer.json()["error"]["message"]) == (422, said)


def test_a_body_over_a_megabyte_is_refused_before_it_is_read(client):
    huge = json.dumps({"sentence": "x" * (1 << 20)})
    assert client.post("/v1/recommend", content=huge).status_code == 413

    def parts():
        for _ in range(20):
            yield b"x" * 100_000

    assert client.post("/v1/recommend", content=parts()).status_code == 413
