"""A service in this process, and its page in a real browser."""

import asyncio
import contextlib
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from jaxrec.serve.service.app import make_app
from jaxrec.serve.service.events import EventLog
from jaxrec.serve.service.meters import Meters
from jaxrec.serve.service.service import Service

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needed = pytest.mark.skipif(not CHROMIUM, reason="needs Chromium")


@contextlib.contextmanager
def served(artifact: Path, log: Path) -> Iterator[str]:
    """The address of a service of the artifact, ready."""
    service = Service(artifact, EventLog(log), Meters())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(make_app(service), port=port, log_level="error"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}/"
    finally:  # a thread that is left would keep the tests from ending
        server.should_exit = True
        thread.join()


@contextlib.contextmanager
def opened(address: str):
    """Its page on a phone, with the first list; it may say nothing on the console, and ask nobody else for anything."""
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        faults, outside = [], []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: outside.append(request.url) if address not in request.url else None)
        page.goto(address)
        page.wait_for_selector(".card")
        yield page
        assert faults == [] and outside == []
        browser.close()


def titles(page) -> list[str]:
    return page.locator("#cards h3").all_inner_texts()


def changed(page, act) -> list[str]:
    """The titles after something that changes the list."""
    before = titles(page)
    act()
    for _ in range(100):
        page.wait_for_timeout(50)
        if titles(page) != before and not page.locator("#cards.old").count():
            return titles(page)
    raise AssertionError("the list did not change")
