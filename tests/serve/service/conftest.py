"""One service over the planted artifact."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

import planted  # noqa: E402
from fastapi.testclient import TestClient  # noqa: E402

from jaxrec.serve.export import export  # noqa: E402
from jaxrec.serve.service.app import make_app  # noqa: E402
from jaxrec.serve.service.events import EventLog  # noqa: E402
from jaxrec.serve.service.meters import Meters  # noqa: E402
from jaxrec.serve.service.service import Service  # noqa: E402


@pytest.fixture(scope="session")
def data():
    return planted.dataset()


@pytest.fixture(scope="session")
def artifact(data, tmp_path_factory):
    path = tmp_path_factory.mktemp("served") / "artifact"
    export(
        planted.ranker(data),
        data,
        path,
        histories=planted.histories(data),
        encoder=planted.words(),
        user_text=planted.TEXT,
        name="planted",
        k_max=20,
    )
    return path


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


def ids(answer):
    return [item["item_id"] for item in answer["items"]]
