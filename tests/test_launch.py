"""Launch scripts: checked by shellcheck and run against stand-ins for Python, pip, gcloud and a TPU host's metadata."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted([*ROOT.glob("launch/*.sh"), ROOT / ".ci/run"])
TOOLS = "bash env cat ls rm mkdir tr dirname cp touch sed chmod mktemp tee tail nohup tar gzip sleep".split()
FAKE_PYTHON = """#!/usr/bin/env bash
echo "VERSION $*" >> "$CALLS"
case "$1 $2" in
  "-c "*) echo VERSION ;;
  "-m venv") mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && touch "$3/pyvenv.cfg" ;;
  "-m pip") if [[ $3 == install ]]; then
      [[ -z $PIP_FAILS ]] || { echo "no registry answers"; exit 7; }
      command=$(dirname "$0")/jaxrec
      printf '#!/usr/bin/env bash\\nprintf "<%%s>" "$@"; echo\\n' > "$command" && chmod +x "$command"
    fi ;;
  "-m pytest") printf "<%s>" "$@"; exit "${PYTEST_EXIT:-0}" ;;
esac
"""


def write_script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


class Clone:
    """A checkout in a path with spaces, and a PATH that holds nothing but stand-ins and a few tools."""

    def __init__(self, folder: Path):
        self.root, self.bin, self.home, self.calls = (folder / n for n in ("my clone", "bin", "home", "calls"))
        self.venv = self.root / ".venv"
        shutil.copytree(ROOT / "launch", self.root / "launch")
        shutil.copytree(ROOT / ".ci", self.root / ".ci")
        shutil.copy(ROOT / "pyproject.toml", self.root)
        self.bin.mkdir()
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool))

    def python(self, version: str, path: Path | None = None) -> Path:
        return write_script(path or self.bin / f"python{version[:4]}", FAKE_PYTHON.replace("VERSION", version))

    def run(self, script: str, *args: str, **env: str) -> subprocess.CompletedProcess:
        self.calls.write_text("")
        env = {"PATH": str(self.bin), "HOME": str(self.home), "CALLS": str(self.calls), "PIP_FAILS": "", **env}
        return subprocess.run(["bash", str(self.root / script), *args], env=env, capture_output=True, text=True)

    def called(self, what: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if what in line]


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path)


def test_shellcheck_finds_nothing():
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert shellcheck, "shellcheck is missing: pip install -e '.[test]'"
    result = subprocess.run([shellcheck, "-x", *SCRIPTS], capture_output=True, text=True, cwd=ROOT)
    assert result.stdout + result.stderr == ""


def test_start_takes_the_newest_working_python_and_runs_the_demo(clone):
    clone.python("3.11.9")
    clone.python("3.12.4", clone.home / ".pyenv/versions/3.12.4/bin/python")
    write_script(clone.bin / "python3.13", "#!/usr/bin/env bash\necho shim: not installed >&2; exit 127\n")
    result = clone.run("launch/start.sh", "--workdir", "my runs", "")
    assert (result.returncode, result.stdout) == (0, "<demo><--workdir><my runs><>\n")
    assert clone.called("pip install") == [
        "3.12.4 -m pip install --disable-pip-version-check --no-input -e .",
    ]
    making, installing = result.stderr.splitlines()
    assert making.startswith(f"Making {clone.venv} with Python 3.12.4") and installing.startswith("Installing jaxrec")
    assert (clone.venv / "setup.log").exists()


def test_a_second_call_installs_nothing_and_says_nothing(clone):
    clone.python("3.13.0")
    clone.run("launch/start.sh")
    result = clone.run("launch/start.sh")
    assert (result.returncode, result.stdout, result.stderr) == (0, "<demo>\n", "")
    assert not clone.called("-m")


def test_what_is_installed_follows_pyproject_extras_and_the_place(clone):
    clone.python("3.13.0")
    clone.run("launch/start.sh")
    assert clone.run("launch/test.sh", "-k", "a or b").stdout == "<-m><pytest><-n><2><--dist><loadfile><-k><a or b>"
    assert clone.called("pip install")[0].endswith("-e .[test]")
    with (clone.root / "pyproject.toml").open("a") as file:
        file.write("# newer\n")
    clone.run("launch/test.sh")
    assert len(clone.called("pip install")) == 1 and not clone.called("-m venv")
    clone.run("launch/test.sh")
    assert not clone.called("pip install")
    clone.root = clone.root.rename(clone.root.with_name("moved"))
    assert clone.run("launch/test.sh").returncode == 0
    assert len(clone.called("pip install")) == 1


def test_the_python_named_is_the_one_used(clone):
    clone.python("3.13.0")
    clone.run("launch/start.sh")
    clone.python("3.11.2")
    clone.run("launch/start.sh", PYTHON="python3.11")
    assert [line.split()[0] for line in clone.called("-m venv")] == ["3.11.2"]
    clone.run("launch/start.sh")
    assert not clone.called("-m venv")


def test_half_an_environment_is_made_again(clone):
    clone.python("3.13.0")
    clone.venv.mkdir()
    (clone.venv / "pyvenv.cfg").touch()
    assert clone.run("launch/start.sh").stdout == "<demo>\n"
    for stamp in clone.venv.glob("*.stamp"):
        stamp.unlink()  # as after an interruption while pip was running
    (clone.venv / "half").touch()
    assert clone.run("launch/start.sh").stdout == "<demo>\n"
    assert clone.called("-m venv") and not (clone.venv / "half").exists()
    (clone.venv / "bin/python").unlink()
    assert clone.run("launch/start.sh").stdout == "<demo>\n"


def test_a_folder_that_is_no_environment_is_left_alone(clone):
    clone.python("3.13.0")
    clone.venv.mkdir()
    (clone.venv / "thesis.txt").write_text("mine")
    result = clone.run("launch/start.sh")
    assert result.returncode == 2 and "is no virtual environment; move it away" in result.stderr
    assert (clone.venv / "thesis.txt").read_text() == "mine"


def test_a_failing_pip_shows_its_log_and_is_tried_again(clone):
    clone.python("3.13.0")
    result = clone.run("launch/start.sh", PIP_FAILS="1")
    assert (result.returncode, result.stdout) == (7, "")
    assert "no registry answers" in result.stderr and "Setting up failed (exit code 7)" in result.stderr
    assert clone.run("launch/start.sh").stdout == "<demo>\n"


def test_no_working_python_says_what_to_install(clone):
    write_script(clone.bin / "python3", "#!/usr/bin/env bash\nexit 1  # as 3.10, or one without ensurepip\n")
    result = clone.run("launch/start.sh")
    assert result.returncode == 2 and "No working Python 3.11, 3.12 or 3.13 was found" in result.stderr
    result = clone.run("launch/start.sh", PYTHON="python3.7")
    assert result.returncode == 2 and "PYTHON=python3.7 does not work here" in result.stderr
    assert not clone.venv.exists()


def test_ci_passes_on_what_failed_and_ends_with_the_verdict(clone):
    clone.python("3.13.0")
    result = clone.run(".ci/run", "-x", PYTEST_EXIT="3")
    assert result.returncode == 3
    assert result.stdout.splitlines()[-1] == "Tests: <-m><pytest><-n><2><--dist><loadfile><-x>"
    assert "No Python 3.12 here" in result.stdout
    assert clone.run(".ci/run").returncode == 0


# --- the TPU script ----------------------------------------------------------------------------------------------


@pytest.fixture
def gcloud(clone):
    """A stand-in that records its arguments, one line a call, and exits as told."""
    script = 'printf "%s\\0" "$@" >> "$CALLS"; echo >> "$CALLS"; exit "${GCLOUD_EXIT:-0}"'
    write_script(clone.bin / "gcloud", f"#!/usr/bin/env bash\n{script}\n")
    return clone


def calls_of(clone: Clone) -> list[list[str]]:
    return [line.split("\0")[:-1] for line in clone.calls.read_text().splitlines()]


OPTIONS = ("--name", "pod", "--zone=us-east5-b", "--type", "v6e-16", "--project=films")
TRAIN = ("--config", "configs/movielens_1m.py", "--set", "name=it's $5 & more", "--workdir", "/mnt/runs/ml-1m")


def test_all_creates_copies_and_runs_the_same_line_on_every_host(gcloud, tmp_path):
    result = gcloud.run("launch/tpu_vm.sh", *OPTIONS, "all", "--", *TRAIN, TMPDIR=str(tmp_path))
    assert result.returncode == 0
    create, scp, setup, run = calls_of(gcloud)
    place = ["--zone=us-east5-b", "--project=films"]
    tpu = ["compute", "tpus", "tpu-vm"]
    assert create == [*tpu, "create", "pod", "--accelerator-type=v6e-16", "--version=v2-alpha-tpuv6e", *place]
    archive = scp[4]
    assert scp == [*tpu, "scp", archive, "pod:jaxrec.tgz", "--worker=all", *place]
    assert setup[:5] == [*tpu, "ssh", "pod"] and "host-setup" in setup[6]
    assert run[:6] == [*tpu, "ssh", "pod", "--worker=all"]
    command = run[6].removeprefix("--command=")
    assert shlex.split(command) == ["bash", "jaxrec/launch/tpu_vm.sh", "host-run", "--", *TRAIN]
    assert "delete" not in result.stdout  # checkpoints on the disks would go with it
    listed = subprocess.run(["tar", "-tzf", archive], capture_output=True, text=True).stdout
    assert "./pyproject.toml" in listed and "./.git/" not in listed


def test_dry_run_prints_exactly_the_commands_and_runs_none(gcloud, tmp_path):
    verbs = ("all", "logs", "stop", "delete")
    dry = gcloud.run("launch/tpu_vm.sh", *OPTIONS, "--dry-run", *verbs, "--", *TRAIN, TMPDIR=str(tmp_path))
    assert dry.returncode == 0 and calls_of(gcloud) == [] and not list(tmp_path.glob("*.tgz"))
    gcloud.run("launch/tpu_vm.sh", *OPTIONS, *verbs, "--", *TRAIN, TMPDIR=str(tmp_path))
    printed = [shlex.split(line) for line in dry.stdout.splitlines()]
    assert [words[1:] for words in printed if words[0] == "gcloud"] == calls_of(gcloud)
    assert len(calls_of(gcloud)) == 7


def test_the_script_holds_no_hyper_parameter():
    script = (ROOT / "launch/tpu_vm.sh").read_text()
    assert not re.findall(r"batch|learning|--set|num.steps|optimizer|seed", script)


@pytest.mark.parametrize(
    ("options", "env", "expected"),
    [
        (["--spot"], {}, "tpu-vm create jaxrec --accelerator-type=v4-8 --version=tpu-ubuntu2204-base --spot --zone=z"),
        (["--version", "mine"], {}, "tpu-vm create jaxrec --accelerator-type=v4-8 --version=mine --zone=z"),
        (
            ["--queued"],
            {"TYPE": "v5p-8"},
            "queued-resources create jaxrec --node-id=jaxrec --accelerator-type=v5p-8"
            " --runtime-version=v2-alpha-tpuv5 --zone=z",
        ),
    ],
)
def test_create_options(gcloud, options, env, expected):
    gcloud.run("launch/tpu_vm.sh", "create", *options, **{"ZONE": "z", "TYPE": "v4-8", **env})
    assert " ".join(calls_of(gcloud)[0]) == f"compute tpus {expected}"


def test_delete_and_logs(gcloud):
    gcloud.run("launch/tpu_vm.sh", "delete", "--queued", ZONE="z", NAME="pod")
    assert calls_of(gcloud) == ["compute tpus queued-resources delete pod --force --quiet --zone=z".split()]
    gcloud.run("launch/tpu_vm.sh", "logs", ZONE="z", NAME="pod", WORKERS="3")
    assert "--worker=3" in calls_of(gcloud)[0]


def test_the_exit_code_of_gcloud_is_passed_on_and_nothing_follows(gcloud):
    result = gcloud.run("launch/tpu_vm.sh", *OPTIONS, "all", "--", *TRAIN, GCLOUD_EXIT="42")
    assert result.returncode == 42 and len(calls_of(gcloud)) == 1


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "what is to be done?"),
        (["launch"], "no such verb or option: launch"),
        (["--zone"], "--zone needs a value"),
        (["delete"], "ZONE is not set: give --zone or ZONE=..., such as us-east5-b"),
        (["--zone", "z", "create"], "TYPE is not set"),
        (["--zone", "z", "run"], "run needs the arguments of jaxrec train"),
        (["--zone", "z", "--type", "v6e-8", "--queued", "all", "--", "--config", "x"], "when it is ACTIVE"),
    ],
)
def test_wrong_use_of_the_tpu_script_says_what_is_missing(gcloud, args, message):
    result = gcloud.run("launch/tpu_vm.sh", *args)
    assert result.returncode == 2 and message in result.stderr and calls_of(gcloud) == []


def test_without_gcloud_the_tpu_script_says_so(clone):
    result = clone.run("launch/tpu_vm.sh", "--zone", "z", "delete")
    assert result.returncode == 2 and "gcloud was not found" in result.stderr


@pytest.mark.parametrize(
    ("endpoints", "coordinator", "count"),
    [
        ("host-a,host-b,host-c", "host-a:8476", "3"),
        ("t1v-n-0:0:10.0.0.7,t1v-n-1:1:10.0.0.8", "10.0.0.7:8476", "2"),
        ("10.0.0.7", "10.0.0.7:8476", "1"),
    ],
)
def test_a_host_finds_its_place_and_passes_the_line_on(clone, endpoints, coordinator, count):
    clone.python("3.12.4")
    write_script(
        clone.bin / "curl",
        f"#!/usr/bin/env bash\ncase ${{!#}} in */worker-network-endpoints) echo {endpoints} ;;"
        " */agent-worker-number) echo 1 ;; *) exit 22 ;; esac\n",
    )
    result = clone.run("launch/tpu_vm.sh", "host-run", "--", *TRAIN)
    expected = ["train", *TRAIN, "--coordinator", coordinator, "--num-processes", count, "--process-id", "1"]
    assert result.returncode == 0
    ended = "jaxrec train ended on this host with exit code 0\n"
    assert result.stdout == "".join(f"<{word}>" for word in expected) + "\n" + ended
    assert (clone.root / "runs/tpu_vm.log").read_text() == result.stdout
    assert clone.called("pip install")[0].endswith("-e . jax[tpu]")


def test_a_host_passes_on_the_exit_code_of_training(clone):
    clone.python("3.12.4")
    write_script(clone.bin / "curl", "#!/usr/bin/env bash\necho 0\n")
    clone.run("launch/tpu_vm.sh", "host-setup")
    write_script(clone.venv / "bin/jaxrec", "#!/usr/bin/env bash\necho diverged >&2\nexit 3\n")
    result = clone.run("launch/tpu_vm.sh", "host-run", "--", *TRAIN)
    assert result.returncode == 3
    assert result.stdout == "diverged\njaxrec train ended on this host with exit code 3\n"
