"""Asking an artifact from the command line: ids and files in, lines or a Parquet file out."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from jaxrec.data.sources.tabular import read_table, with_ids
from jaxrec.embed import progress_bar, write_atomically
from jaxrec.errors import UserError
from jaxrec.serve.recommender import Recommender
from jaxrec.summary import print_recommendations


def ask(
    artifact: Path,
    user: str | None,
    history: str | None,
    text: str | None,
    *,
    k: int,
    candidates: Path | None,
    new_items: Path | None,
    as_json: bool,
) -> None:
    """Print the k best items for one asker. Raises UserError where nobody asks."""
    if user is None and history is None and text is None:
        raise UserError("who asks? Give --user ID, --history 'id1,id2', --text 'words', or --histories FILE")
    recommender = _load(artifact, new_items)
    answer = recommender.recommend(user, _ids(history), k=k, candidates=_lines(candidates), text=text)
    if as_json:
        print(json.dumps([item.to_json() for item in answer], ensure_ascii=False, indent=1))
    else:
        asker = f"user {user}" if user else "this history" if history else "these words"
        print_recommendations(asker, [], answer)


def ask_many(
    artifact: Path, histories: Path, out: Path, *, k: int, candidates: Path | None, new_items: Path | None
) -> None:
    """Write user_id, item_id, score, rank of the k best items of every user in a file."""
    recommender = _load(artifact, new_items)
    asked = with_ids(read_table(histories), str(histories))
    with progress_bar("ranking") as progress:
        answers = recommender.recommend_many(asked, k=k, candidates=_lines(candidates), progress=progress)
    write_atomically(out, _writer(answers))
    print(f"{answers.num_rows:,} rows for {len(pa.compute.unique(answers['user_id'])):,} users: {out}")


def show_profile(artifact: Path, user: str | None, item: str | None, history: str | None, *, as_json: bool) -> None:
    found = Recommender.load(artifact).profile(user, item, _ids(history))
    print(json.dumps(found.to_json(), ensure_ascii=False, indent=1) if as_json else "\n".join(found.lines()))


def _load(artifact: Path, new_items: Path | None) -> Recommender:
    recommender = Recommender.load(artifact)
    if new_items is None:
        return recommender
    return recommender.with_new_items(with_ids(read_table(new_items), str(new_items)))


def _ids(line: str | None) -> list[str] | None:
    """Ids of one line of CSV, so that an id with a comma can be quoted."""
    if line is None:
        return None
    return [item.strip() for item in next(csv.reader([line], skipinitialspace=True), []) if item.strip()]


def _lines(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    return [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]


def _writer(table: pa.Table) -> Callable:
    return lambda file: pq.write_table(table, file)
