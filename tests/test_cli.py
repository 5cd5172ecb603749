"""The jaxrec command: every verb on a trained workdir, and what it says when it is used wrongly."""

import csv
import json
import shutil
import subprocess
import sys

import numpy as np
import own_data
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_data import jaxrec, sets, train, write_csv

from jaxrec.cli import app
from jaxrec.serve.recommender import Recommender

pytestmark = pytest.mark.usefixtures("quick_compile_all")

ROWS = own_data.log_rows()
"""The log that the workdir was trained on."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mine")
    own_data.write_tables(folder)
    return folder


@pytest.fixture(scope="module")
def mine(folder):
    """A workdir trained by the README's command, in its debug version."""
    log = folder / "theirs.csv"
    log.write_text((folder / "log.csv").read_text().replace("item_id", "movieId", 1))
    said = train(folder / "run", "--map", "item_id=movieId", **options(folder))
    assert said.code == 0, said.err
    return folder / "run"


def options(folder) -> dict:
    tables = {"interactions": "theirs.csv", "catalog": "items.csv", "users": "users.csv"}
    return {f"source__{name}": folder / file for name, file in tables.items()} | {"method__train__num_steps": 200}


@pytest.fixture(scope="module")
def artifact(mine):
    return mine / "artifact"


def lists(table: pa.Table) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in table.to_pylist():
        found.setdefault(row["user_id"], []).append(row["item_id"])
    return found


def asked(artifact, *arguments) -> list[dict]:
    said = jaxrec("recommend", "--artifact", artifact, "--json", *arguments)
    assert said.code == 0, said.err
    return json.loads(said.out)


# --- help and typos ------------------------------------------------------------------------------------------------

VERBS = [command.callback.__name__ for command in app.registered_commands]


@pytest.mark.parametrize("verb", [[], *([verb] for verb in VERBS), ["data"], ["data", "get"], ["data", "check"]])
def test_help(verb):
    said = jaxrec(*verb, "--help")
    assert said.code == 0 and "Usage: jaxrec" in said.out


TRAIN = ["train", "--config", "configs/your_data_two_tower.py", "--workdir", "w"]


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
        (["data", "gte"], "No such command 'gte'. Did you mean 'get'?"),
        (["train", "--confg", "x.py"], "No such option: --confg. Did you mean --config?"),
        (["recommend", "--histroy", "a"], "No such option: --histroy. Did you mean --history?"),
        (["train", "--config", "configs/your_dta.py", "--workdir", "w"], "did you mean 'your_data.py'?"),
        ([*TRAIN, "--set", "methd.label=x"], "Experiment has no field 'methd'; did you mean 'method'?"),
        ([*TRAIN, "--set", "method.train.kep=3"], "Train has no field 'kep'; did you mean 'keep'?"),
        ([*TRAIN, "--set", "method.train.keep=few"], "method.train.keep=few"),
        ([*TRAIN, "--map", "item_id"], "--map 'item_id': write it as ours=theirs, such as item_id=movieId"),
        (TRAIN, "no interactions: say where the log lies with --set source.interactions=log.csv"),
        (["data", "get", "ml-100"], "ml-100k"),
        (["embed", "--encoder", "minilmm", "--texts", "t.txt", "--out", "v.npy"], "no such file"),
    ],
)
def test_what_is_mistyped_is_told(arguments, expected, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(own_data.ROOT / "configs")
    said = jaxrec(*arguments)
    assert said.code == 2
    assert expected in " ".join(said.err.replace("│", " ").split())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["configs"]


def test_errors_are_one_line_and_an_exit_code_of_the_real_command(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "jaxrec.cli", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert not done.stdout and done.stderr.count("\n") == 1 and done.stderr.startswith("error: ")
        return done.returncode

    assert run("train", "--config", "nowhere.py", "--workdir", str(tmp_path)) == 2
    (tmp_path / "h.csv").write_text("")
    config = str(own_data.YOUR_DATA)
    assert run("data", "check", "--config", config, "--set", f"source.interactions={tmp_path}/h.csv") == 4


# --- asking --------------------------------------------------------------------------------------------------------


def test_recommend_for_a_user(artifact):
    said = jaxrec("recommend", "--artifact", artifact, "--user", "u042", "--k", 5)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0] == "Recommendations for user u042" and len(lines) == 11
    assert lines[1].startswith("   1. ") and lines[2].strip()
    had = {row["item_id"] for row in ROWS if row["user_id"] == "u042"}
    answer = asked(artifact, "--user", "u042", "--k", 5)
    assert [row["rank"] for row in answer] == [1, 2, 3, 4, 5]
    assert not had & {row["item_id"] for row in answer}
    assert lines[1].startswith(f"   1. {answer[0]['title']}")
    python = Recommender.load(artifact).recommend("u042", k=5)
    assert [item.item_id for item in python] == [row["item_id"] for row in answer]


def test_recommend_for_a_history_and_for_words(artifact):
    by_command = asked(artifact, "--history", 'i005, "i007",i011', "--k", 10)
    by_python = Recommender.load(artifact).recommend(history=["i005", "i007", "i011"], k=10)
    assert [row["item_id"] for row in by_command] == [item.item_id for item in by_python]
    assert not {"i005", "i007", "i011"} & {row["item_id"] for row in by_command}
    words = asked(artifact, "--text", "rocket planet orbit galaxy astronaut", "--k", 5)
    assert sum("Space" in row["tags"] for row in words) >= 3


def test_ids_with_commas_are_quoted(tmp_path, folder):
    text = (folder / "log.csv").read_text().replace('"i005"', '"i,005"')
    assert text.count('"i,005"') > 2
    (tmp_path / "log.csv").write_text(text)
    assert train(tmp_path / "run", source__interactions=tmp_path / "log.csv").code == 0
    said = jaxrec("recommend", "--artifact", tmp_path / "run/artifact", "--history", '"i,005",i007', "--k", 3)
    assert said.code == 0 and not said.err
    said = jaxrec("recommend", "--artifact", tmp_path / "run/artifact", "--history", "i,005", "--k", 3)
    assert "warning: history: 2 ids are not in the catalog and are ignored: 'i', '005'" in said.err


def test_many_at_once(artifact, tmp_path):
    people = {"new1": ["i005", "i007"], "u042": ["i011"], "nobody": ["unheard of"]}
    events = [{"user_id": user, "item_id": item} for user, items in people.items() for item in items]
    write_csv(
        tmp_path / "h.csv", [row | {"item_id": f" {row['item_id']} "} for row in events]
    )  # trimmed as in training
    pq.write_table(pa.Table.from_pylist(events), tmp_path / "h.parquet")
    pq.write_table(pa.table({"user_id": list(people), "item_id": list(people.values())}), tmp_path / "lists.parquet")
    (tmp_path / "lists.jsonl").write_text(
        "".join(json.dumps({"user_id": user, "item_id": items}) + "\n" for user, items in people.items())
    )
    answers = []
    for name in ("h.csv", "h.parquet", "lists.parquet", "lists.jsonl"):
        out = tmp_path / f"{name}.recs.parquet"
        said = jaxrec("recommend", "--artifact", artifact, "--histories", tmp_path / name, "--k", 10, "--out", out)
        assert said.code == 0, said.err
        assert "20 rows for 2 users" in said.out and "'unheard of'" in said.err
        assert "histories: 1 of 3 askers have no item of the catalog and are left out, first 'nobody'" in said.err
        answers.append(pq.read_table(out))
    assert answers[0].column_names == ["user_id", "item_id", "score", "rank"]
    assert all(answers[0].equals(other) for other in answers[1:])
    one = asked(artifact, "--history", "i005,i007", "--k", 10)
    assert lists(answers[0])["new1"] == [row["item_id"] for row in one]


def test_times_and_ratings_of_the_histories_are_read_as_in_training(artifact, tmp_path):
    mine = [row for row in ROWS if row["user_id"] == "u042"]
    stranger = [row | {"user_id": "me"} for row in mine]
    write_csv(tmp_path / "s.csv", stranger)
    ms = [{("movieId" if k == "item_id" else k): v for k, v in row.items()} for row in stranger]
    write_csv(tmp_path / "ms.csv", [row | {"timestamp": row["timestamp"] * 1000} for row in ms])
    found = []
    for name, more in (("s.csv", []), ("ms.csv", ["--map", "item_id=movieId"])):
        out = tmp_path / f"{name}.parquet"
        said = jaxrec("recommend", "--artifact", artifact, "--histories", tmp_path / name, "--out", out, *more)
        assert said.code == 0, said.err
        found.append(pq.read_table(out))
    assert found[0].equals(found[1])
    write_csv(tmp_path / "bad.csv", [row | {"timestamp": "soon"} for row in stranger])
    bad, out = tmp_path / "bad.csv", tmp_path / "x.parquet"
    said = jaxrec("recommend", "--artifact", artifact, "--histories", bad, "--out", out)
    assert said.code == 4 and "values of 'timestamp' cannot be used, first 'soon'" in said.error
    assert not out.exists()


def test_candidates_and_new_items(artifact, tmp_path):
    (tmp_path / "ids.txt").write_text("\ufeffi050\r\ni051\r\n\r\nunheard of\r\n", encoding="utf-8")
    said = jaxrec("recommend", "--artifact", artifact, "--user", "u001", "--candidates", tmp_path / "ids.txt", "--json")
    assert {row["item_id"] for row in json.loads(said.out)} <= {"i050", "i051"}
    assert "candidates: 1 ids are not in the catalog" in said.err
    items = [
        {
            "movieId": "007",
            "title": "Rocket Planet (2000)",
            "year": 2000,
            "genres": "Space",
            "description": "orbit galaxy",
        },
        {"movieId": "9007199254740993", "title": "机器人 🤖", "year": "", "genres": "", "description": ""},
    ]
    write_csv(tmp_path / "more.csv", items)
    (tmp_path / "new.txt").write_text("007\n9007199254740993\n")
    new = ["--new-items", tmp_path / "more.csv", "--map", "item_id=movieId"]
    answer = asked(artifact, "--text", "rocket planet orbit", *new, "--candidates", tmp_path / "new.txt")
    assert [row["item_id"] for row in answer] == ["007", "9007199254740993"]
    assert answer[0]["title"] == "Rocket Planet (2000)" and answer[0]["tags"] == ["Space"]
    assert "007" in [row["item_id"] for row in asked(artifact, "--text", "rocket planet orbit galaxy", *new)]
    said = jaxrec("recommend", "--artifact", artifact, "--user", "u001", "--new-items", tmp_path / "more.csv")
    assert said.code == 4 and "no column 'item_id'" in said.error and "--map item_id=THEIR_NAME" in said.error


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--user", "nobody"], "unknown user 'nobody': not among this artifact's 60 users. Ask with a history."),
        (["--user", "u001", "--k", "61"], "k=61: this artifact answers with 1 to 60 items (its k_max)"),
        (["--user", "u001", "--k", "0"], "k=0: k must be at least 1"),
        ([], "who asks? Give --user ID"),
        (["--histories", "h.parquet"], "give --out with it"),
        (["--user", "u001", "--candidates", "nowhere.txt"], "nowhere.txt: no such file"),
        (["--user", "u001", "--out", "recs.parquet"], "--out is the file of --histories"),
        (["--history", ""], "nothing is known of the asker: give a user, a history"),
        (
            ["--history", "The Matrix\nHeat"],
            "history: none of these ids is in the catalog; ids are those of the item_id",
        ),
        (["--histories", "h.csv", "--out", "recs.parquet", "--json"], "--json prints the answer of one asker"),
        (["--histories", "h.csv", "--out", "recs.xlsx"], "--out recs.xlsx: the name must end in .csv or .parquet"),
        (["--user", "u001", "--candidates", "."], ". is a folder; --candidates is a file of one item id a line"),
    ],
)
def test_what_cannot_be_answered(artifact, arguments, expected):
    said = jaxrec("recommend", "--artifact", artifact, *arguments)
    assert said.code == 2 and expected in said.error


def test_ids_may_stand_on_lines_and_the_heading_says_who_asks(artifact):
    assert asked(artifact, "--history", "i005\ni007,i011\r\n") == asked(artifact, "--history", "i005,i007,i011")
    said = jaxrec("recommend", "--artifact", artifact, "--history", "i005", "--text", "rocket")
    assert said.out.startswith("Recommendations for this history and these words\n")
    said = jaxrec("recommend", "--artifact", artifact, "--history", "", "--text", "rocket")
    assert said.out.startswith("Recommendations for these words\n")


def test_answers_in_bulk_as_csv(artifact, tmp_path):
    histories = write_csv(tmp_path / "h.csv", [{"user_id": "me", "item_id": "i005"}])
    for name in ("recs.csv", "recs.parquet"):
        said = jaxrec("recommend", "--artifact", artifact, "--histories", histories, "--out", tmp_path / name)
        assert said.code == 0, said.err
    with open(tmp_path / "recs.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    table = pq.read_table(tmp_path / "recs.parquet").to_pylist()
    assert [(r["user_id"], r["item_id"], int(r["rank"])) for r in rows] == [
        (r["user_id"], r["item_id"], r["rank"]) for r in table
    ]


def test_files_that_cannot_be_read_or_written_are_one_error(artifact, tmp_path):
    bulk = ["recommend", "--artifact", artifact, "--histories"]
    histories = write_csv(tmp_path / "h.csv", [{"user_id": "me", "item_id": "i005"}])
    (tmp_path / "dir.csv").mkdir()
    said = jaxrec(*bulk, histories, "--out", tmp_path / "dir.csv")
    assert said.code == 2 and "dir.csv is a folder" in said.error
    said = jaxrec(*bulk, histories, "--out", histories / "recs.csv")
    assert said.code == 2 and "recs.csv cannot be written: " in said.error
    (tmp_path / "latin.csv").write_bytes("user_id,item_id,note\nme,i005,caf\u00e9 noir\n".encode("latin-1"))
    said = jaxrec(*bulk, tmp_path / "latin.csv", "--out", tmp_path / "recs.csv")
    assert said.code == 4 and "say --encoding latin-1" in said.error
    said = jaxrec(*bulk, tmp_path / "latin.csv", "--out", tmp_path / "recs.csv", "--encoding", "latin-1")
    assert said.code == 0, said.err
    one = ["recommend", "--artifact", artifact, "--user", "u001"]
    (tmp_path / "ids.txt").write_bytes(b"i050\n\xff\n")
    said = jaxrec(*one, "--candidates", tmp_path / "ids.txt")
    assert said.code == 4 and "ids.txt, line 2: not UTF-8" in said.error
    for content in ("", "\n \n"):
        (tmp_path / "ids.txt").write_text(content)
        said = jaxrec(*one, "--candidates", tmp_path / "ids.txt")
        assert said.code == 4 and "ids.txt is empty" in said.error
    (tmp_path / "new.csv").write_text("item_id,title\n")
    said = jaxrec(*one, "--new-items", tmp_path / "new.csv")
    assert said.code == 4 and "new.csv has a header but no rows" in said.error
    (tmp_path / "theirs.csv").write_text("who,item_id\nme,i005\n")
    said = jaxrec(*bulk, tmp_path / "theirs.csv", "--out", tmp_path / "recs.csv")
    assert said.code == 4 and "theirs.csv has no column 'user_id'" in said.error
    assert "--map user_id=THEIR_NAME" in said.error
    (tmp_path / "nameless.csv").write_text("user_id,item_id\n,i005\n")
    said = jaxrec(*bulk, tmp_path / "nameless.csv", "--out", tmp_path / "recs.csv")
    assert said.code == 4 and "1 rows have no user_id, first row 1" in said.error


def test_an_artifact_that_is_not_whole(artifact, tmp_path):
    assert "no artifact at" in jaxrec("recommend", "--artifact", tmp_path / "none", "--user", "u001").error
    shutil.copytree(artifact, tmp_path / "copy")
    path = tmp_path / "copy" / "items.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    said = jaxrec("recommend", "--artifact", tmp_path / "copy", "--user", "u001")
    assert said.code == 4 and "items.parquet" in said.error


def test_profiles(artifact):
    said = jaxrec("profile", "--artifact", artifact, "--user", "u042")
    assert said.code == 0 and said.out.startswith("user u042, from ")
    found = json.loads(jaxrec("profile", "--artifact", artifact, "--item", "i001", "--json").out)
    assert found["vector"] and found["tags"][0]["tag"] == "Space"
    assert jaxrec("profile", "--artifact", artifact, "--history", "i001,i005").code == 0
    said = jaxrec("profile", "--artifact", artifact, "--item", "nothing")
    assert said.code == 2 and "unknown item 'nothing'" in said.error


# --- the workdir again ---------------------------------------------------------------------------------------------


def test_evaluate_gives_the_figures_of_the_run(mine, tmp_path):
    said = jaxrec("evaluate", "--workdir", mine, "--out", tmp_path / "test.json")
    assert said.code == 0, said.err
    assert "EASE" in said.out and "Two-tower" in said.out
    again, run = json.loads((tmp_path / "test.json").read_text()), json.loads((mine / "results.json").read_text())
    assert again == run["rankers"]
    said = jaxrec("evaluate", "--workdir", mine, "--part", "valid", "--out", tmp_path / "valid.json")
    logged = [json.loads(line) for line in (mine / "metrics.jsonl").read_text().splitlines()]
    best = max(entry["ndcg@10"] for entry in logged if entry["split"] == "valid")
    valid = json.loads((tmp_path / "valid.json").read_text())
    assert valid["Two-tower"]["metrics"]["ndcg@10"]["mean"] == pytest.approx(best, abs=1e-6)


def test_export_again(mine, tmp_path):
    said = jaxrec("export", "--workdir", mine, "--out", tmp_path / "again", "--k-max", 5, "--no-users")
    assert said.code == 0, said.err
    first, again = Recommender.load(mine / "artifact"), Recommender.load(tmp_path / "again")
    assert again.manifest.k_max == 5 and again.manifest.users == 0
    for told in ("asked_at", "default_weight"):  # of all users together, and of nobody
        assert getattr(again.manifest, told) == getattr(first.manifest, told)
    np.testing.assert_array_equal(again.loaded.catalog.popularity, first.loaded.catalog.popularity)
    asked = {"history": ["i005", "i007"], "k": 5}
    assert [r.item_id for r in again.recommend(**asked)] == [r.item_id for r in first.recommend(**asked)]
    said = jaxrec("recommend", "--artifact", tmp_path / "again", "--user", "u001")
    assert said.code == 2 and "k=10" in said.error
    said = jaxrec("recommend", "--artifact", tmp_path / "again", "--user", "u001", "--k", 5)
    assert said.code == 2 and "keeps no users" in said.error
    assert jaxrec("export", "--workdir", tmp_path, "--out", tmp_path / "x").code == 2


def test_a_finished_run_says_so_and_another_config_is_refused(mine, folder):
    said = train(mine, "--map", "item_id=movieId", **options(folder))
    assert said.code == 0 and "done already" in said.out and "step " not in said.err
    assert "Recommendations for user" in said.out and "report:" in said.out
    said = train(mine, "--map", "item_id=movieId", **options(folder) | {"method__train__num_steps": 201})
    assert said.code == 2 and "train.num_steps was 200 and is now 201" in said.error


def test_data_check(folder):
    said = jaxrec("data", "check", "--config", own_data.YOUR_DATA, *sets(source__interactions=folder / "log.csv"))
    assert said.code == 0
    assert f"interactions: {len(ROWS):,} rows read" in said.out and "holdout: T:" in said.out
    said = jaxrec("data", "check")
    assert said.code == 0 and "ml-100k" in said.out


def test_doctor():
    said = jaxrec("doctor")
    assert said.code == 0
    assert "compiles  yes" in said.out and "python    3." in said.out and "8 cpu" in said.out


def test_embed(tmp_path):
    own_data.tiny_bert(tmp_path / "bert")
    texts = tmp_path / "texts.txt"
    texts.write_text("rocket planet\n\nkitchen recipe\n", encoding="utf-8")
    out, layers = tmp_path / "v.npy", tmp_path / "h.npz"
    said = jaxrec(
        *("embed", "--encoder", tmp_path / "bert", "--texts", texts, "--out", out),
        *("--normalize", "--pool", "mean", "--hidden-states", layers),
    )
    assert said.code == 0, said.err
    assert "3 texts, 24 numbers each" in said.out
    vectors, states = np.load(out), np.load(layers)
    mask = states["mask"][:, :, None]
    mean = (states["hidden_states"][-1] * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(vectors, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-5)
    said = jaxrec("embed", "--encoder", tmp_path / "bert", "--texts", texts, "--out", tmp_path / "v.txt")
    assert said.code == 2 and "must end in .npy" in said.error
