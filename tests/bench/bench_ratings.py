"""Predicted ratings of MovieLens-100K: RMSE and MAE, five folds over shuffled rows, mean over folds.

Run: pytest -m bench -s tests/bench/bench_ratings.py
Options were chosen on an inner fifth of the first fold's training part. Beside it, the same folds' counts in Surprise's
published table: SVD .934 and .737, SVD++ .919 and .721.
"""

import time

import numpy as np
import pytest

from jaxrec.classic.ratings import RatingFactors
from jaxrec.data.cleaning import clean
from jaxrec.data.dataset import index_ids
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.evaluate.ratings import cross_validate

pytestmark = pytest.mark.bench

CHOSEN = RatingFactors(factors=20, iterations=50, implicit_l2=4.0, feature_l2=10.0)
METHODS = {
    "biased factors": RatingFactors(factors=20, iterations=50, implicit=False, features=False),
    "and what was rated at all": RatingFactors(factors=20, iterations=50, implicit_l2=4.0, features=False),
    "and features": CHOSEN,
}


def test_ratings_of_movielens_100k():
    data = index_ids(clean(MovieLens("100k").load())[0])
    for name, method in METHODS.items():
        began = time.perf_counter()
        result = cross_validate(method, data)
        spread = np.std([fold.rmse for fold in result.folds], ddof=1) / np.sqrt(len(result.folds))
        took = time.perf_counter() - began
        print(f"{name:<28} RMSE {result.rmse:.4f} (±{spread:.4f} over folds)  MAE {result.mae:.4f}  {took:.0f} s")
