"""What the routes do: questions to the device in micro-batches, events to the disk, one artifact at a time."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.errors import UserError
from jaxrec.serve.asking import Asked
from jaxrec.serve.service import answers
from jaxrec.serve.service.drift import Drift
from jaxrec.serve.service.events import Done, EventLog
from jaxrec.serve.service.live import BATCHES, Live
from jaxrec.serve.service.meters import Meters
from jaxrec.serve.service.wire import Event, Explain, Item, ProfileOf, Recommend, Similar
from jaxrec.serve.service.worker import Job, Worker


@dataclass(frozen=True, eq=False)
class Rank:
    """A question that may be asked together with others."""

    live: Live
    asked: Asked


@dataclass(eq=False)
class Service:
    """`live` is replaced as a whole, so that a request sees one artifact from its beginning to its end.

    batch: askers that are answered at once at most; 1 for one after the other.
    """

    artifact: Path
    log: EventLog
    meters: Meters
    batch: int = BATCHES[-1]
    waiting: int = 256
    live: Live | None = None
    ready: bool = False
    device: Worker = field(init=False)
    disk: Worker = field(init=False)
    _changing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.device = Worker("device", self._on_device, self.waiting, self.batch)
        self.disk = Worker("events", _on_disk, self.waiting, 64)

    def start(self) -> None:
        """Load the artifact and compile its programs. Raises as `Live.load`."""
        self.live = self._loaded()
        self.device.start()
        self.disk.start()
        self.ready = True

    def stop(self) -> None:
        """Answer what waits, keep what is acknowledged, and end."""
        self.ready = False
        self.device.stop()
        self.disk.stop()
        self.log.close()

    def _loaded(self) -> Live:
        live = Live.load(self.artifact)
        if self.log.items:
            live = live.with_items(self.log.items)[0]
        live.warm_up()
        self.meters.model(live.version)
        return live

    async def reload(self) -> str:
        """Load the artifact's directory again; the old one answers until the new one has passed its self-test."""
        async with self._changing:
            self.live = await asyncio.to_thread(self._loaded)
        return self.live.version

    async def recommend(self, request: Recommend) -> dict[str, Any]:
        seconds, live = request.deadline_ms / 1_000, self.live
        until = time.monotonic() + seconds
        events = self.log.of(request.user) if request.user is not None else []
        plan = answers.plan_of(live, request, events)
        nobody = np.zeros(0), np.zeros(0, np.int32)
        ranked = await self.device.do(Rank(live, plan.asked), seconds) if plan.known else nobody
        if plan.plain and _tells(ranked[0]):
            rows = ranked[1][: request.k][ranked[1][: request.k] >= 0]
            scores, parts = ranked[0], [{"model": round(float(score), 4)} for score in ranked[0][: len(rows)]]
        else:
            plan = answers.known_by(plan, ranked[0])
            rows, scores, parts = await self._call(lambda: answers.weighed(plan, ranked), until)
        why = None
        if request.explain and plan.known:
            why = await self._call(lambda: live.recommender.why(plan.asked, rows), until)
        return answers.told(plan, rows, scores, parts, why)

    async def explain(self, request: Explain) -> dict[str, Any]:
        live = self.live
        events = self.log.of(request.user) if request.user is not None else []
        rows, unknown = live.rows(request.items)
        if not len(rows):
            raise UserError("items: none of these ids is in the catalog")
        asked, _, own, strange = answers.asked_of(live, request, events, int(time.time()))
        why = await self._call(lambda: answers.explained(live, asked, own, rows), None)
        return {"items": why, "unknown_items": [*unknown, *strange], "model": live.version}

    async def similar(self, request: Similar) -> dict[str, Any]:
        live = self.live
        found = await self._call(lambda: live.recommender.similar(request.item_id, request.k), None)
        return {"items": [answers.shown(item) for item in found], "model": live.version}

    async def profile(self, request: ProfileOf) -> dict[str, Any]:
        live = self.live
        events = self.log.of(request.user) if request.user is not None else []
        return await self._call(lambda: answers.profiled(live, request, events), None)

    async def keep(self, events: list[Event]) -> dict[str, Any]:
        """Acknowledged when they are on the disk; the very next answer knows them."""
        now, live = int(time.time()), self.live
        done = [Done(e.user, e.item_id, e.kind, e.value, now if e.at is None else e.at) for e in events]
        _, unknown = live.rows(dict.fromkeys(e.item_id for e in events))
        await self.disk.do(lambda: self.log.append(done))
        self.meters.events(done)
        return {"kept": len(done), "unknown_items": unknown}

    async def describe(self, items: list[Item]) -> dict[str, Any]:
        """Add items, so that the next answer ranks them."""
        described = {item.item_id: item.columns for item in items}
        if len(described) < len(items):
            raise UserError("items: an item_id stands twice")
        async with self._changing:
            live, there = await self._call(lambda: self.live.with_items(described), None)
            fresh = {item: columns for item, columns in described.items() if item not in there}
            if fresh:
                await self.disk.do(lambda: self.log.describe(fresh))
            self.live = live
        return {"added": list(fresh), "known_already": there, "items": len(live.catalog)}

    def drift(self) -> dict[str, Any]:
        """How far the events that came in are from those of training."""
        return Drift.of(self.live, self.log).to_json()

    async def infer(self, query: Callable[[Live], tuple]) -> tuple[np.ndarray, np.ndarray]:
        live = self.live
        return await self._call(lambda: live.recommender.loaded.rank(*query(live)), None)

    async def _call(self, function: Callable[[], Any], until: float | None) -> Any:
        """On the device's thread, so that questions and other work do not compete."""
        return await self.device.do(function, None if until is None else max(0.001, until - time.monotonic()))

    def _on_device(self, jobs: list[Job]) -> None:
        together: dict[tuple[int, int], list[Job]] = {}
        for job in jobs:
            if isinstance(job.what, Rank):
                together.setdefault((id(job.what.live), id(job.what.asked.allowed)), []).append(job)
            else:
                _do(job)
        for group in together.values():
            self.meters.batch(len(group))
            try:
                found = group[0].what.live.rank([job.what.asked for job in group])
            except BaseException as error:
                for job in group:
                    job.fail(error)
                continue
            for job, answer in zip(group, found, strict=True):
                job.answer(answer)


def _on_disk(jobs: list[Job]) -> None:
    for job in jobs:
        _do(job)


def _do(job: Job) -> None:
    try:
        job.answer(job.what())
    except BaseException as error:
        job.fail(error)


def _tells(scores: np.ndarray) -> bool:
    """Whether the scores tell items apart; those of somebody of whom a ranker can read nothing do not."""
    there = scores[np.isfinite(scores)]
    return len(there) < 2 or bool(there[0] > there[-1])
