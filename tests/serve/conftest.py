"""One planted artifact for all tests of serving."""

import planted
import pytest

from jaxrec.serve.export import export
from jaxrec.serve.model_card import Card
from jaxrec.serve.recommender import Recommender


@pytest.fixture(scope="session")
def data():
    return planted.dataset()


@pytest.fixture(scope="session")
def ranker(data):
    return planted.ranker(data)


@pytest.fixture(scope="session")
def artifact(data, ranker, tmp_path_factory):
    """The directory. Tests that change it copy it first."""
    path = tmp_path_factory.mktemp("runs") / "artifact"
    export(
        ranker,
        data,
        path,
        histories=planted.histories(data),
        encoder=planted.words(),
        user_text=planted.TEXT,
        name="planted",
        metrics={"Two-tower": {"ndcg@10": 0.31, "recall@10": 0.2}, "users": 40},
        experiment={"seed": 3},
        card=Card(dataset="planted", protocol="nobody is held out"),
        k_max=20,
    )
    return path


@pytest.fixture(scope="session")
def recommender(artifact):
    return Recommender.load(artifact)
