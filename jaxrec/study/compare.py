"""Whole comparisons: every method of a study, or of all studies of a suite, to tables and a page in the workdir."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

import jaxrec
from jaxrec.config import did_you_mean, to_json
from jaxrec.errors import UserError
from jaxrec.evaluate.compare import short
from jaxrec.run import say_once
from jaxrec.study.claim import STUDY, claim, claim_data
from jaxrec.study.page import write_page
from jaxrec.study.run import Say, Work, load, refusal
from jaxrec.study.stored import Folder
from jaxrec.study.study import Study, Suite, keyed, match, slug, unknown
from jaxrec.study.table import print_table, table_of, to_markdown
from jaxrec.study.workers import run_all
from jaxrec.workdir import local_workdir, write_text

TABLE, MARKDOWN, PAGE = "table.json", "table.md", "report.html"
NOT_YET = "not worked on yet"


def compare_all(
    root: Study | Suite,
    workdir: Path,
    *,
    methods: Iterable[str] = (),
    studies: Iterable[str] = (),
    workers: int = 1,
    command: str = "",
    say: Say = say_once,
) -> list[dict[str, Any]]:
    """The tables (see `table_of`) of a study, or of each study of a suite, written below the workdir and printed.

    What an earlier call has tried and tested is not done again. methods, studies: by name, only these are worked on;
    what was done of the others stands in the tables nonetheless. Raises UserError for options that cannot be, and where
    the workdir holds another study, DataError for data that cannot be used.
    """
    root.check()
    workdir, methods = local_workdir(workdir), tuple(methods)
    if workers < 1:
        raise UserError(f"workers must be 1 or more, not {workers}")
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"workdir {workdir} is a file: give a folder")
    every = root.studies if isinstance(root, Suite) else (root,)
    asked = _named(every, studies)
    tables = []
    for study, keys in zip(asked, _chosen(asked, methods), strict=True):
        if keys:
            tables.append(run_study(study, workdir / slug(study.name), keys, workers=workers, command=command, say=say))
    if isinstance(root, Suite):
        there = [table for study in every if (table := _stored(study, workdir / slug(study.name))) is not None]
        write_text(workdir / "suite.md", suite_markdown(root, there))
        write_text(workdir / "suite.json", json.dumps(there, indent=1, ensure_ascii=False))
        say(f"all studies: {workdir / 'suite.md'}")
    return tables


def _named(studies: Sequence[Study], names: Iterable[str]) -> Sequence[Study]:
    """Those of these names, in the order of the suite; all where none is named."""
    known = {study.name: study for study in studies}
    for name in (names := tuple(names)):
        if name not in known:
            raise UserError(f"--studies: no study {name!r}{did_you_mean(name, known)}")
    return [known[name] for name in known if name in names or not names]


def _stored(study: Study, folder: Path) -> dict[str, Any] | None:
    """The table that this call or an earlier one has written, where it is of this very study."""
    file = folder / TABLE
    ours = file.is_file() and json.loads((folder / STUDY).read_text(encoding="utf-8")) == json.loads(to_json(study))
    return json.loads(file.read_text(encoding="utf-8")) if ours else None


def _chosen(studies: Sequence[Study], words: Sequence[str]) -> list[list[str]]:
    """The keys that are meant in each study; not every study of a suite need have every method."""
    known = [keyed(study.methods) for study in studies]
    for word in words:
        if not any(match(word, methods) for methods in known):
            raise UserError(unknown(word, {k: m for methods in known for k, m in methods.items()}, "--methods"))
    if not words:
        return [list(methods) for methods in known]
    keys = [[match(word, methods) for word in words] for methods in known]
    return [[key for key in dict.fromkeys(of_study) if key is not None] for of_study in keys]


def run_study(
    study: Study, folder: Path, keys: Sequence[str], *, workers: int = 1, command: str = "", say: Say = say_once
) -> dict[str, Any]:
    """Work on the methods of these keys, in every draw, and write the table of all that are tested."""
    claim(study, folder)
    places = [folder / f"draw-{draw}" if draw else folder for draw in range(study.draws)]
    abouts, left_out = [], {}
    for draw, place in enumerate(places):
        drawn = study.drawn(draw)
        abouts.append(_about(drawn, say))
        claim_data(abouts[-1], place)
        works = [Work(drawn, key, Folder(place / slug(key)), say) for key in keys if key not in left_out]
        left_out |= {work.key: why for work, why in run_all(works, workers, say) if why is not None}
    folders = {key: [Folder(place / slug(key)) for place in places] for key in keyed(study.methods)}
    tested = {key: of_key for key, of_key in folders.items() if key not in left_out and all(f.tests() for f in of_key)}
    left_out |= {key: refusal(of_key[0]) or NOT_YET for key, of_key in folders.items() if key not in tested | left_out}
    table = table_of(study, tested, left_out, abouts[0], command)
    write_text(folder / TABLE, json.dumps(table, indent=1, ensure_ascii=False))
    write_text(folder / MARKDOWN, to_markdown(table))
    print_table(table)
    if table["rows"]:
        write_page(folder / PAGE, table)
        say(f"page:  {folder / PAGE}")
    say(f"table: {folder / MARKDOWN}")
    return table


def _about(study: Study, say: Say) -> dict[str, Any]:
    """What the table says of the data."""
    loaded = load(study, say)
    holdout = loaded.prepared.holdout
    return {
        "protocol": holdout.name or type(study.holdout).__name__,
        "counts": holdout.counts(),
        "notes": list(holdout.notes),
        "cleaning": list(loaded.prepared.report.lines()),
        "versions": f"jaxrec {jaxrec.__version__}, jax {jax.__version__}, {jax.devices()[0].platform}",
        "fingerprint": loaded.fingerprint,
    }


def suite_markdown(suite: Suite, tables: Sequence[dict[str, Any]]) -> str:
    """Every method in every study: the metric in the test, with its standard error; the best of a study is bold."""
    lines = [f"# {suite.name}", "", "Test, mean ± standard error over users; each study's own table has the rest.", ""]
    lines += ["| method | " + " | ".join(f"{table['study']}: {table['metric']}" for table in tables) + " |"]
    lines += ["| --- |" + " ---: |" * len(tables)]
    found_rows = [{row["method"]: row for row in table["rows"]} for table in tables]
    for key in dict.fromkeys(row["method"] for table in tables for row in table["rows"]):
        texts = [_suite_cell(table, rows.get(key)) for table, rows in zip(tables, found_rows, strict=True)]
        lines.append(f"| {key} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def _suite_cell(table: dict[str, Any], row: dict[str, Any] | None) -> str:
    if row is None:
        return "–"
    found_cell = row["metrics"][table["metric"]]
    error = found_cell["standard_error"]
    text = f"{found_cell['mean']:.3f}" + ("" if error is None else f" ±{short(error)}")
    return f"**{text}**" if row is table["rows"][0] else text
