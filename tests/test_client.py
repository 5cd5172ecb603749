"""The client against a service of its own process."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import own_data
import pytest

from jaxrec.classic.content import ContentNeighbours
from jaxrec.classic.ease import Ease
from jaxrec.client import Client
from jaxrec.data.events import read_log
from jaxrec.data.sources.synthetic import Synthetic
from jaxrec.errors import UserError
from jaxrec.experiment import Experiment
from jaxrec.hybrid.hybrid import Hybrid
from jaxrec.job import run_job
from jaxrec.text_encoder import BagOfWords

CURL = shutil.which("curl")


def started(artifact, *options):
    """(a service of its own process, its address)."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
    command = [sys.executable, "-m", "jaxrec.cli", "serve", "--artifact", str(artifact), "--port", port, *options]
    environment = os.environ | {own_data.QUICK.upper(): "1"}
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    for line in service.stdout:
        if line.startswith("serving"):
            break
    return service, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("client") / "run"
    method = Hybrid(parts=(Ease(l2=20.0), ContentNeighbours(neighbours=20)), folds=1, users=60, candidates=60)
    source = Synthetic(users=60, items=150)
    experiment = Experiment("client", source, encoder=BagOfWords(), method=method, baselines=())
    run_job(experiment, workdir, quiet=True, say=lambda line: None)
    return workdir / "artifact"


@pytest.fixture(scope="module")
def address(artifact):
    service, address = started(artifact)
    yield address
    service.terminate()
    assert service.wait(60) == 0


@pytest.fixture
def client(address):
    return Client(address)


def test_asking_and_telling(client):
    answer = client.recommend("u003", k=4, explain=True)
    assert len(answer.items) == 4 and answer.basis == ("model",) and answer.items[0].reason
    first = answer.items[0].item_id
    client.event("u003", first, "like")
    assert first not in [item.item_id for item in client.recommend("u003", k=30).items]
    assert len(client.similar(first, 3)) == 3
    assert client.profile("u003")["tags"]


def test_what_is_wrong_is_said(client):
    with pytest.raises(UserError, match="k: .*422"):
        client.recommend("u003", k=0)
    with pytest.raises(UserError, match="does not answer"):
        Client("http://127.0.0.1:9", timeout=2).recommend("u003")


def test_an_answer_that_breaks_off_is_none():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def half() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 36\r\n\r\n")

        threading.Thread(target=half, daemon=True).start()
        with pytest.raises(UserError, match="does not answer"):
            Client(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=20).event("u", "i", "view")


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        ("500 Internal Server Error", "Internal Server Error", "Internal Server Error .500."),
        ("502 Bad Gateway", "<html>", "Bad Gateway .502."),
        ("400 Bad Request", "[1]", "Bad Request .400."),
        ("200 OK", "<html>", "not with JSON: is it a jaxrec service"),
    ],
)
def test_an_answer_of_something_else_is_told(status, body, said):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def other() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode())

        threading.Thread(target=other, daemon=True).start()
        with pytest.raises(UserError, match=said):
            Client(f"http://127.0.0.1:{server.getsockname()[1]}", timeout=20).event("u", "i", "view")


def test_no_address_beyond_this_machine_without_a_token(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "jaxrec.cli", "serve", "--artifact", str(tmp_path), "--host", "0.0.0.0"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and "JAXREC_TOKEN" in done.stderr


@pytest.mark.skipif(not CURL, reason="needs curl")
def test_the_readmes_lines_answer(address):
    """Every curl line of the README, with the port of this service."""
    readme = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
    lines = [line for line in readme.splitlines() if line.startswith("curl ")]
    assert len(lines) >= 4
    for line in lines:
        began = time.perf_counter()
        done = subprocess.run(
            ["bash", "-c", line.replace("http://127.0.0.1:8000", address) + " -w '%{http_code}' -s"],
            capture_output=True,
            text=True,
        )
        assert done.stdout[-3:] == "200" and time.perf_counter() - began < 30, (line, done.stdout)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_a_killed_service_keeps_what_it_acknowledged(artifact, tmp_path):
    """kill -9 of the whole service in the middle of a stream of events, and started again on the same log."""
    acknowledged, number = [], 0
    for round_ in range(200):
        service, address = started(artifact, "--events", str(tmp_path / "events.sqlite"))
        client = Client(address, timeout=20)
        found = {event.item_id for event in read_log(tmp_path / "events.sqlite")[0]} if acknowledged else set()
        assert set(acknowledged) <= found, f"round {round_} lost an event"
        killer = threading.Timer(0.2 + 0.1 * (round_ % 4), service.kill)
        killer.start()
        try:
            while True:
                client.event("u003", f"e{number}", "view")
                acknowledged.append(f"e{number}")
                number += 1
        except (UserError, OSError):
            number += 1  # may be kept or not: it was not acknowledged
        service.wait()
    assert len(acknowledged) > 2_000
