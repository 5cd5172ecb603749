"""`jaxrec demo`: the MovieLens-100K job, or with --offline the same way on generated data."""

import shlex
from collections.abc import Sequence
from pathlib import Path

import jaxrec
from jaxrec.config import load_config, override
from jaxrec.errors import UserError
from jaxrec.job import run_job

GENERATED = "The data of this run is generated, with planted tastes: its figures say nothing about real people."


def run_demo(workdir: Path, *, offline: bool, debug: bool, overrides: Sequence[str] = ()) -> None:
    """Runs the config of the checkout. Raises UserError where jaxrec is installed without its configs."""
    name = "generated.py" if offline else "hybrid_movielens_100k.py"
    config = Path(jaxrec.__file__).parent.parent / "configs" / name
    if not config.is_file():
        raise UserError(f"{config} is not there: the demo runs in a checkout of jaxrec (bash launch/start.sh)")
    words = ["--offline"] * offline + ["--debug"] * debug + [f"--set {shlex.quote(told)}" for told in overrides]
    command = " ".join(["jaxrec demo", *words])
    experiment = override(load_config(config, debug=debug), overrides)
    run_job(experiment, workdir, command=command, notice=GENERATED if offline else "")
