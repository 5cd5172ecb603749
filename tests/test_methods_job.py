"""A whole job of any method: in closed form, in parts, beside what is trained."""

import json
import runpy
from dataclasses import dataclass, replace
from typing import ClassVar

import own_data
import pytest
from own_data import jaxrec, train

from jaxrec.classic.ease import Ease
from jaxrec.config import load_config
from jaxrec.errors import UserError
from jaxrec.experiment import check_shapes, smaller
from jaxrec.method import Setting, settled
from jaxrec.run import check_options, prepare
from jaxrec.serve.recommender import Recommender
from jaxrec.train.trained import Trained, trained_in

CLOSED = {"method": "jaxrec.classic.ease:Ease", "method__l2": 20}


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    own_data.write_tables(folder)
    return {"source__interactions": folder / "log.csv", "source__catalog": folder / "items.csv"}


def results(workdir) -> dict:
    return json.loads((workdir / "results.json").read_text())


@pytest.fixture(scope="module", params=[False, True], ids=["train", "refit"])
def closed(request, tables, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("closed") / "run"
    options = CLOSED | {"holdout__refit": str(request.param).lower()}
    said = train(workdir, **tables, **options)
    assert said.code == 0, said.err
    return workdir, options, said


def test_a_closed_form_is_fitted_judged_exported_and_shown(closed):
    workdir, _, said = closed
    found = results(workdir)
    assert list(found["rankers"])[0] == "EASE" and "Two-tower" not in said.out and "training:" not in said.out
    assert "Item neighbours" in found["rankers"] and "EASE (2)" in found["rankers"]  # the baseline has another l2
    page = (workdir / "report.html").read_text(encoding="utf-8")
    assert "EASE learned from" in page and 'id="training"' not in page and 'id="cards"' in page
    recommender = Recommender.load(workdir / "artifact")
    assert recommender.manifest.user_text == 0 and len(recommender.recommend("u001", k=5)) == 5
    assert not list(workdir.glob("**/checkpoints"))


def test_a_closed_form_is_evaluated_and_exported_again(closed, tmp_path):
    workdir, options, _ = closed
    said = jaxrec("evaluate", "--workdir", workdir, "--out", tmp_path / "again.json")
    assert said.code == 0, said.err
    assert json.loads((tmp_path / "again.json").read_text()) == results(workdir)["rankers"]
    assert jaxrec("export", "--workdir", workdir, "--out", tmp_path / "again").code == 0
    ours, theirs = (
        Recommender.load(path).recommend("u001", k=9) for path in (workdir / "artifact", tmp_path / "again")
    )
    assert ours == theirs
    if options["holdout__refit"] == "false":
        assert jaxrec("evaluate", "--workdir", workdir, "--part", "valid").code == 0


def test_a_second_call_says_that_it_is_done_and_another_method_is_refused(closed, tables):
    workdir, options, _ = closed
    said = train(workdir, **tables, **options)
    assert said.code == 0 and "done already" in said.out
    said = train(workdir, **tables, **(options | {"method__l2": 30}))
    assert said.code == 2 and "holds another experiment: method.l2 was 20.0 and is now 30.0" in said.error


def test_a_baseline_equal_to_the_method_is_not_fitted_twice(tables, tmp_path):
    baselines = 'baselines=[{"$class": "jaxrec.classic.ease:Ease", "l2": 20.0}]'
    said = train(tmp_path / "run", "--set", baselines, **tables, **CLOSED)
    assert said.code == 0, said.err
    assert list(results(tmp_path / "run")["rankers"]) == ["EASE"] and "fitting" not in said.out


def test_a_trained_baseline_keeps_its_checkpoints_and_is_settled_like_the_method(tables, tmp_path):
    plan = '"train": {"$class": "jaxrec.train.loop:Train", "num_steps": 4, "batch_size_global": 8, "evaluate_every": 2}'
    baselines = f'baselines=[{{"$class": "jaxrec.train.trained:Trained", "label": "Plain", {plan}}}]'
    said = train(tmp_path / "run", "--set", baselines, **tables, **CLOSED, holdout__refit="true")
    assert said.code == 0, said.err
    first = results(tmp_path / "run")["rankers"]
    assert list(first) == ["EASE", "Plain"] and said.out.count("training:") == 2  # with validation, and once more
    (folder,) = (tmp_path / "run" / "baselines").iterdir()
    assert folder.name.startswith("plain-") and (folder / "refit" / "checkpoints").is_dir()
    said = jaxrec("evaluate", "--workdir", tmp_path / "run", "--out", tmp_path / "again.json")
    assert said.code == 0 and "already done: " in said.err
    assert json.loads((tmp_path / "again.json").read_text()) == first


@dataclass(frozen=True)
class Both:
    """A method of several: the first one ranks."""

    parts: tuple = ()
    name: ClassVar[str] = "Both"

    def fit(self, data, setting):
        return self.parts[0].fit(data, setting.within("part0"))


def test_what_reads_users_words_alone_goes_the_whole_way(tmp_path):
    generated = ("source=jaxrec.data.sources.synthetic:Synthetic", "source.users=60", "source.items=60")
    encoder = ("encoder=BagOfWords", "encoder.dim=32", "method=jaxrec.classic.user_ridge:UserRidge")
    options = (word for option in (*generated, *encoder, "baselines=[]") for word in ("--set", option))
    said = jaxrec("train", "--config", own_data.YOUR_DATA, "--workdir", tmp_path / "run", *options)
    assert said.code == 0, said.err
    asked = jaxrec("recommend", "--artifact", tmp_path / "run" / "artifact", "--user", "u007", "--k", 3, "--json")
    assert asked.code == 0 and len(json.loads(asked.out)) == 3


def test_what_is_trained_is_found_among_the_parts():
    config = load_config(own_data.YOUR_DATA)
    trained = config.method
    both = replace(config, method=Both((Ease(), trained, Both((replace(trained, label="Other"),)))))
    assert [part.name for part in trained_in(both.method)] == ["Two-tower", "Other"]
    assert not list(trained_in(Ease()))
    sizes = runpy.run_path(str(own_data.YOUR_DATA))["SIZES"]._replace(items=100)
    reports = check_shapes(both, sizes)
    assert [report.name for report in reports] == ["Two-tower", "Other"]
    assert reports[0][1:] == reports[1][1:] == check_shapes(config, sizes)[0][1:]
    assert check_shapes(replace(config, method=Ease()), sizes) == ()
    small = smaller(both, num_steps=7)
    assert {part.train.num_steps for part in trained_in(small.method)} == {7} and small.method.parts[0] == Ease()
    wrong = replace(trained, train=replace(trained.train, keep=1))
    with pytest.raises(UserError, match="keep at least 2"):
        check_options(replace(config, method=Both((wrong,))))


def test_shapes_of_a_closed_form_say_that_nothing_is_trained():
    said = jaxrec("shapes", "--config", own_data.YOUR_DATA, "--set", "method=jaxrec.classic.ease:Ease")
    assert said.code == 0
    assert said.out == "EASE is in closed form: nothing is trained, so there are no shapes to check\n"


def test_what_needs_no_validation_is_settled_already():
    method = Ease()
    assert settled(method, None) is method


def test_what_is_looked_at_only_at_the_end_is_not_trained_to_be_settled(tables):
    config = load_config(own_data.YOUR_DATA, debug=True)
    source = replace(config.source, interactions=str(tables["source__interactions"]))
    method = replace(config.method, train=replace(config.method.train, num_steps=6, evaluate_every=None))
    prepared = prepare(replace(config, source=source, method=method, encoder=None), lambda _: None)
    said = []
    assert settled(method, prepared.data, Setting(say=said.append, quiet=True)).train.last_step == 6 and not said


def test_ranges_are_of_the_optimizer_and_of_the_task():
    ranges = Trained().ranges
    assert "optimizer.peak_learning_rate" in ranges and "task.l2" in ranges


def test_a_ranker_in_memory_needs_no_workdir(tables):
    config = load_config(own_data.YOUR_DATA, debug=True)
    source = replace(config.source, interactions=str(tables["source__interactions"]))
    method = replace(config.method, train=replace(config.method.train, num_steps=6, evaluate_every=2, patience=None))
    prepared = prepare(replace(config, source=source, method=method, encoder=None), lambda _: None)
    said = []
    setting = Setting(say=said.append, quiet=True)
    with own_data.quick():
        final = settled(method, prepared.data, setting)
        again = final.fit(prepared.refit().data, setting)
    assert final.train.stop_at in (2, 4, 6) and final.train.patience is final.train.evaluate_every is None
    assert again.arrays.items["vector"].shape[0] == prepared.dataset.num_items
    assert sum(line.startswith("best ndcg@10 on validation") for line in said) == 1
