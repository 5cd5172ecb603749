"""Events: what they mean, and that none that was acknowledged is lost."""

import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from jaxrec.data.events import Done, disliked, liked, read_log
from jaxrec.errors import DataError, UserError
from jaxrec.serve.service.events import EventLog
from jaxrec.serve.service.live import Live
from jaxrec.serve.service.meters import Meters
from jaxrec.serve.service.run import _log_path
from jaxrec.serve.service.service import Service

WRITER = """
import sys
from pathlib import Path
from jaxrec.data.events import Done
from jaxrec.serve.service.events import EventLog
log = EventLog(Path(sys.argv[1]))
number = log.count
while True:
    log.append([Done("u", f"i{number}", "like", None, number)])
    print(number, flush=True)
    number += 1
"""


@pytest.fixture
def log(tmp_path):
    log = EventLog(tmp_path / "events.sqlite")
    yield log
    log.close()


def test_the_latest_word_on_an_item_counts(log):
    said = [("a", "like"), ("b", "view"), ("a", "not_interested"), ("c", "buy"), ("b", "undo"), ("c", "like")]
    log.append([Done("u", item, kind, None, place) for place, (item, kind) in enumerate(said)])
    log.append([Done("other", "z", "like", None, 9)])
    assert [(e.item_id, e.kind) for e in log.of("u")] == [("a", "not_interested"), ("c", "like")]
    assert log.of("nobody") == []


def test_to_look_at_it_again_takes_nothing_back(log):
    said = [
        ("a", "rate", 5.0),
        *[("a", kind, None) for kind in ("view", "like", "buy")],
        *[("b", kind, None) for kind in ("not_interested", "view")],
        *[("c", kind, None) for kind in ("not_interested", "like", "click")],
        *[("d", "rate", value) for value in (5.0, 2.0)],
        *[("e", kind, None) for kind in ("like", "undo", "view")],
    ]
    log.append([Done("u", *told, place) for place, told in enumerate(said)])
    found = {e.item_id: (e.kind, e.value) for e in log.of("u")}
    assert found == {
        "a": ("rate", 5.0),
        "b": ("not_interested", None),
        "c": ("like", None),
        "d": ("rate", 2.0),
        "e": ("view", None),
    }


def test_a_log_is_read_wherever_it_lies(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = Path("a#b?c%20d/events.sqlite")
    log = EventLog(path)
    log.append([Done("u", "a", "like", None, 1)])
    log.close()
    assert read_log(path)[0] == [Done("u", "a", "like", None, 1)] and [p.name for p in tmp_path.iterdir()] == [
        "a#b?c%20d"
    ]


@pytest.mark.parametrize("inside", [None, "artifact/events.sqlite", "artifact/logs/events.sqlite"])
def test_the_log_is_kept_outside_of_the_artifact(inside, tmp_path, monkeypatch):
    (tmp_path / "artifact").mkdir()
    monkeypatch.chdir(tmp_path / "artifact")
    if inside is None:
        assert _log_path(Path(), None) == _log_path(tmp_path / "artifact", None) == tmp_path / "events.sqlite"
        return
    with pytest.raises(UserError, match="is inside the artifact"):
        _log_path(Path(), tmp_path / inside)


def test_weights_and_the_decay_of_dislikes():
    events = [
        Done("u", "a", "view", None, 1),
        Done("u", "b", "rate", 2.0, 2),
        Done("u", "c", "not_interested", None, 0),
    ]
    assert liked(events, 4.0) == [("a", 1.0, 1), ("b", 2.0, 2)]
    assert disliked(events, 30 * 86_400) == {"c": 0.5}


def test_events_and_items_are_there_again(log, tmp_path):
    log.append([Done("u", "a", "like", None, 1)])
    log.describe({"x": {"title": "T", "genres": ["A"]}})
    log.close()
    again = EventLog(tmp_path / "events.sqlite")
    assert again.of("u") == [Done("u", "a", "like", None, 1)] and again.items["x"]["genres"] == ["A"]
    again.close()


def test_a_log_of_before_events_had_context_is_read_and_continued(tmp_path):
    path = tmp_path / "old.sqlite"
    with closing(sqlite3.connect(path)) as database:
        columns = "user TEXT, item_id TEXT, kind TEXT, value REAL, at INTEGER"
        database.execute(f"CREATE TABLE events (number INTEGER PRIMARY KEY, {columns})")
        database.execute("CREATE TABLE items (item_id TEXT PRIMARY KEY, columns TEXT NOT NULL)")
        database.execute("INSERT INTO events VALUES (1, 'u', 'a', 'like', NULL, 1)")
        database.commit()
    assert read_log(path)[0] == [Done("u", "a", "like", None, 1)]
    log = EventLog(path)
    log.append([Done("u", "b", "view", None, 2, {"device": "tv"})])
    log.close()
    both = [Done("u", "a", "like", None, 1), Done("u", "b", "view", None, 2, {"device": "tv"})]
    assert read_log(path)[0] == both == EventLog(path).of("u")


def test_what_is_told_late_of_a_user_is_known(artifact, log):
    service = Service(artifact, log, Meters())
    live = Live.load(artifact)
    newest = live.recommender.manifest.asked_at
    had = sorted(live.stored("u2"))
    new = next(item for item in live.catalog.ids.ids.to_pylist() if item not in had)
    told = [(had[0], newest - 9), (new, newest - 5), (had[1], newest + 5)]
    log.append([Done("u2", item, "like", None, at) for item, at in told])
    assert [(e.item_id, e.at) for e in service._events(live, "u2")] == told[1:], "the first is in the artifact"
    assert live.stored("nobody") == frozenset() == frozenset(service._events(live, "nobody"))


def test_what_is_no_log_is_refused(tmp_path):
    (tmp_path / "events.sqlite").write_text("no database " * 100)
    with pytest.raises(DataError, match="move it away"):
        EventLog(tmp_path / "events.sqlite")


def killed_in_the_middle(path, rounds):
    acknowledged = -1
    for round_ in range(rounds):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(3 + round_ % 5):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split()
        writer.wait()
        acknowledged = int(rest[-1]) if rest else acknowledged
        log = EventLog(path)
        kept = {int(e.item_id[1:]) for e in log.users["u"]}
        assert set(range(max(0, log.count - 1_000), acknowledged + 1)) <= kept, f"round {round_} lost an event"
        log.close()


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path):
    killed_in_the_middle(tmp_path / "events.sqlite", 6)


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path):
    killed_in_the_middle(tmp_path / "events.sqlite", 200)
