"""From files to recommendations: holdouts, refitting, ready splits, words of users, catalogs that say little."""

import csv
import json
from collections import Counter, defaultdict

import jax
import jax.numpy as jnp
import numpy as np
import own_data
import pytest
from own_data import jaxrec, train, write_csv

from jaxrec.data.queries import gather_queries
from jaxrec.data.sources.synthetic import TASTES
from jaxrec.job import restored
from jaxrec.ranker import Query, rank
from jaxrec.run import known_histories
from jaxrec.serve.recommender import Recommender

ROWS = own_data.log_rows()
MOVIELENS = own_data.ROOT / "configs" / "movielens_100k.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    own_data.write_tables(folder)
    return folder


def tables(folder, *names) -> dict:
    files = {"interactions": "log.csv", "catalog": "items.csv", "users": "users.csv"}
    return {f"source__{name}": folder / files[name] for name in names or files}


def results(workdir) -> dict:
    return json.loads((workdir / "results.json").read_text())


def means(workdir) -> dict:
    return {
        ranker: {metric: cell["mean"] for metric, cell in found["metrics"].items()}
        for ranker, found in results(workdir)["rankers"].items()
    }


# --- MovieLens-100K ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def movielens(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("movielens") / "run"
    said = train(workdir, config=MOVIELENS, encoder="BagOfWords", holdout__refit="true")
    assert said.code == 0, said.err
    return workdir


def test_all_943_users_get_the_list_of_the_trained_ranker(movielens):
    with own_data.quick():  # as the job was: near ties need the very same sums
        prepared, _, ranker = restored(movielens, say=lambda _: None)
        recommender = Recommender.load(movielens / "artifact")
        histories, users = known_histories(prepared), np.arange(943)
        assert prepared.dataset.num_users == 943 and int(histories.lengths.sum()) == 100_000
        at, features = recommender.manifest.asked_at, prepared.dataset.users.features.values
        query = gather_queries(histories, users, ranker.history_length, at, features, prepared.user_text)
        seen = gather_queries(histories, users, int(histories.lengths.max()), at).history
        allowed = jnp.ones(prepared.dataset.num_items, bool)
        expected = rank(ranker, ranker.arrays, Query(*jax.tree.map(jnp.asarray, query)), seen, allowed, k=10)
        answers = recommender.recommend_many(k=10)
        assert answers["user_id"].to_pylist() == np.repeat(prepared.dataset.user_map.ids.to_pylist(), 10).tolist()
        assert (
            answers["item_id"].to_pylist() == prepared.dataset.item_map.take(np.asarray(expected.rows).ravel()).tolist()
        )
        np.testing.assert_allclose(answers["score"], np.asarray(expected.scores).ravel(), rtol=1e-4, atol=1e-5)
        for user in ("1", "42", "943"):
            alone = [item.item_id for item in recommender.recommend(user, k=10)]
            mask = np.array(answers["user_id"].to_pylist()) == user
            assert alone == answers.filter(mask)["item_id"].to_pylist()


def test_the_protocol_and_its_counts_are_those_of_the_table(movielens):
    found = results(movielens)
    assert found["protocol"] == "T"
    assert found["counts"] == {
        **{"train": 90_000, "valid": 0, "test": 10_000},  # refitted on train and validation
        **{"candidates": 1_616, "users": 66, "positives": 1_344},
    }
    assert found["rankers"]["EASE"]["users"] == 66


def test_a_report_that_needs_no_network(movielens):
    page = (movielens / "report.html").read_text(encoding="utf-8")
    assert "Two-tower" in page and "train and validation (refit)" in page
    assert 'src="http' not in page and 'href="http' not in page


# --- refitting -----------------------------------------------------------------------------------------------------


def test_refit_trains_once_more_for_as_long_as_validation_found_best(folder, tmp_path):
    options = tables(folder) | {"holdout": "RandomPerUser", "holdout__refit": "true", "method__train__num_steps": 60}
    said = train(tmp_path / "run", **options)
    assert said.code == 0, said.err
    logged = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    best = max((e for e in logged if e["split"] == "valid"), key=lambda e: e["ndcg@10"])["step"]
    assert f"refit: once more on train and validation\ntraining: {best} steps of" in said.out
    again = [json.loads(line) for line in (tmp_path / "run/refit/metrics.jsonl").read_text().splitlines()]
    assert again[-1]["step"] == best and {e["split"] for e in again} == {"train"}
    found = results(tmp_path / "run")
    assert found["counts"]["valid"] == 0 and found["counts"]["train"] + found["counts"]["test"] == len(ROWS)
    evaluated = jaxrec("evaluate", "--workdir", tmp_path / "run", "--out", tmp_path / "again.json")
    assert evaluated.code == 0, evaluated.err
    assert json.loads((tmp_path / "again.json").read_text()) == found["rankers"]
    refused = jaxrec("evaluate", "--workdir", tmp_path / "run", "--part", "valid")
    assert refused.code == 2 and "the final model was trained on validation too" in refused.error


# --- holdouts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("holdout, name", [("LeaveLastOut", "L"), ("ColdItems", "C"), ("TimePerUser", "TU")])
def test_other_holdouts(folder, tmp_path, holdout, name):
    lists = {"ks": "[5]", "method__train__metric": "ndcg@5", "method__train__num_steps": 100}
    said = train(tmp_path / "run", **tables(folder), **lists, holdout=holdout)
    assert said.code == 0, said.err
    found = results(tmp_path / "run")
    assert found["protocol"] == name and f"protocol {name};" in said.out
    assert sum(found["counts"][part] for part in ("train", "valid", "test")) == len(ROWS)
    ours = means(tmp_path / "run")["Two-tower"]["ndcg@5"]
    if holdout == "ColdItems":  # what nobody has had yet can only be found by what is said of it
        assert ours > 1.05 * means(tmp_path / "run")["Popular"]["ndcg@5"]
    assert ours > 0.5 * means(tmp_path / "run")["Popular"]["ndcg@5"]
    assert jaxrec("recommend", "--artifact", tmp_path / "run/artifact", "--user", "u001").code == 0


def test_ready_splits_give_the_figures_of_the_split_they_came_from(folder, tmp_path):
    """A time cut written to three files and given back; only the items in train may be recommended in both."""
    with open(folder / "log.csv", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["timestamp"]))
    first, second = int(len(rows) * 0.8 + 1e-6), int(len(rows) * 0.9 + 1e-6)
    for name, part in (("train", rows[:first]), ("valid", rows[first:second]), ("test", rows[second:])):
        write_csv(tmp_path / f"{name}.csv", part)
    said = train(tmp_path / "cut", **tables(folder))
    assert said.code == 0, said.err
    given = tables(folder) | {"source__interactions": tmp_path / "train.csv", "holdout__candidates": "train"}
    splits = {"holdout__valid": tmp_path / "valid.csv", "holdout__test": tmp_path / "test.csv"}
    said = train(tmp_path / "given", **given, **splits)
    assert said.code == 0, said.err
    assert results(tmp_path / "given")["counts"] == results(tmp_path / "cut")["counts"]
    for ranker, found in means(tmp_path / "cut").items():
        assert means(tmp_path / "given")[ranker] == pytest.approx(found, abs=1e-6, nan_ok=True), ranker
    answers = [Recommender.load(tmp_path / run / "artifact").recommend_many(k=10) for run in ("cut", "given")]
    assert answers[0]["item_id"].to_pylist() == answers[1]["item_id"].to_pylist()  # histories hold all three parts


def test_ready_splits_that_share_a_pair_are_refused(folder, tmp_path):
    for name in ("valid", "test"):
        write_csv(tmp_path / f"{name}.csv", ROWS[:5])
    splits = {"holdout__valid": tmp_path / "valid.csv", "holdout__test": tmp_path / "test.csv"}
    said = train(tmp_path / "run", **tables(folder), **splits)
    assert said.code == 4 and "stand" in said.error
    assert not (tmp_path / "run").exists()
    said = train(tmp_path / "run", **tables(folder), holdout__valid=tmp_path / "valid.csv")
    assert said.code == 2 and "Given needs both parts: say --set holdout.test=FILE" in said.error


# --- what is known of users and items ------------------------------------------------------------------------------


def test_users_who_are_known_by_their_words_alone(folder, tmp_path):
    """Five users lose their events and keep a sentence about what they like; it is enough."""
    with open(folder / "items.csv", newline="") as file:
        kind = {row["item_id"]: row["genres"].split("|")[0] for row in csv.DictReader(file)}
    liked = defaultdict(Counter)
    for row in ROWS:
        liked[row["user_id"]][kind[row["item_id"]]] += 1
    favourite = {user: counts.most_common(1)[0][0] for user, counts in liked.items()}
    silent = {f"u{n:03d}" for n in range(1, 6)}
    write_csv(tmp_path / "log.csv", [row for row in ROWS if row["user_id"] not in silent])
    draw = np.random.default_rng(0)
    said_of = {taste: TASTES[taste].split() for taste in favourite.values()}
    words = {user: " ".join(draw.permutation(said_of[taste])[:6]) for user, taste in favourite.items()}
    write_csv(tmp_path / "users.csv", [{"user_id": user, "about": f"I like {words[user]}"} for user in words])
    options = tables(folder) | {f"source__{name}": tmp_path / f"{file}.csv" for name, file in FILES.items()}
    said = train(tmp_path / "run", **options, method__train__num_steps=200)
    assert said.code == 0, said.err
    recommender = Recommender.load(tmp_path / "run/artifact")
    assert recommender.manifest.user_text == 64
    for user in silent:
        answer = recommender.recommend(user, k=5)
        assert sum(favourite[user] in item.tags for item in answer) >= 3, user
        assert "words" in answer[0].reason.text


FILES = {"interactions": "log", "users": "users"}


def test_a_catalog_without_text_and_a_log_without_ratings(folder, tmp_path):
    with open(folder / "items.csv", newline="") as file:
        write_csv(tmp_path / "items.csv", [{"item_id": r["item_id"], "year": r["year"]} for r in csv.DictReader(file)])
    write_csv(tmp_path / "log.csv", [{k: v for k, v in row.items() if k != "rating"} for row in ROWS])
    options = {"source__interactions": tmp_path / "log.csv", "source__catalog": tmp_path / "items.csv"}
    said = train(tmp_path / "run", **options)
    assert said.code == 0, said.err
    assert "text: the catalog has none; training on ids and features" in said.out
    artifact = tmp_path / "run/artifact"
    said = jaxrec("recommend", "--artifact", artifact, "--history", "i001,i005", "--k", 3)
    assert said.code == 0 and "   1. i" in said.out  # without titles, ids
    said = jaxrec("recommend", "--artifact", artifact, "--text", "something funny")
    assert said.code == 2 and "words" in said.error
    write_csv(tmp_path / "more.csv", [{"item_id": "new", "year": 1999}])
    said = jaxrec(
        "recommend", "--artifact", artifact, "--user", "u001", "--k", 60, "--new-items", tmp_path / "more.csv"
    )
    assert said.code == 0 and " new " in said.out


def test_a_log_alone(folder, tmp_path):
    said = train(tmp_path / "run", **tables(folder, "interactions"))
    assert said.code == 0, said.err
    recommender = Recommender.load(tmp_path / "run/artifact")
    answer = recommender.recommend(history=["i001", "i005"], k=10)
    assert len({item.item_id for item in answer}) == 10 and not {"i001", "i005"} & {item.item_id for item in answer}
    write_csv(tmp_path / "more.csv", [{"item_id": "new"}])
    said = jaxrec(
        *("recommend", "--artifact", tmp_path / "run/artifact", "--user", "u001"),
        *("--new-items", tmp_path / "more.csv"),
    )
    assert said.code == 2 and "cannot place items that training did not see" in said.error


def test_the_offline_demo_says_that_its_data_is_generated(tmp_path):
    said = jaxrec("demo", "--offline", "--debug", "--workdir", tmp_path / "demo", *own_data.sets(mesh__data=1))
    assert said.code == 0, said.err
    assert "The data of this run is generated" in said.out
    assert "The data of this run is generated" in (tmp_path / "demo/report.html").read_text(encoding="utf-8")
    (line,) = [line for line in said.out.splitlines() if line.startswith("ask it:")]
    assert jaxrec("recommend", *line.split(" recommend ")[1].split()).code == 0


def test_a_workdir_notices_that_its_data_has_changed(folder, tmp_path):
    files = {name: tmp_path / name for name in ("log.csv", "items.csv")}
    for name, path in files.items():
        path.write_text((folder / name).read_text(encoding="utf-8"), encoding="utf-8")
    options = {"source__interactions": files["log.csv"], "source__catalog": files["items.csv"]}
    assert own_data.train(tmp_path / "run", **options).code == 0
    assert "done already" in own_data.train(tmp_path / "run", **options).out
    head, *lines = files["items.csv"].read_text(encoding="utf-8").splitlines(keepends=True)
    files["items.csv"].write_text("".join([head, *reversed(lines)]), encoding="utf-8")
    for said in (own_data.train(tmp_path / "run", **options), jaxrec("evaluate", "--workdir", tmp_path / "run")):
        assert said.code == 4 and "the data has changed since" in said.error
