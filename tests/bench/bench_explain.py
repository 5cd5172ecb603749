"""How often a score falls more without the first reason than without another item of the history, on a real artifact.

JAXREC_ARTIFACT=runs/x/artifact pytest -m bench -s tests/bench/bench_explain.py

Items are deleted for real, from the history that is asked with; the other item is drawn among those not named.
"""

import numpy as np
import pytest

from jaxrec.serve.recommender import Recommender

pytestmark = pytest.mark.bench
USERS, ITEMS = 100, 30


def test_the_first_reason_matters_most(artifact):
    recommender = Recommender.load(artifact, check=False)
    catalog, histories = recommender.loaded.catalog, recommender.loaded.users.histories
    draw = np.random.default_rng(0)

    def score(history: list[str], item: str) -> float:
        return recommender.recommend(history=history, k=1, candidates=[item], explain=False)[0].score

    falls = []
    for user in draw.permutation(len(histories.lengths))[:USERS]:
        start, end = histories.offsets[user : user + 2]
        history = [catalog.id(row) for row in histories.item_rows[max(start, end - ITEMS) : end]]
        if len(history) < 5:
            continue
        first = recommender.recommend(history=history, k=1)[0]
        named = [because.item_id for because in first.reason.because]
        if not named:
            falls.append((np.nan, np.nan))
            continue
        gone = named[0], draw.choice([item for item in history if item not in named])
        falls.append([first.score - score([i for i in history if i != item], first.item_id) for item in gone])
    falls = np.array(falls)
    told = ~np.isnan(falls[:, 0])
    more = (falls[told, 0] > falls[told, 1]).mean()
    print(f"\n{artifact}: {len(falls)} first items, {told.mean():.0%} with a past item as the reason")
    print(f"  without it the score falls more than without another item in {more:.1%} of cases")
    print(f"  mean fall {falls[told, 0].mean():.3f}, without another {falls[told, 1].mean():.3f}")
    assert more >= 0.9
