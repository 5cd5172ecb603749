"""Neighbours by entities and text: planted studios, and what each of the two adds."""

import numpy as np
import pyarrow as pa
import pytest

from jaxrec.classic.knowledge import KnowledgeNeighbours
from jaxrec.data.dataset import index_ids
from jaxrec.data.interactions import Histories
from jaxrec.data.knowledge import entity_vectors
from jaxrec.data.queries import gather_queries
from jaxrec.data.tables import KnowledgeTables, Tables
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.item_axis import BY_HISTORY
from jaxrec.ranker import Query, score_all
from jaxrec.serve.export import export

ITEMS = 12
STUDIO, GENRE = np.arange(ITEMS) % 2, np.arange(ITEMS) % 3


@pytest.fixture(scope="module")
def data() -> TrainingData:
    """u0 has i0 and u1 has i1; films of a studio share its people, films of a genre their text. i11 is not linked."""
    people = [(f"e{i}", "actor", f"p{STUDIO[i]}-{(i // 2 + j) % 4}") for i in range(ITEMS - 1) for j in range(2)]
    heads, relations, tails = (list(column) for column in zip(*people, strict=True))
    triples = pa.table({"head_id": heads, "relation_id": relations, "tail_id": tails})
    names = [f"i{i}" for i in range(ITEMS)]
    links = pa.table({"item_id": names[:-1], "entity_id": [f"e{i}" for i in range(ITEMS - 1)]})
    log = pa.table({"user_id": ["u0", "u1"], "item_id": ["i0", "i1"]})
    catalog = pa.table({"item_id": names, "title": names})
    dataset = index_ids(Tables(log, catalog, None, "planted", KnowledgeTables(triples, links, "planted")))
    return TrainingData(dataset, dataset.interactions, np.eye(3, dtype=np.float32)[GENRE])


def scores(ranker, data) -> np.ndarray:
    query = Query(*gather_queries(Histories.of(data.train, 2), np.arange(2), 4, 10**6))
    return np.asarray(score_all(ranker, ranker.arrays, query))


def test_entities_alone_tell_the_studio(data):
    found = scores(KnowledgeNeighbours().fit(TrainingData(data.dataset, data.train)), data)
    others = np.arange(2, ITEMS - 1)
    assert (found[0, others][STUDIO[others] == 0] > 0).sum() >= 3 and found[0, others][STUDIO[others] == 1].max() < 1e-9
    assert not found[:, -1].any()  # nothing is known of it


def test_scores_are_the_weighted_cosines(data):
    method = KnowledgeNeighbours(weight=0.5, power=2.0)
    found = scores(method.fit(data), data)
    entities = entity_vectors(data.dataset.knowledge, ITEMS).astype(np.float64)
    vectors = np.concatenate([data.text, 0.5 * entities], axis=1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    likeness = np.maximum(vectors @ vectors.T, 0) ** 2 * (1 - np.eye(ITEMS))
    expected = (likeness / likeness.sum(1, keepdims=True))[:, :2].T
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found[0, 6] == found[0].max()  # of the same studio and genre


def test_new_items_are_placed_by_text(data):
    ranker = KnowledgeNeighbours().fit(data)
    placed = ranker.embed_items(ranker.arrays.shared, data.text[:1])
    np.testing.assert_allclose(placed[BY_HISTORY][:, 0], (GENRE == 0) / 4, atol=1e-6)


def test_it_is_exported(data, tmp_path):
    export(KnowledgeNeighbours().fit(data), data.dataset, tmp_path / "a", histories=Histories.of(data.train, 2))
    assert (tmp_path / "a").is_dir()


def test_data_without_knowledge_is_refused(data):
    log = pa.table({"user_id": ["u0", "u1"], "item_id": ["i0", "i1"]})
    without = index_ids(Tables(log, None, None, "none"))
    with pytest.raises(UserError, match="knowledge=True"):
        KnowledgeNeighbours().fit(TrainingData(without, without.interactions))
