"""Whose a study's folder is: one protocol, one budget, the same options of each method, the same data."""

import json
from pathlib import Path
from typing import Any

from jaxrec.config import from_json, to_json
from jaxrec.errors import DataError, UserError
from jaxrec.study.stored import TRIALS
from jaxrec.study.study import Study, keyed, slug
from jaxrec.train.progress import first_difference
from jaxrec.workdir import write_text

STUDY, METHODS, DATA = "study.json", "methods.json", "data.json"


def claim(study: Study, folder: Path) -> None:
    """The folder belongs to this study; methods may be added to it later, and stay known when they are left out of it.
    Raises UserError where it is another's."""
    file = folder / STUDY
    now, known = json.loads(to_json(study)), _known(folder)
    if file.is_file():
        saved = json.loads(file.read_text(encoding="utf-8"))
        there = [folder / name for name in _begun(folder)]
        old, new = ({k: v for k, v in tree.items() if k not in ("methods", "reference")} for tree in (saved, now))
        if there and (differs := first_difference(old, new)):
            where, before, after = differs
            raise UserError(
                f"{folder} holds another study: {where} was {before!r} and is now {after!r}; a test is made once, with "
                "the options that one search found. Give another --workdir, or remove this one"
            )
        for key, before, after in _changed(known, study):
            if (folder / slug(key)).is_dir():
                raise UserError(
                    f"{folder} holds {key} with other options: {before}, now {after}. Give another --workdir, "
                    f"or remove {folder / slug(key)}"
                )
    write_text(file, json.dumps(now, indent=2, ensure_ascii=False))
    known |= {key: json.loads(to_json(method)) for key, method in keyed(study.methods).items()}
    write_text(folder / METHODS, json.dumps(known, indent=2, ensure_ascii=False))


def _known(folder: Path) -> dict[str, dict]:
    """The methods as given, as JSON, of all studies that the folder was claimed for."""
    if (folder / METHODS).is_file():
        return json.loads((folder / METHODS).read_text(encoding="utf-8"))
    if not (folder / STUDY).is_file():
        return {}
    last = from_json((folder / STUDY).read_text(encoding="utf-8"))  # of before there was a file of methods
    return {key: json.loads(to_json(method)) for key, method in keyed(last.methods).items()}


def _begun(folder: Path) -> list[str]:
    return [path.parent.name for path in folder.rglob(TRIALS)]


def _changed(known: dict[str, dict], study: Study) -> list[tuple[str, str, str]]:
    """Methods of one key whose options as given are others now: (key, the option before, now)."""
    changed = []
    for key, method in keyed(study.methods).items():
        before = from_json(json.dumps(known[key])) if key in known else method  # options that came later: defaults
        if differs := first_difference(*(json.loads(to_json(one)) for one in (before, method))):
            where, old, new = differs
            changed.append((key, f"{where}={old!r}", f"{new!r}"))
    return changed


def claim_data(about: dict[str, Any], place: Path) -> None:
    """The folder belongs to this data from now on. Raises DataError where it was begun on other data."""
    file = place / DATA
    if file.is_file() and json.loads(file.read_text(encoding="utf-8"))["fingerprint"] != about["fingerprint"]:
        raise DataError(
            f"the data has changed since {place} was begun: its ids, texts, features or events are others now. "
            "Compare on the new data with another --workdir, or bring the old files back"
        )
    write_text(file, json.dumps(about, indent=1, ensure_ascii=False))
