"""One thread that does jobs in order and takes all that wait at once: micro-batches that cost a lone job nothing."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


class Busy(Exception):
    """So many jobs wait that another would only wait too long."""


@dataclass(frozen=True, eq=False)
class Job:
    """what: for the worker's `work`. done: of the event loop `loop`, where the answer is awaited."""

    what: Any
    done: asyncio.Future
    loop: asyncio.AbstractEventLoop

    @property
    def wanted(self) -> bool:
        return not self.done.done()

    def answer(self, value: Any) -> None:
        self._tell(lambda: self.done.set_result(value))

    def fail(self, error: BaseException) -> None:
        self._tell(lambda: self.done.set_exception(error))

    def _tell(self, tell: Callable[[], None]) -> None:
        try:
            self.loop.call_soon_threadsafe(lambda: tell() if self.wanted else None)
        except RuntimeError:  # the loop is closed: nobody waits any more
            pass


@dataclass(eq=False)
class Worker:
    """work(jobs) answers each of up to `at_most` jobs, those that waited when it was free. waiting: jobs at most."""

    name: str
    work: Callable[[list[Job]], None]
    waiting: int = 256
    at_most: int = 16
    _jobs: deque[Job] = field(default_factory=deque)
    _changed: threading.Condition = field(default_factory=threading.Condition)
    _ends: bool = False
    _thread: threading.Thread | None = None

    def start(self) -> "Worker":
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
        self._thread.start()
        return self

    @property
    def depth(self) -> int:
        """How many jobs wait."""
        return len(self._jobs)

    async def do(self, what: Any, seconds: float | None = None) -> Any:
        """The answer. Raises Busy where too many wait, TimeoutError after `seconds`: it is then not begun any more."""
        loop = asyncio.get_running_loop()
        job = Job(what, loop.create_future(), loop)
        with self._changed:
            if self._ends or len(self._jobs) >= self.waiting:
                raise Busy(f"{self.name}: {len(self._jobs)} requests wait")
            self._jobs.append(job)
            self._changed.notify()
        return await asyncio.wait_for(job.done, seconds)

    def stop(self) -> None:
        """Finish what waits, and end."""
        with self._changed:
            self._ends = True
            self._changed.notify()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._ends:
                    self._changed.wait()
                if not self._jobs:
                    return
                jobs = [self._jobs.popleft() for _ in range(min(self.at_most, len(self._jobs)))]
            jobs = [job for job in jobs if job.wanted]
            try:
                if jobs:
                    self.work(jobs)
            except BaseException as error:  # the next jobs are others': they must not wait for ever
                for job in jobs:
                    job.fail(error)
