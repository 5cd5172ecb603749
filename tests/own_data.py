"""A person's own files, and the jaxrec command run on them in this process."""

import contextlib
import csv
import io
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import pyarrow as pa
import pyarrow.csv as pacsv

from jaxrec.cli import main
from jaxrec.data.sources.synthetic import LINKS, OPENINGS, TASTES, Synthetic

sys.path.insert(0, str(Path(__file__).parent / "models"))
import golden_checkpoints  # noqa: E402
import make_bert_golden  # noqa: E402

ROOT = Path(__file__).parent.parent
YOUR_DATA = ROOT / "configs" / "your_data_two_tower.py"
SMALL = Synthetic(users=60, items=60, tastes=4, events_per_user=16, new_items=0.1)


class Said(NamedTuple):
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The one line of the error."""
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        return lines[0].removeprefix("error: ")


QUICK = "jax_disable_most_optimizations"
"""Small jobs spend their time compiling. Processes that are to agree with this one bit for bit need it as well."""


@contextlib.contextmanager
def quick():
    before = jax.config.read(QUICK)
    jax.config.update(QUICK, True)
    try:
        yield
    finally:
        jax.config.update(QUICK, before)


def jaxrec(*arguments: object) -> Said:
    """`jaxrec ARGUMENTS`, in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), quick():
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = left.code or 0
    return Said(code, out.getvalue(), err.getvalue())


def sets(**options: object) -> list[str]:
    """--set for each option; two underscores stand for a point."""
    return [word for name, value in options.items() for word in ("--set", f"{name.replace('__', '.')}={value}")]


def train(workdir: Path, *arguments: object, config: Path = YOUR_DATA, **options: object) -> Said:
    """`jaxrec train --debug` on one device."""
    one_device = {"mesh__data": 1} | options
    return jaxrec("train", "--config", config, "--debug", "--workdir", workdir, *arguments, *sets(**one_device))


def write_csv(path: Path, rows: list[dict], **how: object) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), **how)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_tables(folder: Path, source: Synthetic = SMALL) -> None:
    """log.csv, items.csv and users.csv of generated tables, as a person would have them."""
    tables = source.load()
    genres = pa.array(["|".join(values) for values in tables.catalog["genres"].to_pylist()])
    catalog = tables.catalog.set_column(tables.catalog.column_names.index("genres"), "genres", genres)
    for table, name in ((tables.interactions, "log"), (catalog, "items"), (tables.users, "users")):
        pacsv.write_csv(table, folder / f"{name}.csv")


def log_rows() -> list[dict]:
    return SMALL.load().interactions.to_pylist()


def tiny_bert(directory: Path) -> Path:
    """A BERT directory of random weights that knows the words of the generated texts."""
    directory.mkdir()
    words = " ".join([*TASTES, *TASTES.values(), *OPENINGS, *LINKS]).lower().replace(".", " .").split()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(words)]
    config = make_bert_golden.tiny_config("chinese") | {
        "vocab_size": len(vocabulary),
        "max_position_embeddings": 64,
    }
    return golden_checkpoints.write(directory, config, make_bert_golden.tiny_weights(config), vocabulary)
