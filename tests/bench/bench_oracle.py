"""How far popularity alone could go under one cut in time (T): a ranker that knows how many will want each item in the
test part, though not who.

pytest -m bench -s tests/bench/bench_oracle.py          JAXREC_VARIANT=1m for MovieLens-1M
"""

import os
from dataclasses import replace

import pytest

from jaxrec.classic.popularity import Popular, RecentPopular
from jaxrec.data.holdout import TimeCutoff
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.evaluate.evaluator import evaluate
from jaxrec.experiment import Experiment
from jaxrec.run import prepare

pytestmark = pytest.mark.bench


def test_popularity_to_come():
    source, holdout = MovieLens(os.environ.get("JAXREC_VARIANT", "100k")), TimeCutoff(refit=True)
    final = prepare(Experiment("oracle", source, holdout=holdout, encoder=None, method=Popular(), baselines=())).final
    to_come = final.data.on(replace(final.holdout, train=final.holdout.test))
    fitted = {
        "popular": Popular().fit(final.data),
        "popular in the last 14 days": RecentPopular().fit(final.data),
        "popular in the test part": Popular().fit(to_come),
    }
    print()
    for name, ranker in fitted.items():
        found = evaluate(ranker, final.dataset, final.holdout, "test", ks=(10,))
        print(f"{name:<30}{found['ndcg@10']:.3f}")
