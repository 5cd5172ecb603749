"""What a comparison leaves on disk, method by method: its trials, its tests, and the figures of every user."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from jaxrec.config import from_json, to_json
from jaxrec.errors import UserError
from jaxrec.evaluate.evaluator import Evaluation
from jaxrec.evaluate.segments import Segments
from jaxrec.files import write_atomically

TRIALS = "trials.jsonl"
PER_USER, PER_ITEM_SEGMENT = "value ", "segment "


@dataclass(frozen=True)
class Trial:
    """One setting on validation.

    options: by dotted path. value, standard_error: of the metric over users, None where the setting failed; error:
    why. seconds: of fit and judgement, compilation included.
    """

    number: int
    options: dict[str, Any]
    value: float | None
    standard_error: float | None
    seconds: float
    error: str | None = None


@dataclass(frozen=True)
class Tested:
    """One test of the chosen setting. method: as JSON. peak: bytes, of what `peak_of` says."""

    seed: int
    name: str
    options: dict[str, Any]
    method: str
    fit_seconds: float
    score_seconds: float
    peak: int | None
    peak_of: str


@dataclass(frozen=True)
class Folder:
    """Of one method in one draw of a study."""

    path: Path

    def held(self) -> FileLock:
        """Entered by who works on it. Raises filelock.Timeout at once where another process does."""
        self.path.mkdir(parents=True, exist_ok=True)
        return FileLock(self.path / ".lock", timeout=0)

    def trials(self) -> list[Trial]:
        file = self.path / TRIALS
        if not file.is_file():
            return []
        return [
            Trial(**{**json.loads(line), "options": from_json(json.dumps(json.loads(line)["options"]))})
            for line in file.read_text(encoding="utf-8").splitlines()
        ]

    def add_trial(self, trial: Trial) -> None:
        """The file is written anew, whole or not at all: there are few trials, and no half line is ever read."""
        lines = [_line(entry) for entry in (*self.trials(), trial)]
        write_atomically(self.path / TRIALS, lambda file: file.write("".join(lines).encode()))

    def tests(self) -> list[Tested]:
        """By seed."""
        records = [json.loads(file.read_text(encoding="utf-8")) for file in self.path.glob("test-*.json")]
        tests = [Tested(**{**r["test"], "options": from_json(json.dumps(r["test"]["options"]))}) for r in records]
        return sorted(tests, key=lambda test: test.seed)

    def add_test(self, test: Tested, result: Evaluation) -> None:
        """Raises UserError where the same was tested already: a test is made once."""
        path = self.path / f"test-{test.seed}.json"
        if path.exists():
            raise UserError(f"{path} is there already: a test is made once")
        arrays = {"user_rows": result.user_rows, "lengths": result.lengths, "positives": result.positives}
        arrays |= {"rows": result.rows, "scores": result.scores}
        arrays |= {PER_USER + name: values for name, values in result.values.items()}
        arrays |= {f"{PER_ITEM_SEGMENT}{s} {m}": values for (s, m), values in result.item_values.items()}
        write_atomically(path.with_suffix(".npz"), lambda file: np.savez_compressed(file, **arrays))
        about = {
            "name": result.name,
            "part": result.part,
            "ks": result.ks,
            "totals": dict(result.totals),
            "item_positives": dict(result.item_positives),
            "num_candidates": result.num_candidates,
            "num_items": result.num_items,
            "segments": asdict(result.segments),
        }
        record = {"test": json.loads(_line(test)), "evaluation": about}
        write_atomically(path, lambda file: file.write(json.dumps(record, indent=1).encode()))

    def evaluation(self, seed: int) -> Evaluation:
        """What `add_test` was given."""
        path = self.path / f"test-{seed}.json"
        about = json.loads(path.read_text(encoding="utf-8"))["evaluation"]
        with np.load(path.with_suffix(".npz")) as file:
            arrays = {name: file[name] for name in file.files}
        values = {n.removeprefix(PER_USER): a for n, a in arrays.items() if n.startswith(PER_USER)}
        parts = {n.removeprefix(PER_ITEM_SEGMENT): a for n, a in arrays.items() if n.startswith(PER_ITEM_SEGMENT)}
        return Evaluation(
            **{**about, "ks": tuple(about["ks"]), "segments": Segments(**about["segments"])},
            **{name: arrays[name] for name in ("user_rows", "lengths", "positives", "rows", "scores")},
            values=values,
            item_values={tuple(name.split(" ", 1)): a for name, a in parts.items()},
        )


def _line(record: Trial | Tested) -> str:
    fields = {**record.__dict__, "options": json.loads(to_json(record.options))}
    return json.dumps(fields, ensure_ascii=False) + "\n"
