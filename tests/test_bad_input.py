"""Files as they come, through the command: what is mended is said, what cannot be used is one error and leaves nothing.

The rules themselves are tested in tests/data.
"""

import gzip
import json
from datetime import UTC, datetime

import own_data
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_data import jaxrec, sets, train

ROWS = own_data.log_rows()
COUNT = len(ROWS)
USERS, ITEMS = (len({row[name] for row in ROWS}) for name in ("user_id", "item_id"))


def text(rows=ROWS, *, delimiter=",", newline="\n", columns=None) -> str:
    columns = columns or list(rows[0])
    return newline.join([delimiter.join(columns), *(delimiter.join(str(row[c]) for c in columns) for row in rows), ""])


def check(path, *arguments, **options):
    return jaxrec(
        "data", "check", "--config", own_data.YOUR_DATA, *arguments, *sets(source__interactions=path, **options)
    )


def with_column(name, change) -> str:
    return text([row | {name: change(row[name])} for row in ROWS])


def iso(seconds) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


# --- what is understood ----------------------------------------------------------------------------------------------

UNDERSTOOD = {
    "tabs": text(delimiter="\t").encode(),
    "semicolons": text(delimiter=";").encode(),
    "CRLF": text(newline="\r\n").encode(),
    "BOM and CRLF": text(newline="\r\n").encode("utf-8-sig"),
    "milliseconds": with_column("timestamp", lambda t: t * 1_000).encode(),
    "microseconds": with_column("timestamp", lambda t: t * 1_000_000).encode(),
    "ISO 8601": with_column("timestamp", iso).encode(),
    "gzip": gzip.compress(text().encode()),
}


@pytest.mark.parametrize("kind", UNDERSTOOD)
def test_common_ways_of_writing_give_the_same_data(tmp_path, kind):
    path = tmp_path / ("log.csv.gz" if kind == "gzip" else "log.csv")
    path.write_bytes(UNDERSTOOD[kind])
    said = check(path)
    assert said.code == 0, said.err
    assert f"interactions: {COUNT:,} rows read, {COUNT:,} kept" in said.out
    assert f"{USERS} users, {ITEMS} items in the catalog" in said.out
    unit = {"ISO 8601": "ISO 8601 text"}.get(kind, kind if "seconds" in kind else "seconds")
    first, last = (f(row["timestamp"] for row in ROWS) for f in (min, max))
    shown = " to ".join(datetime.fromtimestamp(t, UTC).strftime("%Y-%m-%d %H:%M:%S") for t in (first, last))
    assert f"from {shown} UTC, read as {unit}" in said.out


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_other_formats_give_the_same_data(tmp_path, ending):
    path = tmp_path / f"log.{ending}"
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    said = check(path)
    assert said.code == 0 and f"{COUNT:,} rows read, {COUNT:,} kept" in said.out


@pytest.mark.parametrize("encoding", ["gbk", "utf-16"])
def test_the_option_that_a_message_names_mends_the_file(tmp_path, encoding):
    items = "item_id,title\n" + "".join(f"{row['item_id']},流浪地球 第{n}部\n" for n, row in enumerate(ROWS[:200]))
    (tmp_path / "log.csv").write_text(text())
    (tmp_path / "items.csv").write_bytes(items.encode(encoding))
    said = check(tmp_path / "log.csv", source__catalog=tmp_path / "items.csv")
    assert said.code == 4
    assert encoding.upper() in said.error and f"--set source.encoding={encoding}" in said.error
    (tmp_path / "log.csv").write_text(text(), encoding=encoding)
    said = check(tmp_path / "log.csv", source__catalog=tmp_path / "items.csv", source__encoding=encoding)
    assert said.code == 0, said.err
    assert "items: title: title" in said.out


def test_quoted_newlines_chinese_and_emoji_reach_the_answers(tmp_path):
    ids = sorted({row["item_id"] for row in ROWS})
    name = {item: f"{item} 流浪地球, 第二部 🚀" for item in ids}
    rows = [f'{item},"{name[item]}","It goes on\nand on, and ""on"""' for item in ids]
    (tmp_path / "items.csv").write_text("item_id,title,description\n" + "\r\n".join(rows) + "\r\n", newline="")
    (tmp_path / "log.csv").write_text(text())
    tables = {"source__interactions": tmp_path / "log.csv", "source__catalog": tmp_path / "items.csv"}
    said = train(tmp_path / "run", **tables)
    assert said.code == 0, said.err
    assert f"{len(ids)} items in the catalog" in said.out
    said = jaxrec("recommend", "--artifact", tmp_path / "run/artifact", "--user", "u001", "--k", 3)
    assert said.out.count("流浪地球, 第二部 🚀") >= 3
    assert "流浪地球" in (tmp_path / "run/report.html").read_text(encoding="utf-8")


def test_ids_survive_to_the_answers(tmp_path):
    """007 stays 007, and 64-bit hashes keep all their digits, from CSV, Parquet and JSON."""
    users = {f"u{n:03d}": f"{n:05d}" for n in range(1, 61)}
    items = {f"i{n:03d}": str(9_007_199_254_740_993 + 2 * n) for n in range(1, 61)}
    rows = [row | {"user_id": users[row["user_id"]], "item_id": items[row["item_id"]]} for row in ROWS]
    (tmp_path / "log.csv").write_text(text(rows))
    assert train(tmp_path / "run", source__interactions=tmp_path / "log.csv").code == 0
    (tmp_path / "h.csv").write_text(f"user_id,item_id\n007,{items['i001']}\n07,{items['i005']}\n")
    out = tmp_path / "recs.parquet"
    said = jaxrec("recommend", "--artifact", tmp_path / "run/artifact", "--histories", tmp_path / "h.csv", "--out", out)
    assert said.code == 0 and not any(line.startswith("warning") for line in said.err.splitlines())
    table = pq.read_table(out)
    assert table.schema.field("user_id").type == table.schema.field("item_id").type == pa.string()
    assert set(table["user_id"].to_pylist()) == {"007", "07"}
    assert set(table["item_id"].to_pylist()) <= set(items.values())
    assert jaxrec("recommend", "--artifact", tmp_path / "run/artifact", "--user", "00007").code == 0
    assert jaxrec("recommend", "--artifact", tmp_path / "run/artifact", "--user", "7").code == 2
    numbers = [row | {"item_id": int(row["item_id"])} for row in rows]
    pq.write_table(pa.Table.from_pylist(numbers), tmp_path / "log.parquet")
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in numbers))
    for name in ("log.parquet", "log.jsonl"):
        said = check(tmp_path / name)
        assert said.code == 0 and f"{ITEMS} items in the catalog" in said.out


# --- what is counted -------------------------------------------------------------------------------------------------

FIRST = ROWS[0]


@pytest.mark.parametrize(
    "added, rule",
    [
        ([FIRST | {"rating": 1}], "1 merged: same user and item, the last rating counts"),
        ([FIRST | {"item_id": "x1", "rating": ""}], "1 dropped: rating is empty"),
        ([FIRST | {"item_id": "x1", "rating": "inf"}], "1 dropped: rating is not finite"),
        ([FIRST | {"item_id": "x1", "rating": "nan"}], "1 dropped: rating is not finite"),
        ([FIRST | {"item_id": "x1", "rating": "good"}], "1 dropped: rating is no number"),
        ([FIRST | {"item_id": ""}, FIRST | {"item_id": " "}], "2 dropped: item_id is empty"),
        ([FIRST | {"user_id": ""}], "1 dropped: user_id is empty"),
        ([FIRST | {"item_id": "x1", "timestamp": ""}], "1 dropped: timestamp is empty"),
        ([FIRST | {"item_id": "x1", "timestamp": "soon"}], "1 dropped: timestamp cannot be read"),
    ],
)
def test_what_is_left_out_is_counted(tmp_path, added, rule):
    (tmp_path / "log.csv").write_text(text([*ROWS, *added]))
    said = check(tmp_path / "log.csv")
    assert said.code == 0, said.err
    assert f"interactions: {rule}" in said.out
    assert f"{COUNT + len(added):,} rows read, {COUNT:,} kept" in said.out


def test_impossible_ratings_and_unknown_items_by_the_stated_rule(tmp_path):
    (tmp_path / "log.csv").write_text(text([*ROWS, FIRST | {"item_id": "x1", "rating": 11}]))
    (tmp_path / "tables").mkdir()
    own_data.write_tables(tmp_path / "tables")
    said = check(tmp_path / "log.csv", cleaning__rating_range="[1,5]")
    assert said.code == 0 and "1 dropped: rating is outside 1 to 5" in said.out
    catalog = {"source__catalog": tmp_path / "tables" / "items.csv"}
    assert "1 kept: item id is not in the catalog" in check(tmp_path / "log.csv", **catalog).out
    said = check(tmp_path / "log.csv", **catalog, cleaning__unknown_items="drop")
    assert "1 dropped: item id is not in the catalog" in said.out


def test_events_without_ratings_are_summed(tmp_path):
    rows = [{name: row[name] for name in ("user_id", "item_id", "timestamp")} for row in ROWS]
    (tmp_path / "log.csv").write_text(text([*rows, rows[0], rows[0]]))
    said = check(tmp_path / "log.csv")
    assert "2 merged: same user and item, events are summed" in said.out
    assert "every row counts as one event" in said.out


# --- what is refused -------------------------------------------------------------------------------------------------

LONG = text().splitlines()
REFUSED = {
    "a missing file": (None, "is not there"),
    "an empty file": (b"", "is empty: expected a header line and rows"),
    "a header alone": (b"user_id,item_id,rating,timestamp\n", "has a header but no rows"),
    "a missing column": (
        text().replace("item_id", "movieId", 1).encode(),
        "has no column 'item_id'; its columns are 'user_id', 'movieId', 'rating', 'timestamp'. Did you mean 'movieId'? "
        "Say which one it is with --map item_id=THEIR_NAME",
    ),
    "a ragged row": (
        "\n".join([*LONG[:7], LONG[7] + ",more", *LONG[8:]]).encode(),
        "line 8: 5 fields where the header has 4: '" + LONG[7] + ",more'. Mend that line.",
    ),
    "an open quote": (
        "\n".join([*LONG[:7], LONG[7].replace(",", ',"', 1), *LONG[8:]]).encode(),
        "--set source.quotes=false",
    ),
    "GBK": (
        text([row | {"item_id": "电影" + row["item_id"]} for row in ROWS]).encode("gbk"),
        "it reads as GBK: say --set source.encoding=gbk",
    ),
    "UTF-16": (text().encode("utf-16"), "is written in UTF-16, not utf-8: say --set source.encoding=utf-16"),
    "all ratings alike": (
        with_column("rating", lambda _: 5).encode(),
        "ratings are 5, so they say nothing. To take each row as one event (a view, a purchase), say "
        "--set cleaning.ratings=implicit",
    ),
    "one user": (
        with_column("user_id", lambda _: "me").encode(),
        "has one user only, 'me'; a recommender learns from several users. Check that user_id is the right column",
    ),
    "one item": (with_column("item_id", lambda _: "it").encode(), "has one item only, 'it'"),
    "before 1990": (
        with_column("timestamp", lambda t: t - 1_300_000_000).encode(),
        "lie before 1990 or in the future",
    ),
    "the future": (with_column("timestamp", lambda t: t + 1_000_000_000).encode(), "before 1990 or in the future"),
    "times that are none": (with_column("timestamp", lambda _: "soon").encode(), "most timestamps cannot be read"),
    "ratings that are none": (with_column("rating", lambda _: "good").encode(), "most ratings are no numbers"),
    "no times": (
        text(columns=["user_id", "item_id", "rating"]).encode(),
        "TimeCutoff cuts by time, and the log has no timestamps. If a column holds them, say --map "
        "timestamp=THEIR_NAME; if there are none, choose a holdout without time: --set holdout=RandomPerUser",
    ),
    "no row left": (with_column("rating", lambda _: "").encode(), "no row is left of"),
    "a doubled column": (text().replace("rating", "user_id", 1).encode(), "'user_id' stands more than once"),
    "a broken gzip": (gzip.compress(text().encode())[:100], "cannot be read"),
    "no Parquet": (text().encode(), "is no Parquet file"),
    "a broken JSON line": (b'{"user_id": 1, "item_id": 2}\n{"user_id": 1,\n', "line 2: no JSON object"),
}
ENDINGS = {"a broken gzip": "csv.gz", "no Parquet": "parquet", "a broken JSON line": "jsonl"}


@pytest.mark.parametrize("kind", REFUSED)
def test_one_clear_error_exit_4_and_nothing_left(tmp_path, kind):
    content, expected = REFUSED[kind]
    path = tmp_path / f"log.{ENDINGS.get(kind, 'csv')}"
    if content is not None:
        path.write_bytes(content)
    before = sorted(tmp_path.iterdir())
    said = train(tmp_path / "run", source__interactions=path)
    assert said.code == 4, said.err
    assert expected in said.error
    assert str(path) in said.error or kind == "no times"
    assert "Traceback" not in said.err
    assert sorted(tmp_path.iterdir()) == before, "something was left behind"


def test_floats_as_ids_are_refused(tmp_path):
    table = pa.Table.from_pylist(ROWS)
    lost = pa.array([9.007199254740993e15 + n for n in range(COUNT)], pa.float64())
    pq.write_table(table.set_column(1, "item_id", lost), tmp_path / "log.parquet")
    said = check(tmp_path / "log.parquet")
    assert said.code == 4 and "item_id is stored as floats" in said.error


def test_a_refused_file_can_be_mended_in_the_same_workdir(tmp_path):
    (tmp_path / "log.csv").write_text(text(columns=["user_id", "item_id", "rating"]))
    assert train(tmp_path / "run", source__interactions=tmp_path / "log.csv").code == 4
    options = {"source__interactions": tmp_path / "log.csv", "holdout": "RandomPerUser"}
    said = train(tmp_path / "run", **options)
    assert said.code == 0 and "protocol R" in said.out


def test_options_that_a_message_names_let_the_run_go_on(tmp_path):
    (tmp_path / "alike.csv").write_text(with_column("rating", lambda _: 5))
    assert check(tmp_path / "alike.csv", cleaning__ratings="implicit").code == 0
    (tmp_path / "old.csv").write_text(text([*ROWS, FIRST | {"item_id": "x1", "timestamp": 0}]))
    said = check(tmp_path / "old.csv")
    assert said.code == 4 and "1 timestamps, read as seconds" in said.error and "1970-01-01" in said.error
    said = check(tmp_path / "old.csv", cleaning__timestamps="drop")
    assert said.code == 0 and "1 dropped: timestamp before 1990 or in the future" in said.out
    said = check(tmp_path / "old.csv", cleaning__timestamps="ignore", holdout="RandomPerUser")
    assert said.code == 0 and "no timestamps" in said.out


# --- options that cannot be: refused before anything is trained ----------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        ({"method__train__metric": "ngcd@10"}, "train.metric='ngcd@10' is not measured; did you mean 'ndcg@10'?"),
        ({"method__train__metric": "ndcg"}, "train.metric='ndcg' is not measured"),
        ({"method__train__keep": 1}, "train.keep=1: keep at least 2"),
        (
            {"method__train__batch_size_global": 33, "method__train__accumulate": 2},
            "train.batch_size_global=33 does not divide by 2",
        ),
        ({"method__optimizer__schedule": "sine"}, "optimizer.schedule"),
        ({"ks": 0}, "ks are list lengths from 1 on, not (0,)"),
        ({"holdout__valid_fraction": 0.6, "holdout__test_fraction": 0.6}, "together they must be below 1"),
        ({"method__task__fine_tune": "jaxrec.tasks.retrieval:FineTune"}, "task.fine_tune needs a BERT encoder"),
    ],
)
def test_options_that_cannot_be_leave_nothing_behind(tmp_path, options, message):
    (tmp_path / "log.csv").write_text(text())
    said = train(tmp_path / "run", source__interactions=tmp_path / "log.csv", **options)
    assert said.code == 2 and message in said.error
    assert not (tmp_path / "run").exists() and "training:" not in said.out


def test_a_catalog_shorter_than_the_lists_is_judged_by_shorter_ones(tmp_path):
    few = [row | {"item_id": f"i{number % 8}", "user_id": f"u{number // 5}"} for number, row in enumerate(ROWS)]
    (tmp_path / "log.csv").write_text(text(few))
    said = train(tmp_path / "run", source__interactions=tmp_path / "log.csv", baselines="[]", holdout="RandomPerUser")
    assert said.code == 0, said.err
    assert "ndcg@10 needs 10 items: ndcg@8 chooses the best parameters" in said.out
    assert "best ndcg@8 on validation" in said.out
