"""Events folded into an artifact: who is new is known, and the ranking is near that of learning everything anew."""

import threading
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pytest
from fastapi.testclient import TestClient

from jaxrec.classic.ease import Ease
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.data.cleaning import Cleaning, clean
from jaxrec.data.events import Done
from jaxrec.data.given import Given
from jaxrec.data.interactions import Histories
from jaxrec.data.sources.synthetic import Synthetic
from jaxrec.data.sources.tabular import Tabular
from jaxrec.data.sources.with_events import WithEvents
from jaxrec.data.tables import Tables
from jaxrec.errors import DataError, UserError
from jaxrec.experiment import Experiment
from jaxrec.hybrid.hybrid import Hybrid
from jaxrec.job import export_job, export_ranker, run_job
from jaxrec.run import read_data, with_text
from jaxrec.serve.recommender import Recommender
from jaxrec.serve.service.app import make_app
from jaxrec.serve.service.events import EventLog
from jaxrec.serve.service.meters import Meters
from jaxrec.serve.service.service import Service
from jaxrec.update import update_job

pytestmark = pytest.mark.usefixtures("quick_compile_all")


@dataclass(frozen=True)
class Ready:
    log: pa.Table

    def load(self) -> Tables:
        return Tables(self.log, None, None, "a log")


SOURCE = Synthetic(users=300, items=60)


def job(source):
    method = Hybrid(parts=(Ease(l2=20.0), ItemNeighbours()), folds=2, users=300, candidates=60)
    return Experiment("update", source, encoder=None, method=method, baselines=())


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    path = tmp_path_factory.mktemp("update") / "run"
    run_job(job(SOURCE), path, quiet=True, say=lambda line: None)
    return path


@pytest.fixture(scope="module")
def events(workdir):
    """A newcomer who did what another user did, and a known user who took one thing back."""
    tables = SOURCE.load()
    users = tables.interactions["user_id"].to_pylist()
    items = tables.interactions["item_id"].to_pylist()
    model = users[0]
    copied = [item for user, item in zip(users, items, strict=True) if user == model]
    kept = EventLog(workdir / "events.sqlite")
    now = 1_790_000_000
    kept.append([Done("newcomer", item, "like", None, now + place) for place, item in enumerate(copied)])
    kept.append([Done("fickle", item, kind, None, now) for item in copied[:1] for kind in ("like", "undo")])
    kept.append([Done("averse", copied[0], "not_interested", None, now)])
    kept.close()
    return workdir / "events.sqlite", copied


def test_the_source_has_what_speaks_for_items(events):
    path, copied = events
    tables, before = WithEvents(SOURCE, str(path)).load(), SOURCE.load()
    assert tables.interactions.num_rows == before.interactions.num_rows + len(copied)
    assert set(tables.interactions["user_id"].to_pylist()[-len(copied) :]) == {"newcomer"}
    with pytest.raises(UserError, match="no such event log"):
        WithEvents(SOURCE, "nowhere.sqlite").load()
    path.with_name("bad").write_text("no database " * 50)
    with pytest.raises(DataError, match="no event log"):
        WithEvents(SOURCE, str(path.with_name("bad"))).load()


def test_what_does_not_fit_a_column_is_left_out(tmp_path):
    """The service takes items of any kind; an update must not stand still for one of them."""
    before = SOURCE.load()
    number = next(f.name for f in before.catalog.schema if pa.types.is_integer(f.type) or pa.types.is_floating(f.type))
    log = EventLog(tmp_path / "events.sqlite")
    log.describe({"odd": {number: "many", "title": 7}, "even": {number: "3", "title": "A film", "unheard of": 1}})
    log.describe({"bare": {}})
    log.close()
    tables = WithEvents(SOURCE, str(tmp_path / "events.sqlite")).load()
    assert tables.catalog.schema == before.catalog.schema
    new = {row["item_id"]: row for row in tables.catalog.slice(len(before.catalog)).to_pylist()}
    assert {item: (row[number], row["title"]) for item, row in new.items()} == {
        "odd": (None, "7"),
        "even": (3, "A film"),
        "bare": (None, None),
    }
    assert tables.origin.endswith(f"3 items since (left out, of another kind than their column: 1 of {number!r})")


MADE = [1_600_000_000 + 86_400 * n for n in range(4)]
DATES = [f"2020-09-{13 + n}" for n in range(4)]


@pytest.mark.parametrize(
    "times",
    [
        pa.array(MADE),
        pa.array(MADE).cast(pa.string()),
        pa.array([1_000 * second for second in MADE]),
        pa.array([f"{day}T12:26:40Z" for day in DATES]),
        pa.array([*DATES[:3], "never"]),
        *(pa.array(MADE).cast(pa.timestamp("s")).cast(pa.timestamp(unit)) for unit in ("s", "ms", "us", "ns")),
    ],
    ids=lambda times: f"{times.type}-{times[0]}",
)
def test_events_follow_a_log_whatever_its_times_are(times, tmp_path):
    log = pa.table({"user_id": list("abcd"), "item_id": ["1", "2", "1", "2"], "timestamp": times})
    kept = EventLog(tmp_path / "events.sqlite")
    kept.append([Done("new", "1", "like", None, 1_790_000_000)])
    kept.close()
    tables = WithEvents(Ready(log), str(tmp_path / "events.sqlite")).load()
    cleaned, _ = clean(tables, Cleaning(min_per_item=1))
    found = {row["user_id"]: row["timestamp"] for row in cleaned.interactions.to_pylist()}
    assert found["new"] == 1_790_000_000 and abs(found["b"] - MADE[1]) < 86_400
    assert ("d" in found) == ("never" not in times.to_pylist())


def test_a_rating_stands_until_another_rating(tmp_path):
    log = pa.table({"user_id": ["a", "a", "b"], "item_id": ["1", "2", "2"], "rating": [5, 4, 3]})
    kept = EventLog(tmp_path / "events.sqlite")
    said = [("a", "1", "view", None), ("a", "2", "rate", 2.5), ("b", "1", "view", None), ("c", "1", "like", None)]
    kept.append([Done(*what, 1_790_000_000) for what in said])
    kept.close()
    tables = WithEvents(Ready(log), str(tmp_path / "events.sqlite")).load()
    new = {(row["user_id"], row["item_id"]): row["rating"] for row in tables.interactions.slice(3).to_pylist()}
    assert new == {("a", "2"): 2.5, ("b", "1"): 1.0, ("c", "1"): 4.0}  # in units of the median, 4


@pytest.mark.parametrize("timed", [True, False])
def test_a_job_on_ready_splits_knows_all_of_them_after_an_update(timed, tmp_path):
    log = SOURCE.load().interactions.select(["user_id", "item_id", *["timestamp"] * timed])
    log = log.rename_columns(["uid", *log.column_names[1:]])
    users, items = (np.array(log[name].to_pylist()) for name in ("uid", "item_id"))
    _, pairs = np.unique(np.char.add(np.char.add(users, " "), items), return_inverse=True)
    part = np.maximum(pairs % 10 - 7, 0)  # train, validation, test: no pair in two
    paths = [tmp_path / f"{name}.csv" for name in ("train", "valid", "test")]
    for number, path in enumerate(paths):
        csv.write_csv(log.filter(pa.array(part == number)), path)
    experiment = replace(
        job(Tabular(str(paths[0]), columns=(("user_id", "uid"),))),
        holdout=Given(str(paths[1]), str(paths[2]), unknown="drop"),
    )
    run_job(experiment, tmp_path / "run", quiet=True, say=lambda line: None)
    user, item = users[part == 2][0], items[part == 2][0]
    kept = EventLog(tmp_path / "events.sqlite")
    kept.append([Done(user, item, "view", None, 1_790_000_000), Done("new", item, "like", None, 1_790_000_000)])
    kept.close()
    asked = Recommender.load(update_job(tmp_path / "run", tmp_path / "events.sqlite", say=lambda line: None))
    had = set(items[users == user])
    shown = asked.recommend(user, k=60 - len(had))
    assert not had & {found.item_id for found in shown}
    assert len(asked.recommend("new", k=5)) == 5
    export_job(tmp_path / "run", tmp_path / "run/artifact", k_max=5, keep_users=False)
    again = Recommender.load(update_job(tmp_path / "run", tmp_path / "events.sqlite", say=lambda line: None)).manifest
    assert (again.users, again.k_max) == (0, 5) and again.asked_at == asked.manifest.asked_at


def test_an_update_is_near_a_whole_training(workdir, events, tmp_path):
    path, copied = events
    out = update_job(workdir, path, tmp_path / "artifact", say=lambda line: None)
    quick = Recommender.load(out)
    experiment = job(WithEvents(SOURCE, str(path)))
    prepared = with_text(read_data(experiment, say=lambda line: None), say=lambda line: None)
    everything = replace(prepared.data, train=prepared.dataset.interactions.by_time())
    export_ranker(
        prepared,
        experiment.method.fit(everything),
        tmp_path / "whole",
        histories=Histories.of(everything.train, prepared.dataset.num_users),
    )
    slow = Recommender.load(tmp_path / "whole")
    assert quick.manifest.users == slow.manifest.users
    assert not {item.item_id for item in quick.recommend("newcomer", k=10)} & set(copied)
    shared = []
    for user in quick.loaded.users.ids.ids.to_pylist():
        ours, theirs = (
            {item.item_id for item in asked.recommend(user, k=10, explain=False)} for asked in (quick, slow)
        )
        shared.append(len(ours & theirs) / 10)
    assert np.mean(shared) > 0.7
    weights = [np.asarray(r.loaded.shared["weights/parts"]) for r in (quick, Recommender.load(workdir / "artifact"))]
    np.testing.assert_array_equal(*weights)


def test_a_service_takes_the_update_over_and_answers_all_the_while(workdir, events):
    path, copied = events
    service = Service(workdir / "artifact", EventLog(path), Meters())
    with TestClient(make_app(service)) as client:
        answers, stop = [], threading.Event()

        def keep_asking():
            while not stop.is_set():
                answers.append(client.post("/v1/recommend", json={"user": "newcomer"}).status_code)

        asker = threading.Thread(target=keep_asking)
        asker.start()
        try:
            before = client.get("/v1/model").json()
            update_job(workdir, path, say=lambda line: None)
            assert client.post("/v1/reload").status_code == 200
        finally:
            stop.set()
            asker.join()
        after = client.get("/v1/model").json()
        assert after["users"] == before["users"] + 1 and set(answers) == {200} and len(answers) > 3
        answer = client.post("/v1/recommend", json={"user": "newcomer", "k": 20}).json()
        assert not {item["item_id"] for item in answer["items"]} & set(copied)


def test_the_command_refuses_what_is_not_there(tmp_path):
    from jaxrec.cli import main

    with pytest.raises(SystemExit) as stopped:
        main(["update", "--workdir", str(tmp_path / "none")])
    assert stopped.value.code == 2
