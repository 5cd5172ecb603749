"""A whole comparison on generated data: equal budgets, resume, one test, and what is refused."""

import json
import re
from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxrec.classic.als import ImplicitAls
from jaxrec.classic.bpr import BprFactors
from jaxrec.classic.content import ContentNeighbours
from jaxrec.classic.ease import Ease
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.classic.popularity import Popular, RecentPopular
from jaxrec.classic.random_walk import RandomWalk
from jaxrec.classic.ratings import RatingFactors
from jaxrec.classic.slim import Slim
from jaxrec.classic.user_neighbours import UserNeighbours
from jaxrec.config import from_json, to_json
from jaxrec.data import training
from jaxrec.data.holdout import ColdItems, RandomPerUser, TimeCutoff
from jaxrec.data.sources.synthetic import Synthetic
from jaxrec.errors import DataError, UserError
from jaxrec.evaluate.evaluator import evaluate
from jaxrec.item_axis import BY_HISTORY
from jaxrec.method import as_fitted
from jaxrec.ranker import Query, score_all
from jaxrec.study import run
from jaxrec.study.command import compare_config
from jaxrec.study.compare import compare_all
from jaxrec.study.page import to_html
from jaxrec.study.stored import Folder
from jaxrec.study.study import Study, Suite, is_random, keyed, one_folder, slug

pytestmark = pytest.mark.usefixtures("quick_compile_all")

STUDY = Study(
    name="planted",
    methods=(Popular(), ItemNeighbours(), ContentNeighbours(), Ease()),
    source=Synthetic(users=60, items=80, events_per_user=25),
    holdout=RandomPerUser(),
    encoder=None,
    trials=4,
    ks=(10, 20),
)

HISTORY = np.array([[3, 8, 1]], np.int32)
QUERY = Query(HISTORY, np.ones_like(HISTORY, np.float32), np.zeros_like(HISTORY, np.float32), *[np.zeros((1, 0))] * 2)


def quiet(text):
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    (table,) = compare_all(STUDY, workdir, command="jaxrec compare", say=quiet)
    return workdir, table


def trials_of(workdir, method):
    return Folder(workdir / "planted" / method).trials()


def test_json_round_trip():
    suite = Suite("both", (STUDY, replace(STUDY, name="cold", holdout=ColdItems(), draws=2, reference="Ease")))
    assert from_json(to_json(suite)) == suite


def test_every_method_has_the_same_budget(whole):
    workdir, table = whole
    assert len(trials_of(workdir, "ease")) == len(trials_of(workdir, "itemneighbours")) == 4
    assert len(trials_of(workdir, "popular")) == 1  # nothing to choose
    first = trials_of(workdir, "ease")[0]
    assert first.options == {"l2": 200.0, "content": 0.0, "nearby": 0.0, "half_life": None, "tau": None, "base": 0.1}


def test_what_is_best_on_validation_is_refitted_and_tested(whole):
    workdir, table = whole
    row = next(row for row in table["rows"] if row["method"] == "Ease")
    best = max(trials_of(workdir, "ease"), key=lambda trial: trial.value)
    assert row["options"] == [best.options] and row["validation"]["mean"] == best.value
    data = run.load(STUDY, quiet)
    ranker = Ease(**best.options).fit(data.refit)
    result = evaluate(ranker, data.data.dataset, data.refit.holdout, "test", ks=(10, 20))
    assert row["metrics"]["ndcg@10"]["mean"] == pytest.approx(result["ndcg@10"], abs=1e-12)
    assert row["metrics"]["ndcg@10"]["low"] == pytest.approx(result.interval("ndcg@10").low)
    assert len(data.refit.train) == len(data.data.train) + len(data.data.holdout.valid)
    valid = evaluate(Ease(**best.options).fit(data.data), data.data.dataset, data.data.holdout, "valid", ks=(10,))
    assert valid["ndcg@10"] == pytest.approx(best.value, abs=1e-12)


def test_the_table_says_all(whole):
    workdir, table = whole
    means = [row["metrics"]["ndcg@10"]["mean"] for row in table["rows"]]
    assert means == sorted(means, reverse=True) and len(means) == 3
    assert table["reference"] == max(table["rows"], key=lambda row: row["validation"]["mean"])["method"]
    values = {
        key: Folder(workdir / "planted" / key.lower()).evaluation(0).values["ndcg@10"] for key in ("Ease", "Popular")
    }
    popular = next(row for row in table["rows"] if row["method"] == "Popular")
    if table["reference"] == "Ease":
        assert popular["metrics"]["ndcg@10"]["difference"] == pytest.approx((values["Popular"] - values["Ease"]).mean())
    for row in table["rows"]:
        assert row["fit_seconds"] > 0 and row["score_seconds"] > 0 and row["peak_gigabytes"] > 0.05
        assert row["command"].endswith(f'--methods "{row["method"]}"')
        assert {"recall@20", "diversity@10", "popularity_lift@10"} <= set(row["metrics"])
        assert [part["segment"] for part in row["segments"]["items"]] == ["head", "tail", "warm", "cold"]
    assert any(re.search("ContentNeighbours: left out: .*need item text vectors", note) for note in table["notes"])
    assert json.loads((workdir / "planted/table.json").read_text()) == table
    text = (workdir / "planted/table.md").read_text()
    assert len(re.findall(r"^\| (?:EASE|Popular|Item)", text, re.MULTILINE)) == 3 and "left out" in text
    page = to_html(table | {"notes": ["<script>alert(1)</script>"]})
    assert "<script>alert(1)" not in page and "default-src 'none'" in page and 'id="chart-forest"' in page


def test_interrupted_and_resumed_no_trial_is_done_twice(whole, tmp_path, monkeypatch):
    done, fit = [], Ease.fit

    def stops(self, data, setting=None):
        done.append(self)
        if len(done) == 3:
            raise KeyboardInterrupt
        return fit(self, data)

    monkeypatch.setattr(Ease, "fit", stops)
    with pytest.raises(KeyboardInterrupt):
        compare_all(STUDY, tmp_path, methods=("EASE",), say=quiet)
    assert len(trials_of(tmp_path, "ease")) == 2
    compare_all(STUDY, tmp_path, methods=("Ease",), say=quiet)
    assert len(done) == 3 + 2 + 1  # two trials more, and the refit
    again, once = trials_of(tmp_path, "ease"), trials_of(whole[0], "ease")
    assert [(t.options, t.value) for t in again] == [(t.options, t.value) for t in once]
    (table,) = compare_all(STUDY, tmp_path, methods=("ease",), say=quiet)
    assert len(done) == 6 and [row["method"] for row in table["rows"]] == ["Ease"]
    assert "ItemNeighbours: left out: not worked on yet" in table["notes"]


def test_options_of_no_account_are_not_tried_anew(tmp_path, monkeypatch):
    tried, trial = [], run._trial
    monkeypatch.setattr(
        run, "_trial", lambda work, loaded, options, *rest: tried.append(options) or trial(work, loaded, options, *rest)
    )
    study = replace(STUDY, methods=(ItemNeighbours(),), trials=8)
    compare_all(study, tmp_path, say=quiet)
    trials = trials_of(tmp_path, "itemneighbours")
    copied = [t for t in trials if t.options not in tried]
    assert len(trials) == 8 and len(tried) == 8 - len(copied) and copied
    assert any(t.options["k1"] != ItemNeighbours().k1 or t.options["b"] != ItemNeighbours().b for t in copied)
    data = run.load(study, quiet)
    for copy in copied:
        assert copy.seconds == 0 and copy.options["similarity"] != "bm25"
        assert data.judge(ItemNeighbours(**copy.options).fit(data.data), "valid", (10,), "x")["ndcg@10"] == copy.value


@pytest.mark.parametrize("method", [ItemNeighbours(), UserNeighbours(), Ease(), Slim(), ImplicitAls(), RandomWalk()])
def test_what_a_method_says_is_of_no_account_is(method):
    data = run.load(STUDY, quiet).data
    scores = score_all(ranker := method.fit(data), ranker.arrays, QUERY)
    other = {"base": 0.9, "k1": 3.0, "b": 0.3, "shrink": 7.0}
    assert method.inert == ({"base", "k1", "b"} if hasattr(method, "k1") else {"base"})
    changed = replace(method, **{name: other[name] for name in method.inert}).fit(data)
    np.testing.assert_array_equal(score_all(changed, changed.arrays, QUERY), scores)
    other_way = replace(method, tau=2.0, **({"similarity": "bm25"} if hasattr(method, "k1") else {}))
    assert other_way.inert == ({"shrink"} if isinstance(method, UserNeighbours) else set())
    scores = score_all(ranker := other_way.fit(data), ranker.arrays, QUERY)
    changed = replace(other_way, **{name: other[name] for name in other_way.inert}).fit(data)
    np.testing.assert_array_equal(score_all(changed, changed.arrays, QUERY), scores)


def test_what_several_fits_count_is_counted_once_and_no_more_is_kept_than_may_be(monkeypatch):
    counts, data = [], replace(run.load(STUDY, quiet).data)
    again = lambda size: data.once(size, lambda: counts.append(size) or np.zeros(size, np.uint8))  # noqa: E731
    monkeypatch.setattr(training, "KEPT", 10)
    assert [again(size).nbytes for size in (10, 11, 10, 11)] == [10, 11, 10, 11] and counts == [10, 11, 11]
    replace(data).once(10, lambda: counts.append("of another") or np.zeros(1))
    assert counts[-1] == "of another"


def test_methods_leave_no_programs_behind(tmp_path):
    """A process has room for some tens of thousands of pieces of memory, and a suite compiles more than that."""
    programs = jax.devices()[0].client.live_executables
    jax.clear_caches()
    before = len(programs())
    compare_all(replace(STUDY, methods=(Popular(), Ease()), trials=1), tmp_path, say=quiet)
    assert len(programs()) <= before


def test_a_test_is_made_once(whole, tmp_path, monkeypatch):
    compare_all(STUDY, tmp_path, methods=("Ease",), say=quiet)
    monkeypatch.setattr(run, "_test", lambda *a: pytest.fail("tested again"))
    with pytest.raises(UserError, match=r"trials was 4 and is now 5; a test is made once"):
        compare_all(replace(STUDY, trials=5), tmp_path, say=quiet)
    with pytest.raises(UserError, match=r"holds another study: holdout"):
        compare_all(replace(STUDY, holdout=TimeCutoff()), tmp_path, say=quiet)
    with pytest.raises(UserError, match=r"Ease with other options: l2=200.0, now 300"):
        compare_all(replace(STUDY, methods=(Ease(l2=300.0),)), tmp_path, say=quiet)
    folder = tmp_path / "planted/ease"
    lines = [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]
    worst = min(range(4), key=lambda i: lines[i]["value"])
    lines[worst]["value"] = 1.0
    (folder / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(UserError, match=r"was tested already with \w+=.*, and would now be tested with"):
        compare_all(STUDY, tmp_path, methods=("Ease",), say=quiet)
    (test,) = Folder(folder).tests()
    with pytest.raises(UserError, match="a test is made once"):
        Folder(folder).add_test(test, Folder(folder).evaluation(0))


def test_a_method_that_was_left_out_in_between_is_known(tmp_path):
    ease, popular = Ease(nearby=0.3), Popular()
    compare_all(replace(STUDY, methods=(ease, popular)), tmp_path, methods=("Ease",), say=quiet)
    compare_all(replace(STUDY, methods=(popular,)), tmp_path, say=quiet)
    with pytest.raises(UserError, match=r"Ease with other options: window=20, now 2\."):
        compare_all(replace(STUDY, methods=(replace(ease, window=2), popular)), tmp_path, say=quiet)
    (tmp_path / "planted/methods.json").unlink()  # as of before there was such a file
    compare_all(replace(STUDY, methods=(ease, popular)), tmp_path, say=quiet)
    (tmp_path / "planted/methods.json").unlink()
    with pytest.raises(UserError, match=r"Ease with other options: window=20, now 2\."):
        compare_all(replace(STUDY, methods=(replace(ease, window=2), popular)), tmp_path, say=quiet)


def test_a_test_without_its_trials_is_told(tmp_path):
    study = replace(STUDY, methods=(Popular(),))
    compare_all(study, tmp_path, say=quiet)
    (tmp_path / "planted/popular/trials.jsonl").unlink()
    with pytest.raises(UserError, match="a test of Popular and not the trials that led to it: bring trials"):
        compare_all(study, tmp_path, say=quiet)


def test_trials_from_before_an_option_was_searched_are_of_the_method_as_given(tmp_path):
    study = replace(STUDY, methods=(Ease(),))
    compare_all(replace(study, trials=4), tmp_path / "whole", say=quiet)
    compare_all(study, tmp_path, say=quiet)
    place = tmp_path / "planted/ease"
    (place / "test-0.json").unlink()
    lines = [json.loads(line) for line in (place / "trials.jsonl").read_text().splitlines()]
    assert all(line["options"].pop("nearby") is not None for line in lines)
    (place / "trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[:1]))
    compare_all(study, tmp_path, say=quiet)
    assert [t.options for t in trials_of(tmp_path, "ease")][1:] == [
        t.options for t in trials_of(tmp_path / "whole", "ease")
    ][1:]


def test_two_processes_do_not_work_on_one_method(tmp_path):
    study = replace(STUDY, methods=(Popular(), RecentPopular()))
    with Folder(tmp_path / "planted/popular").held():
        with pytest.raises(UserError, match=r"another process works on Popular in .*: wait for it"):
            compare_all(study, tmp_path, say=quiet)
        compare_all(study, tmp_path, methods=("RecentPopular",), say=quiet)
    (table,) = compare_all(study, tmp_path, say=quiet)
    assert len(table["rows"]) == 2


def test_a_test_from_before_an_option_existed_is_of_its_default(tmp_path, monkeypatch):
    compare_all(STUDY, tmp_path, methods=("Ease",), say=quiet)
    monkeypatch.setattr(run, "_test", lambda *a: pytest.fail("tested again"))
    file = tmp_path / "planted/ease/test-0.json"
    record = json.loads(file.read_text())
    method = json.loads(record["test"]["method"])
    assert method.pop("dropout") == Ease().dropout
    file.write_text(json.dumps(record | {"test": record["test"] | {"method": json.dumps(method)}}))
    compare_all(STUDY, tmp_path, methods=("Ease",), say=quiet)


def test_methods_may_be_added_and_data_may_not_change(tmp_path):
    study = replace(STUDY, methods=(Popular(),))
    compare_all(study, tmp_path, say=quiet)
    (table,) = compare_all(replace(study, methods=(RecentPopular(), Popular())), tmp_path, say=quiet)
    assert {row["method"] for row in table["rows"]} == {"Popular", "RecentPopular"}
    file = tmp_path / "planted/data.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"fingerprint": "0"}))
    with pytest.raises(DataError, match="the data has changed"):
        compare_all(study, tmp_path, say=quiet)


@pytest.mark.parametrize(
    ("method", "random"),
    [(Popular(), False), (Ease(), False), (ImplicitAls(), True), (BprFactors(), True), (RatingFactors(), True)],
)
def test_what_another_seed_changes_says_so(method, random):
    assert is_random(method) == random


def test_what_is_random_is_tested_with_every_seed(tmp_path, monkeypatch):
    seeds, fit = [], Popular.fit
    monkeypatch.setattr(run, "is_random", lambda method: True)
    monkeypatch.setattr(Popular, "fit", lambda self, data, setting: seeds.append(setting.seed) or fit(self, data))
    study = replace(STUDY, methods=(Popular(),), seeds=3, seed=5)
    (table,) = compare_all(study, tmp_path, say=quiet)
    assert seeds == [5, 5, 6, 7] and table["rows"][0]["tests"] == 3  # one trial, three refits
    assert table["rows"][0]["spread"]["ndcg@10"] == 0.0  # Popular is not random after all
    compare_all(study, tmp_path, say=quiet)
    assert len(seeds) == 4


def test_workers_find_what_one_process_finds(whole, tmp_path):
    study = replace(STUDY, methods=(Popular(), Ease()))
    (table,) = compare_all(study, tmp_path, workers=2, say=quiet)
    expected = {row["method"]: row["metrics"]["ndcg@10"]["mean"] for row in whole[1]["rows"]}
    for row in table["rows"]:
        assert row["metrics"]["ndcg@10"]["mean"] == pytest.approx(expected[row["method"]], abs=1e-6)
    assert [t.options for t in trials_of(tmp_path, "ease")] == [t.options for t in trials_of(whole[0], "ease")]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"methods": ()}, "nothing to compare"),
        ({"trials": 0}, "trials must be 1 or more"),
        ({"metric": "ndgc@10"}, "is not measured; did you mean 'ndcg@10'"),
        ({"metric": "coverage@10"}, "is not measured"),
        ({"draws": 3, "holdout": TimeCutoff()}, "TimeCutoff draws nothing at random"),
        ({"reference": "Eas"}, "reference: no method 'Eas' among .*; did you mean 'EASE'"),
        ({"methods": (Ease(), Ease(l2=3.0))}, "two methods are named 'EASE' and 'EASE'"),
        ({"methods": (Synthetic(),)}, "is no method: it needs name, ranges and fit"),
        ({"ks": ()}, "ks are list lengths"),
    ],
)
def test_what_cannot_be_compared(change, said, tmp_path):
    with pytest.raises(UserError, match=said):
        compare_all(replace(STUDY, **change), tmp_path, say=quiet)
    assert not list(tmp_path.iterdir())


def test_names_that_nothing_has(tmp_path):
    with pytest.raises(UserError, match="--methods: no method 'Poplar' among .*; did you mean 'Popular'"):
        compare_all(STUDY, tmp_path, methods=("Ease", "Poplar"), say=quiet)
    with pytest.raises(UserError, match="no suite 'movielens-2'; there are: movielens"):
        compare_config(None, "movielens-2", tmp_path)
    with pytest.raises(UserError, match="give --config FILE, or --suite NAME"):
        compare_config(None, None, tmp_path)
    with pytest.raises(UserError, match="two studies named 'planted' and 'planted'"):
        compare_all(Suite("s", (STUDY, STUDY)), tmp_path, say=quiet)
    with pytest.raises(UserError, match="workers must be 1 or more"):
        compare_all(STUDY, tmp_path, workers=0, say=quiet)


def test_scores_that_are_no_numbers_lose_and_are_named(tmp_path, monkeypatch):
    fit = Ease.fit

    def sometimes(self, data, setting=None):
        ranker = fit(self, data)
        if as_fitted(self) != as_fitted(Ease()):
            ranker = replace(
                ranker, arrays=ranker.arrays._replace(items={BY_HISTORY: ranker.arrays.items[BY_HISTORY] * np.nan})
            )
        return ranker

    monkeypatch.setattr(Ease, "fit", sometimes)
    (table,) = compare_all(STUDY, tmp_path, methods=("Ease",), say=quiet)
    trials = trials_of(tmp_path, "ease")
    assert [trial.value is None for trial in trials] == [False, True, True, True]
    assert "scores that are not numbers" in trials[1].error and table["rows"][0]["options"][0]["l2"] == 200.0


def test_names_in_any_script_have_folders_of_their_own():
    assert slug("модель 1") == "модель-1" and slug("EASE+content_x") == "ease-content-x" and slug("?") == "x"
    assert one_folder(["модель", "башня"]) is None and one_folder(["a b", "c", "A-B"]) == ("a b", "A-B")


def test_two_of_one_class_are_told_apart():
    assert list(keyed((Ease(), Ease(tau=6.0), Popular()))) == ["EASE", "EASE-recency", "Popular"]
