"""Where a request comes from: read from the log, learned, judged, exported and asked for."""

import csv
import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import changed, needed, opened, served
from fastapi.testclient import TestClient

from jaxrec.classic.context import ContextLift
from jaxrec.classic.ease import Ease
from jaxrec.cli import main
from jaxrec.client import Client
from jaxrec.data.context import Contexts
from jaxrec.data.dataset import index_ids
from jaxrec.data.events import Done, read_log
from jaxrec.data.holdout import LeaveLastOut
from jaxrec.data.interactions import Histories
from jaxrec.data.sources.tabular import Tabular
from jaxrec.data.sources.with_events import WithEvents
from jaxrec.data.tables import Tables
from jaxrec.data.training import TrainingData
from jaxrec.errors import DataError, UserError
from jaxrec.evaluate.evaluator import evaluate
from jaxrec.hybrid.hybrid import Hybrid
from jaxrec.serve.export import export
from jaxrec.serve.recommender import Recommender
from jaxrec.serve.service.app import make_app
from jaxrec.serve.service.events import EventLog
from jaxrec.serve.service.meters import Meters
from jaxrec.serve.service.service import Service

pytestmark = pytest.mark.usefixtures("quick_compile_all")

ITEMS, USERS, EVENTS = 40, 120, 14
MONDAY_NOON = int(datetime(2024, 1, 1, 12, tzinfo=UTC).timestamp())


def rows():
    """Everybody takes even items on the phone and odd ones on the television."""
    draw = np.random.default_rng(0)
    for user in range(USERS):
        for place, number in enumerate(draw.permutation(ITEMS // 2)[:EVENTS]):
            device = ("phone", "tv")[draw.integers(2)]
            item = 2 * number + (device == "tv")
            yield f"u{user}", f"i{item}", MONDAY_NOON + 3_600 * place, device


@pytest.fixture(scope="module")
def data():
    users, items, times, devices = zip(*rows(), strict=True)
    log = {"user_id": users, "item_id": items, "timestamp": times, "device": devices}
    return index_ids(Tables(pa.table(log), None, None, "planted"), context=("device", "hour"))


@pytest.fixture(scope="module")
def known(data):
    holdout = LeaveLastOut()(data)
    return TrainingData(data, holdout.train, holdout=holdout, rule=LeaveLastOut())


@pytest.fixture(scope="module")
def hybrid(known):
    return Hybrid(parts=(Ease(l2=20.0), ContextLift()), folds=1).fit(known)


def called(*arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    assert not ended.value.code


def device_of(item) -> str:
    return ("phone", "tv")[int(item.item_id[1:]) % 2]


def test_hours_and_weekdays_are_those_of_the_place():
    log = pa.table({"timestamp": pa.array([MONDAY_NOON, MONDAY_NOON + 86_400 * 6], pa.int64())})
    contexts = Contexts.fit(log, ("hour", "weekday"), utc_offset=-13.0)
    assert contexts.codes(log).tolist() == [[23, 6], [23, 5]]
    assert contexts.by_time(MONDAY_NOON) == {"hour": "23", "weekday": "Sunday"}
    assert Contexts.from_json(json.loads(json.dumps(contexts.to_json()))) == contexts


def test_a_column_that_is_not_there_is_named():
    log = pa.table({"user_id": ["a"], "item_id": ["b"], "place": ["home"]})
    for name in ("device", "item_id", "hour"):  # the item is what is asked for; there are no times
        with pytest.raises(DataError, match=f"'{name}' is no column of the log that can be context; .* place$"):
            Contexts.fit(log, (name,))
    for empty in (pa.nulls(1), pa.array([""])):
        with pytest.raises(DataError, match="'device' of the log is empty throughout"):
            Contexts.fit(pa.table({"device": empty}), ("device",))
    for offset in (25.0, float("nan")):
        with pytest.raises(UserError, match="utc_offset"):
            Contexts.fit(log, ("place",), offset)


def test_the_lift_is_that_of_its_formula(data, known):
    ranker = ContextLift(prior=5.0).fit(known)
    device, row = data.contexts.columns[0], data.item_map.rows(["i3"])[0]
    mine = known.train.item_rows == row
    tv = known.train.context[:, 0] == device.values.index("tv")
    share = tv.mean()
    expected = np.log((mine[tv].sum() + 5 * share) / (mine.sum() + 5) / share)
    assert ranker.arrays.items["lift"][row, device.values.index("tv")] == pytest.approx(expected, abs=1e-5)


def test_data_without_context_is_refused(known):
    plain = replace(known, dataset=replace(known.dataset, contexts=Contexts()))
    with pytest.raises(UserError, match="cleaning.context"):
        ContextLift().fit(plain)


def test_the_blend_with_context_finds_what_the_one_without_cannot(data, known, hybrid):
    alone = Hybrid(parts=(Ease(l2=20.0),), folds=1).fit(known)
    ours, without = (evaluate(r, data, known.holdout, "test", ks=(10,))["ndcg@10"] for r in (hybrid, alone))
    assert ours > 1.2 * without


@pytest.fixture(scope="module")
def artifact(data, known, hybrid, tmp_path_factory):
    path = tmp_path_factory.mktemp("context") / "artifact"
    export(hybrid, data, path, histories=Histories.of(known.train, data.num_users))
    return path


def test_the_artifact_answers_by_where_it_is_asked_from(artifact):
    recommender = Recommender.load(artifact)
    for device in ("phone", "tv"):
        found = recommender.recommend("u1", k=8, context={"device": device})
        assert [device_of(item) for item in found].count(device) >= 7
        assert found[0].reason.sources["context"] > 0
    with pytest.raises(UserError, match="reads no 'place'"):
        recommender.recommend("u1", context={"place": "home"})


@needed
def test_the_page_lets_choose_where_one_asks_from(artifact, tmp_path):
    with served(artifact, tmp_path / "events.sqlite") as address, opened(address) as page:
        changed(page, lambda: page.fill("#user", "u1"))
        assert page.locator("#context-device option").all_inner_texts()[1:] == ["phone", "tv"]
        for device, odd in (("tv", 1), ("phone", 0)):
            found = changed(page, lambda device=device: page.select_option("#context-device", device))
            assert sum(int(title.split("i")[-1]) % 2 == odd for title in found) >= len(found) - 2
        assert "context" in page.locator("#cards .card").first.inner_text()
        page.select_option("#context-hour", "3")  # of this request, not of what is liked: that has a time
        changed(page, page.locator(".card button[aria-label^='Like']").first.click)
    done, _ = read_log(tmp_path / "events.sqlite")
    assert [(event.user, event.kind, event.context) for event in done] == [("u1", "like", {"device": "phone"})]


def test_the_service_takes_context_and_knows_the_hour(artifact, tmp_path):
    service = Service(artifact, EventLog(tmp_path / "events.sqlite"), Meters())
    with TestClient(make_app(service)) as client:
        assert set(client.get("/v1/model").json()["context"]) == {"device", "hour"}
        for user in ({"user": "u1"}, {"history": ["i1"]}, {}):
            body = {**user, "k": 8, "context": {"device": "tv"}, "explain": True}
            answer = client.post("/v1/recommend", json=body).json()
            assert sum(int(item["item_id"][1:]) % 2 for item in answer["items"]) >= 7, user
        found = client.post("/v1/explain", json={"user": "u1", "items": ["i1"], "context": {"device": "tv"}}).json()
        assert found["items"][0]["falls_without"]["context"] > 0
        odd = client.post("/v1/recommend", json={"user": "u1", "context": {"place": "home"}})
        assert odd.status_code == 400 and "home" not in odd.text and "'device', 'hour'" in odd.text
        inputs = client.get("/v2/models/jaxrec").json()["inputs"]
        width = next(entry["shape"][1] for entry in inputs if entry["name"] == "context")
        tensors = [
            {"name": "history", "shape": [1, 1], "datatype": "INT32", "data": [0]},
            {"name": "context", "shape": [1, width], "datatype": "FP32", "data": [1.0] + [0.0] * (width - 1)},
        ]
        assert client.post("/v2/models/jaxrec/infer", json={"inputs": tensors}).status_code == 200


def test_an_event_says_where_it_was(artifact, tmp_path):
    path = tmp_path / "events.sqlite"
    with served(artifact, path) as address:
        client = Client(address.rstrip("/"))
        client.event("u1", "i1", "like", context={"device": "tv"})
        client.event("u1", "i2", "like")
        for context, read in (({"place": "home"}, "'device'"), ({"hour": "3"}, "of an event")):
            with pytest.raises(UserError, match=read):
                client.event("u1", "i3", "like", context=context)
    done, _ = read_log(path)
    assert [(event.item_id, event.context) for event in done] == [("i1", {"device": "tv"}), ("i2", None)]


JOB = """
from jaxrec.classic.als import ImplicitAls
from jaxrec.classic.context import ContextLift
from jaxrec.classic.ease import Ease
from jaxrec.data.sources.tabular import Tabular
from jaxrec.experiment import Experiment
from jaxrec.hybrid.hybrid import Hybrid
from jaxrec.text_encoder import BagOfWords

def get_config():
    method = Hybrid(parts=(Ease(l2=20.0), ImplicitAls(dim=8), ContextLift()), folds=1, users=100)
    return Experiment("from-a-file", Tabular(), encoder=BagOfWords(dim=64), method=method)
"""


def test_a_job_reads_context_from_a_file(tmp_path, capsys):
    with open(tmp_path / "log.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user_id", "item_id", "timestamp", "device"])
        writer.writerows(rows())
    (tmp_path / "job.py").write_text(JOB)
    job = ["train", "--config", f"{tmp_path}/job.py", "--workdir", f"{tmp_path}/run", "--set", "holdout=LeaveLastOut"]
    job += ["--set", f"source.interactions={tmp_path}/log.csv", "--set", "cleaning.context=device,weekday"]
    called(*job)

    def found(device: str) -> list[str]:
        capsys.readouterr()
        where = ("--context", f"device={device}", "--k", str(ITEMS))
        called("recommend", "--artifact", f"{tmp_path}/run/artifact", *where, "--json")
        return [item["item_id"] for item in json.loads(capsys.readouterr().out)]

    assert sum(int(item[1:]) % 2 for item in found("tv")[:6]) >= 5
    kept = EventLog(tmp_path / "run" / "events.sqlite")
    for item, device in (("i0", "tv"), ("i2", "phone")):  # both were the phone's alone
        kept.append([Done(f"{item}-{n}", item, "like", None, MONDAY_NOON, {"device": device}) for n in range(USERS)])
    kept.close()
    called("update", "--workdir", f"{tmp_path}/run")
    for first, then, device in (("i0", "i2", "tv"), ("i2", "i0", "phone")):
        ranked = found(device)
        assert ranked.index(first) < ranked.index(then), device


def test_what_does_not_fit_the_log_is_left_out(tmp_path):
    log = {"user_id": ["u"], "item_id": ["i"], "timestamp": [1], "place": [7], "device": ["tv"]}
    pq.write_table(pa.table(log), tmp_path / "log.parquet")
    kept = EventLog(tmp_path / "events.sqlite")
    for place in ("8", "home"):
        kept.append([Done("u", f"i{place}", "like", None, 2, {"place": place, "weather": "rain"})])
    kept.close()
    tables = WithEvents(Tabular(f"{tmp_path}/log.parquet"), str(tmp_path / "events.sqlite")).load()
    assert tables.interactions["place"].to_pylist() == [7, 8, None]
    assert tables.interactions["device"].to_pylist() == ["tv", None, None]
