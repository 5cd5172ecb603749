"""Methods worked on in several processes at once, each with a jax and a share of the cores of its own."""

import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from jaxrec.config import from_json, to_json
from jaxrec.errors import UserError
from jaxrec.study.run import Say, Work, run
from jaxrec.study.stored import Folder


def run_all(works: Sequence[Work], workers: int, say: Say) -> Iterator[tuple[Work, str | None]]:
    """Each work and why it was left out, None where it was not, as they get done.

    workers: 1 works in this process, one after the other, and jax uses all cores. More start new processes; a program
    that calls this then needs the usual `if __name__ == "__main__"`. Raises UserError where one of them dies.
    """
    if workers == 1 or len(works) < 2:
        for work in works:
            yield work, run(work)
        return
    spawn = multiprocessing.get_context("spawn")
    numbers: Any = spawn.Queue()
    for number in range(workers):
        numbers.put(number)
    pool = ProcessPoolExecutor(min(workers, len(works)), spawn, initializer=_own_cores, initargs=(numbers, workers))
    try:
        waiting = {pool.submit(_run, to_json(w.study), w.key, str(w.folder.path)): w for w in works}
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    except BrokenProcessPool as error:
        raise UserError(
            f"one of {workers} worker processes ended before its work did, most likely for want of memory; start the "
            "same command again with fewer --workers: what was tried already is kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _own_cores(numbers: Any, workers: int) -> None:
    """Before jax starts its threads: this worker's share of the cores, so that workers do not crowd each other."""
    number = numbers.get()
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[number % len(cores) :: workers] or cores)


def _run(study: str, key: str, folder: str) -> str | None:
    return run(Work(from_json(study), key, Folder(Path(folder)), _say))


def _say(text: str) -> None:
    print(text, flush=True)
