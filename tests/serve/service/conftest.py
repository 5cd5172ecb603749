"""A service over the planted artifact of the folder above."""

import pytest
from fastapi.testclient import TestClient

from jaxrec.serve.service.app import make_app
from jaxrec.serve.service.events import EventLog
from jaxrec.serve.service.meters import Meters
from jaxrec.serve.service.service import Service


@pytest.fixture(scope="session")
def service(artifact, tmp_path_factory):
    return Service(artifact, EventLog(tmp_path_factory.mktemp("log") / "events.sqlite"), Meters())


@pytest.fixture(scope="session")
def client(service):
    with TestClient(make_app(service)) as client:
        yield client


@pytest.fixture
def ask(client):
    """Posts to /v1/NAME, and gives the JSON of an answer that is 200."""

    def ask(name, **body):
        answer = client.post(f"/v1/{name}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return ask
