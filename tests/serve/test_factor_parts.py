"""Rating factors and BPR go through the artifact as they are."""

import numpy as np
import planted
import pyarrow as pa
import pytest

from jaxrec.classic.bpr import BprFactors
from jaxrec.classic.ratings import RatingFactors
from jaxrec.data.training import TrainingData
from jaxrec.evaluate.ranking import rank_users
from jaxrec.serve.export import export
from jaxrec.serve.recommender import Recommender
from jaxrec.text_encoder import BagOfWords

pytestmark = pytest.mark.usefixtures("quick_compile_all")

METHODS = [
    RatingFactors(factors=3, iterations=3),
    RatingFactors(factors=3, iterations=3, implicit=False, features=False),
    BprFactors(factors=4, epochs=5),
]


@pytest.mark.parametrize("method", METHODS, ids=lambda m: m.name)
def test_exported_as_in_process(data, method, tmp_path):
    ranker = method.fit(TrainingData(data, data.interactions))
    histories = planted.histories(data)
    export(ranker, data, tmp_path / "a", histories=histories, encoder=BagOfWords(dim=64).load())
    recommender = Recommender.load(tmp_path / "a")
    assert recommender.manifest.max_items is None
    everybody = np.arange(data.num_users)
    features, asked_at = data.users.features.values, np.full(data.num_users, histories.timestamps.max())
    everything = np.ones(data.num_items, bool)
    expected = rank_users(ranker, histories, everybody, everything, k=5, asked_at=asked_at, features=features)
    table = recommender.recommend_many(k=5)
    assert table["item_id"].to_pylist() == data.item_map.take(expected.rows.ravel()).tolist()
    np.testing.assert_allclose(table["score"], expected.scores.ravel(), rtol=1e-4, atol=1e-5)
    if isinstance(method, RatingFactors):
        more = recommender.with_new_items(pa.table({"item_id": ["n1"], "title": ["Film"], "genres": [["Comedy"]]}))
        assert np.isfinite(more.recommend(history=["i1", "n1"], k=3)[0].score)
