"""What the service counts, for Prometheus."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from jaxrec.data.events import Done

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(eq=False)
class Meters:
    """A registry of its own, so that several services fit one process."""

    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        at = {"registry": self.registry}
        self._requests = Counter("jaxrec_requests", "Requests by route and status", ("route", "status"), **at)
        self._seconds = Histogram("jaxrec_request_seconds", "Of a request", ("route",), buckets=SECONDS, **at)
        self._batch = Histogram("jaxrec_batch_askers", "Askers answered at once", buckets=(1, 2, 4, 8, 16), **at)
        self._events = Counter("jaxrec_events", "Events kept", ("kind",), **at)
        self._written = Counter("jaxrec_written_reasons", "By the language model", ("faithful",), **at)
        self._waiting = Gauge("jaxrec_waiting", "Requests that wait for the device", **at)
        self._model = Gauge("jaxrec_model_info", "1 for the artifact that answers", ("version",), **at)
        self._drift = Gauge("jaxrec_drift", "Stability index of incoming events", ("of",), **at)

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, askers: int) -> None:
        self._batch.observe(askers)

    def events(self, events: Sequence[Done]) -> None:
        for event in events:
            self._events.labels(event.kind).inc()

    def written(self, faithful: bool) -> None:
        self._written.labels(str(faithful).lower()).inc()

    def model(self, version: str) -> None:
        self._model.clear()
        self._model.labels(version).set(1)

    def text(self, waiting: int, drift: dict) -> bytes:
        """All of it, in Prometheus' text format."""
        self._waiting.set(waiting)
        for name in ("tags", "popularity"):
            if drift[name] is not None:
                self._drift.labels(name).set(drift[name])
        return generate_latest(self.registry)
