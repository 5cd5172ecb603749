"""Starting the service, and stopping it without losing a request."""

import asyncio
import ipaddress
import os
import signal
import sys
from pathlib import Path

import uvicorn

from jaxrec.data.fetch import fetch
from jaxrec.errors import UserError
from jaxrec.serve.service.app import make_app
from jaxrec.serve.service.events import EventLog
from jaxrec.serve.service.live import BATCHES
from jaxrec.serve.service.meters import Meters
from jaxrec.serve.service.service import Service

TOKEN = "JAXREC_TOKEN"
DRAIN = 30  # seconds that requests have after SIGTERM
HAND_OVER = 2e-4  # seconds: Python's 5 ms would leave the device idle between two batches while requests are read


def serve(
    artifact: Path,
    *,
    host: str,
    port: int,
    events: Path | None,
    language_model: str | None = None,
    other: Path | None = None,
    batching: bool = True,
) -> None:
    """Serve until SIGTERM or SIGINT.

    events: the event log, by default events.sqlite beside the artifact. language_model: a .gguf file, a directory or
    "smollm2". other: a second artifact, to be compared with. The token that requests must bring is that of the
    environment variable JAXREC_TOKEN. SIGHUP loads the artifact's directory again. Raises UserError for an address
    beyond this machine without a token, for a log inside the artifact, and as `Recommender.load`.
    """
    token = os.environ.get(TOKEN) or None
    if token is None and not _loopback(host):
        raise UserError(
            f"--host {host} can be reached from other machines: set a token that requests must bring, {TOKEN}=..."
        )
    sys.setswitchinterval(HAND_OVER)
    log = EventLog(_log_path(artifact, events))
    service = Service(
        artifact, log, Meters(), batch=BATCHES[-1] if batching else 1, language=_model(language_model), other=other
    )
    print(f"loading {artifact} and compiling its programs", flush=True)
    service.start()
    config = uvicorn.Config(
        make_app(service, token),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=DRAIN,
    )
    server = _Server(config)
    server.service = service
    for ended in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises them once more when all is answered: the end is good
        signal.signal(ended, lambda *_: None)
    server.run()
    if not server.started:
        raise UserError(f"--port {port} cannot be used on {host}: it is taken, or not allowed")


class _Server(uvicorn.Server):
    """Not ready as soon as it is told to end, so that a balancer sends nothing more; SIGHUP loads anew."""

    service: Service

    async def startup(self, sockets: list | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            at = f"http://{self.config.host}:{self.config.port}/"
            print(f"serving {self.service.live.version} at {at}", flush=True)
        if hasattr(signal, "SIGHUP"):
            loop = asyncio.get_running_loop()
            loop.add_signal_handler(signal.SIGHUP, lambda: loop.create_task(self._reload()))

    def handle_exit(self, sig: int, frame) -> None:
        self.service.ready = False
        super().handle_exit(sig, frame)

    async def _reload(self) -> None:
        try:
            print(f"serving {await self.service.reload()}", flush=True)
        except Exception as error:  # the old one goes on
            print(f"error: {error}; the artifact before goes on answering", flush=True)


def _model(name: str | None) -> Path | None:
    """A path, or the name of a resource that is fetched."""
    if name is None:
        return None
    return Path(name) if Path(name).exists() else fetch(name)


def _log_path(artifact: Path, events: Path | None) -> Path:
    """Outside of the artifact: what is inside is gone when a new one takes its place."""
    folder = Path(os.path.abspath(artifact))
    path = Path(os.path.abspath(events)) if events else folder.parent / "events.sqlite"
    if path.is_relative_to(folder):
        raise UserError(f"--events {events} is inside the artifact, which is replaced by newer ones: keep it elsewhere")
    return path


def _loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
