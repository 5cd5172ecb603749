"""The classic rankers on real data reach the figures that others measured on the same splits."""

import numpy as np
import pytest

from jaxrec.classic.ease import Ease
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.classic.popularity import Popular, RecentPopular
from jaxrec.data.cleaning import clean
from jaxrec.data.dataset import index_ids
from jaxrec.data.holdout import LeaveLastOut, RandomPerUser, TimeCutoff
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.data.training import TrainingData
from jaxrec.evaluate.evaluator import evaluate


@pytest.fixture(scope="module")
def data():
    return index_ids(clean(MovieLens("100k").load())[0])


@pytest.mark.parametrize(
    ("rule", "ranker", "ndcg"),
    [
        (TimeCutoff(), Popular(), 0.129),
        (TimeCutoff(), RecentPopular(), 0.248),
        (TimeCutoff(), Ease(), 0.165),
        (RandomPerUser(), Popular(), 0.134),
        (RandomPerUser(), Ease(), 0.328),
        (RandomPerUser(), ItemNeighbours(), 0.280),
        (RandomPerUser(), ItemNeighbours(similarity="jaccard"), 0.267),
        (LeaveLastOut(), Popular(), 0.045),
        (LeaveLastOut(), Ease(tau=8.0), 0.108),
    ],
)
def test_known_figures_of_movielens_100k(data, rule, ranker, ndcg):
    holdout = rule(data).refit()
    result = evaluate(ranker.fit(TrainingData(data, holdout.train)), data, holdout, "test", ks=(10,))
    assert result["ndcg@10"] == pytest.approx(ndcg, abs=0.001)
    counts = holdout.counts()
    assert (len(result.user_rows), result.positives.sum()) == (counts["users"], counts["positives"])
    taken = set(zip(holdout.train.user_rows, holdout.train.item_rows, strict=True))
    assert not taken & set(zip(np.repeat(result.user_rows, 10), result.rows.ravel(), strict=True))
