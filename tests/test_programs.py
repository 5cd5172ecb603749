"""Compiled programs are kept between commands."""

import os
import subprocess
import sys

import own_data

from jaxrec import programs
from jaxrec.classic.ease import Ease
from jaxrec.data.sources.synthetic import Synthetic
from jaxrec.experiment import Experiment
from jaxrec.job import run_job


def test_what_one_command_compiles_the_next_finds(tmp_path):
    source = Synthetic(users=60, items=60)
    experiment = Experiment("programs", source, encoder=None, method=Ease(), baselines=())
    with own_data.quick():
        run_job(experiment, tmp_path / "run", quiet=True, say=lambda line: None)
    artifact = str(tmp_path / "run" / "artifact")

    def ask(cache):
        command = [sys.executable, "-m", "jaxrec.cli", "recommend", "--artifact", artifact, "--user", "u042"]
        environment = {name: value for name, value in os.environ.items() if "CACHE" not in name}
        environment |= {"XDG_CACHE_HOME": str(cache), own_data.QUICK.upper(): "1"}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return done.stdout

    def kept():
        return {path.name: path.stat().st_size for path in (tmp_path / "jaxrec" / "programs").rglob("*-cache")}

    first, made = ask(tmp_path), kept()
    assert made
    assert ask(tmp_path) == first and kept() == made
    for program in (tmp_path / "jaxrec" / "programs").rglob("*-cache"):  # as a process that is killed leaves it
        program.write_bytes(program.read_bytes()[:100])
        program.with_name(program.name.removesuffix("-cache") + "-atime").unlink()
    assert ask(tmp_path) == first and kept().keys() == made.keys() and min(kept().values()) > 100
    (tmp_path / "file").touch()
    assert ask(tmp_path / "file") == first  # where nothing can be kept, that is no error


def test_processors_that_differ_share_no_programs(tmp_path, monkeypatch):
    names = set()
    for features in ("flags : sse4_2 avx2", "flags : sse4_2 avx2 avx512f", "Features : asimd"):
        monkeypatch.setattr(programs, "CPUINFO", tmp_path / "cpuinfo")
        programs.CPUINFO.write_text(f"processor : 0\n{features}\n")
        names.add(programs.processor())
    assert len(names) == 3
    monkeypatch.setattr(programs, "CPUINFO", tmp_path / "nowhere")
    assert programs.processor() and programs.processor() not in names
