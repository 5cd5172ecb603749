"""The service's latency and throughput, beside itself without batching and beside a plain FastAPI handler with numpy.

JAXREC_ARTIFACT=runs/x/artifact pytest -m bench -s tests/bench/bench_service.py

Closed loop over loopback: each connection asks again as soon as it is answered, a history of 20 items for the ten best,
reasons off. The plain handler sums the rows of one item by item matrix in numpy and sorts: no filters, no events, no
checks, one matrix, so it is a floor and no peer.
"""

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import jax
import numpy as np
import pytest

from jaxrec.serve.recommender import Recommender
from jaxrec.serve.tensors import read_tensors

pytestmark = pytest.mark.bench
HISTORY, SECONDS = 20, 8.0
HEAD = b"POST /v1/recommend HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)

PLAIN = """
import sys
import numpy as np, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from jaxrec.serve.recommender import Recommender
from jaxrec.serve.tensors import read_tensors
recommender = Recommender.load(sys.argv[1])
tensors = read_tensors(recommender.loaded.files.root / "items.safetensors")
weights = np.array(next(t for name, t in tensors.items() if name.endswith("by_history")))
ids = recommender.loaded.catalog.ids
class Ask(BaseModel):
    history: list[str]
    k: int
app = FastAPI()
@app.get("/readyz")
def ready(): return {}
@app.post("/v1/recommend")
async def recommend(ask: Ask):
    rows = ids.find(ask.history)
    scores = weights[rows].sum(axis=0)
    scores[rows] = -np.inf
    best = np.argpartition(-scores, ask.k)[: ask.k]
    best = best[np.argsort(-scores[best])]
    return {"items": [{"item_id": ids.ids[int(row)].as_py(), "score": float(scores[row])} for row in best]}
uvicorn.run(app, port=int(sys.argv[2]), log_level="warning")
"""


@contextmanager
def served(command: list[str], port: int, **environment: str):
    """Seconds until it is ready, while it serves."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=os.environ | environment)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1)
                break
            except OSError:
                assert process.poll() is None, "the service did not start"
                time.sleep(0.5)
        else:
            raise AssertionError("the service was not ready in five minutes")
        yield time.perf_counter() - began
    finally:
        process.terminate()
        process.wait(60)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


async def closed_loop(port: int, bodies: list[bytes], connections: int, seconds: float) -> np.ndarray:
    """Seconds of each answer."""
    found: list[float] = []
    until = time.perf_counter() + seconds

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        place = number
        while time.perf_counter() < until:
            body = bodies[place % len(bodies)]
            place += connections
            began = time.perf_counter()
            writer.write(HEAD % len(body) + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            length = next(
                int(h.split(b":")[1]) for h in answer.split(b"\r\n") if h.lower().startswith(b"content-length")
            )
            await reader.readexactly(length)
            found.append(time.perf_counter() - began)
        writer.close()

    await asyncio.gather(*(one(number) for number in range(connections)))
    return np.array(found)


def test_latency_and_throughput(artifact, tmp_path):
    recommender = Recommender.load(artifact, check=False)
    draw, ids = np.random.default_rng(0), recommender.loaded.catalog.ids.ids.to_pylist()
    fame = recommender.loaded.catalog.popularity / recommender.loaded.catalog.popularity.sum()
    bodies = [
        json.dumps({"history": [ids[row] for row in draw.choice(len(ids), HISTORY, False, fame)], "k": 10}).encode()
        for _ in range(200)
    ]
    print(f"\n{artifact}, {len(ids)} items")
    for askers, items in ((1, HISTORY), (16, HISTORY), (1, 100), (1, 400), (1, 800)):
        histories = [[ids[row] for row in draw.choice(len(ids), items, False, fame)] for _ in range(askers)]
        query, seen, allowed = zip(*(recommender.asked(history=history) for history in histories), strict=True)
        one = jax.tree.map(lambda *rows: np.concatenate(rows), *query)
        together = one, np.concatenate(seen), allowed[0]
        times = []
        for _ in range(100):
            began = time.perf_counter()
            recommender.loaded.rank(*together)
            times.append(time.perf_counter() - began)
        print(f"the exported function alone, {askers} of {items} items: p50 {np.median(times[20:]) * 1e3:.2f} ms")
    base = [sys.executable, "-m", "jaxrec.cli", "serve", "--artifact", str(artifact)]
    log = ["--events", str(tmp_path / "events.sqlite")]
    tensors = read_tensors(recommender.loaded.files.root / "items.safetensors")
    matrix = any(name.endswith("by_history") for name in tensors)
    print(f"{'':<28}{'1 connection, p50 / p99 ms':>28}{'16 connections':>20}{'requests/s 1 / 16':>22}")
    rates = {}
    for name in ("batching", "no batching", *(["plain FastAPI and numpy"] if matrix else [])):
        port = free_port()
        command = [*base, *log, "--port", str(port), *(["--no-batching"] if name == "no batching" else [])]
        if name.startswith("plain"):
            command = [sys.executable, "-c", PLAIN, str(artifact), str(port)]
        with served(command, port):
            asyncio.run(closed_loop(port, bodies, 4, 2.0))
            alone = asyncio.run(closed_loop(port, bodies, 1, SECONDS))
            many = asyncio.run(closed_loop(port, bodies, 16, SECONDS))
        p = [f"{np.percentile(t, 50) * 1e3:.1f} / {np.percentile(t, 99) * 1e3:.1f}" for t in (alone, many)]
        rates[name] = len(many) / SECONDS
        print(f"{name:<28}{p[0]:>28}{p[1]:>20}{len(alone) / SECONDS:>12.0f} / {rates[name]:.0f}", flush=True)
    print(f"throughput at 16 connections, batching over none: {rates['batching'] / rates['no batching']:.2f}")


def test_the_first_start_and_the_next(artifact, tmp_path):
    """The first compiles all programs, the next finds them kept."""
    command = [sys.executable, "-m", "jaxrec.cli", "serve", "--artifact", str(artifact)]
    print()
    for which in ("first", "next"):
        port = free_port()
        log = ["--events", str(tmp_path / f"{which}.sqlite")]
        kept = {"XDG_CACHE_HOME": str(tmp_path), "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "programs")}
        with served([*command, *log, "--port", str(port)], port, **kept) as seconds:
            print(f"the {which} start: ready after {seconds:.0f} s", flush=True)
