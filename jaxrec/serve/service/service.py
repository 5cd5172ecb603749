"""What the routes do: questions to the device in micro-batches, events to the disk, one artifact at a time."""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxrec.data.events import WEIGHTS, Done
from jaxrec.errors import JaxrecError, UserError
from jaxrec.models.language.decoding import Decoder
from jaxrec.models.language.llama_weights import load_language_model
from jaxrec.serve.asking import Asked
from jaxrec.serve.explain import Reason
from jaxrec.serve.sentence import Wish, heard
from jaxrec.serve.service import answers
from jaxrec.serve.service.assistant import RERANKED, Assistant, Facts
from jaxrec.serve.service.drift import Drift
from jaxrec.serve.service.events import EventLog
from jaxrec.serve.service.live import BATCHES, Live, by_kinds
from jaxrec.serve.service.meters import Meters
from jaxrec.serve.service.wire import Chat, Event, Explain, Item, ProfileOf, Recommend, Similar
from jaxrec.serve.service.worker import Job, Worker

PATIENCE = 60.0  # seconds that a request waits which names no deadline


@dataclass(frozen=True, eq=False)
class Rank:
    """A question that may be asked together with others."""

    live: Live
    asked: Asked


@dataclass(eq=False)
class Service:
    """`live` is replaced as a whole, so that a request sees one artifact from its beginning to its end.

    batch: askers that are answered at once at most; 1 for one after the other. language: of a language model, None to
    do without. other: a second artifact, to be compared with.
    """

    artifact: Path
    log: EventLog
    meters: Meters
    batch: int = BATCHES[-1]
    waiting: int = 256
    language: Path | None = None
    other: Path | None = None
    live: Live | None = None
    ready: bool = False
    second: Live | None = None
    assistant: Assistant | None = None
    device: Worker = field(init=False)
    disk: Worker = field(init=False)
    speaker: Worker = field(init=False)
    _changing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _ahead: asyncio.Task | None = None
    _ahead_of: tuple[str, int] | None = None

    def __post_init__(self) -> None:
        self.device = Worker("device", self._on_device, self.waiting, self.batch)
        self.disk = Worker("events", _each, self.waiting, 64)
        self.speaker = Worker("language model", _each, 16, 1)

    def start(self) -> None:
        """Load the artifact and compile its programs. Raises as `Live.load`."""
        self.live = self._loaded(self.artifact)
        if self.other is not None:
            self.second = self._loaded(self.other)
        if self.language is not None:
            self.assistant = Assistant(Decoder(load_language_model(self.language)), self.live.catalog.tags.names)
            self.assistant.reason(Facts("A film", (), ()))
        for worker in (self.device, self.disk, self.speaker):
            worker.start()
        self.ready = True

    def stop(self) -> None:
        """Answer what waits, keep what is acknowledged, and end."""
        self.ready = False
        for worker in (self.device, self.disk, self.speaker):
            worker.stop()
        self.log.close()

    def _loaded(self, artifact: Path) -> Live:
        live = Live.load(artifact, self.live if artifact == self.artifact else None)
        for items in by_kinds(self.log.items):
            try:
                live = live.with_items(items)[0]
            except JaxrecError as error:  # kept in the log, for an artifact that can
                left = f"{len(items)} items of {self.log.path} are left out"
                print(f"warning: {left}: {error}", file=sys.stderr, flush=True)
        live.warm_up()
        if artifact == self.artifact:
            self.meters.model(live.version)
        return live

    async def reload(self) -> str:
        """Load the artifact's directory again; the old one answers until the new one has passed its self-test."""
        async with self._changing:
            self.live = await asyncio.to_thread(self._loaded, self.artifact)
            if self.assistant is not None:
                self.assistant = replace(self.assistant, tags=self.live.catalog.tags.names)
        return self.live.version

    async def recommend(self, request: Recommend) -> dict[str, Any]:
        live = self.second if request.other else self.live
        if live is None:
            raise UserError("other: there is no other artifact here: start the service with --other DIR")
        return await self._answered(live, request)

    async def _answered(self, live: Live, request: Recommend, wish: Wish | None = None) -> dict[str, Any]:
        seconds = request.deadline_ms / 1_000
        until = time.monotonic() + seconds
        plan = answers.plan_of(live, request, self._events(live, request.user), wish=wish)
        nobody = np.zeros(0), np.zeros(0, np.int32)
        ranked = await self.device.do(Rank(live, plan.asked), seconds) if plan.known else nobody
        plan = answers.known_by(plan, ranked[0])
        if plan.plain:
            rows = ranked[1][: request.k][ranked[1][: request.k] >= 0]
            scores, parts = ranked[0], [{"model": round(float(score), 4)} for score in ranked[0][: len(rows)]]
        else:
            rows, scores, parts = await self._call(lambda: answers.weighed(plan, ranked), until)
        if request.rerank and len(rows) > 1:
            rows, scores, parts = await self._reordered(plan, rows, scores, parts, until)
        why = None
        if request.explain and plan.known:
            why = await self._call(lambda: live.recommender.why(plan.asked, rows), until)
        return answers.told(plan, rows, scores, parts, why)

    async def explain(self, request: Explain) -> dict[str, Any]:
        live, events = self.live, self._events(self.live, request.user)
        rows, unknown = live.rows(request.items)
        if not len(rows):
            raise UserError("items: none of these ids is in the catalog")
        asked, _, own, strange = answers.asked_of(live, request, events, int(time.time()))
        items, why = await self._call(lambda: answers.explained(live, asked, own, rows))
        if request.written:
            items[0]["written"] = await self._written(answers.facts_of(live, rows[0], why[0]), why[0])
        return {"items": items, "unknown_items": [*unknown, *strange], "model": live.version}

    async def chat(self, request: Chat) -> dict[str, Any]:
        """The wish of the whole conversation, answered; in words where there is a language model."""
        live = self.live
        wish = heard(request.turns, live.catalog.tags.names)
        asker = request.model_dump(exclude={"turns", "k"})
        answer = await self._answered(live, Recommend(**asker, k=request.k, explain=True), wish)
        if not answer["items"]:
            return answer | {"reply": "Nothing in the catalog fits all of that."}
        first = answer["items"][0]
        reply = f"How about {first['title']}?"
        if self.assistant is not None:
            row = int(live.rows([first["item_id"]])[0][0])
            facts = answers.facts_of(live, row, None, wish.text)
            reply = (await self._written(facts, None))["text"]
        return answer | {"reply": reply}

    async def _written(self, facts: Facts, reason: Reason | None) -> dict[str, Any]:
        """A reason by the language model, or the plain one where it says more than the facts."""
        assistant = self._speaks()
        text, faithful = await self.speaker.do(lambda: assistant.reason(facts), PATIENCE)
        self.meters.written(faithful)
        plain = reason.text if reason else f"{facts.title}: {', '.join(facts.tags)}."
        return {"text": text if faithful else plain, "by": "language model" if faithful else "facts"}

    async def _reordered(self, plan, rows, scores, parts, until: float):
        assistant, live, few = self._speaks(), plan.live, min(len(rows), RERANKED)
        titles = [live.catalog.title(row) for row in rows[:few]]
        liked = [live.catalog.title(row) for row in plan.own[-8:]]
        sentence = plan.request.sentence
        left = max(0.001, until - time.monotonic())
        order = await self.speaker.do(lambda: assistant.order(titles, scores[:few], liked, sentence), left)
        order = np.concatenate([order, np.arange(few, len(rows))])
        return rows[order], np.asarray(scores)[order], [parts[place] for place in order]

    def _speaks(self) -> Assistant:
        if self.assistant is None:
            raise UserError("there is no language model here: start the service with --language-model smollm2")
        return self.assistant

    def _events(self, live: Live, user: str | None) -> list[Done]:
        """What the user did that the artifact does not know: what it has of the user, up to its newest event, it
        does."""
        if user is None or not (events := self.log.of(user)):
            return []
        stored, newest = live.stored(user), live.recommender.manifest.asked_at
        return [e for e in events if not (e.at <= newest and e.kind in WEIGHTS and e.item_id in stored)]

    async def similar(self, request: Similar) -> dict[str, Any]:
        live = self.live
        found = await self._call(lambda: live.recommender.similar(request.item_id, request.k))
        return {"items": [answers.shown(item) for item in found], "model": live.version}

    async def profile(self, request: ProfileOf) -> dict[str, Any]:
        live, events = self.live, self._events(self.live, request.user)
        return await self._call(lambda: answers.profiled(live, request, events))

    async def keep(self, events: list[Event]) -> dict[str, Any]:
        """Acknowledged when they are on the disk; the very next answer knows them."""
        now, live = int(time.time()), self.live
        for event in events:
            live.recommender.loaded.contexts.check_event(event.context)
        done = [
            Done(e.user, e.item_id, e.kind, e.value, now if e.at is None else min(e.at, now), e.context or None)
            for e in events
        ]
        _, unknown = live.rows(dict.fromkeys(e.item_id for e in events))
        await self.disk.do(lambda: self.log.append(done))
        self.meters.events(done)
        return {"kept": len(done), "unknown_items": unknown}

    async def describe(self, items: list[Item]) -> dict[str, Any]:
        """Add items, so that the next answer ranks them, or describe known ones anew."""
        described = {item.item_id: item.columns for item in items}
        if len(described) < len(items):
            raise UserError("items: an item_id stands twice")
        async with self._changing:
            if self._ahead and len(self.live.catalog) + len(described) > self.live.recommender.loaded.room:
                await asyncio.wait([self._ahead])
            live, there = await asyncio.to_thread(self.live.with_items, described)  # nobody's answer waits for it
            await self.disk.do(lambda: self.log.describe(described))
            self.live = live
        self._look_ahead(live)
        added = [item for item in described if item not in there]
        return {"added": added, "changed": there, "items": len(live.catalog)}

    def _look_ahead(self, live: Live) -> None:
        """Compile what will be needed when the room for items is used up, before it is; not while the service ends."""
        which = live.version, live.recommender.loaded.room
        if live.crowded and which != self._ahead_of:
            self._ahead_of = which
            self._ahead = asyncio.create_task(asyncio.to_thread(lambda: live.roomier().warm_up(lambda: self.ready)))

    def drift(self) -> dict[str, Any]:
        """How far the events that came in are from those of training."""
        return Drift.of(self.live, self.log).to_json()

    async def infer(self, live: Live, arrays: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
        """(scores, item rows) of the exported function, given (query, seen, allowed)."""
        return await self._call(lambda: live.recommender.loaded.rank(*arrays))

    async def _call(self, function: Callable[[], Any], until: float | None = None) -> Any:
        """On the device's thread, so that questions and other work do not compete. until: of the monotonic clock."""
        return await self.device.do(function, PATIENCE if until is None else max(0.001, until - time.monotonic()))

    def _on_device(self, jobs: list[Job]) -> None:
        together: dict[tuple[int, int], list[Job]] = {}
        for job in jobs:
            if isinstance(job.what, Rank):
                together.setdefault((id(job.what.live), id(job.what.asked.allowed)), []).append(job)
            else:
                _do(job)
        for group in together.values():
            size = group[0].what.live.batch_for(len(group))
            for start in range(0, len(group), size):
                self._rank(group[start : start + size])

    def _rank(self, jobs: list[Job]) -> None:
        self.meters.batch(len(jobs))
        try:
            found = jobs[0].what.live.rank([job.what.asked for job in jobs])
        except BaseException as error:
            for job in jobs:
                job.fail(error)
            return
        for job, answer in zip(jobs, found, strict=True):
            job.answer(answer)


def _each(jobs: list[Job]) -> None:
    for job in jobs:
        _do(job)


def _do(job: Job) -> None:
    try:
        job.answer(job.what())
    except BaseException as error:
        job.fail(error)
