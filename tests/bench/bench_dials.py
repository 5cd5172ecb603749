"""What the dials of a list cost and give: MovieLens-100K, R, validation, the ten shown of EASE's first hundred.

pytest -m bench -s tests/bench/bench_dials.py
"""

import numpy as np
import pytest

from jaxrec.classic.content import ContentNeighbours
from jaxrec.classic.ease import Ease
from jaxrec.data.holdout import RandomPerUser
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.evaluate.evaluator import Judged
from jaxrec.evaluate.ranking import rank_users
from jaxrec.experiment import Experiment
from jaxrec.run import prepare
from jaxrec.serve.rerank import Dials, divergence, pick, standard

pytestmark = pytest.mark.bench
SETTINGS = [{}] + [{name: value} for name in ("diversity", "calibration", "novelty") for value in (0.2, 0.5, 1.0)]
SETTINGS += [{"popularity": value} for value in (-1.0, -0.5, 0.5, 1.0)]


def test_dials():
    prepared = prepare(Experiment("dials", MovieLens("100k"), holdout=RandomPerUser(), method=ContentNeighbours()))
    data, text = prepared.dataset, prepared.text
    judged = Judged.of(data, prepared.holdout, "valid")
    ranker = Ease().fit(prepared.data)
    lists = rank_users(ranker, judged.histories, judged.user_rows, judged.candidates, k=100, asked_at=judged.asked_at)
    tags = data.catalog.tags.matrix()
    mix = tags / np.maximum(tags.sum(axis=1, keepdims=True), 1)
    popularity = np.bincount(prepared.holdout.train.item_rows, minlength=data.num_items)
    histories = judged.histories
    discounts = 1 / np.log2(np.arange(10) + 2)
    print(f"\n{'':<22}{'NDCG@10':>9}{'coverage':>10}{'diversity':>11}{'miscalibration':>16}{'median popularity':>19}")
    for setting in SETTINGS:
        gains, shown, apart, far, fame = [], [], [], [], []
        for place, user in enumerate(judged.user_rows):
            rows, scores = np.asarray(lists.rows[place]), np.asarray(lists.scores[place], np.float64)
            own = mix[histories.item_rows[histories.offsets[user] : histories.offsets[user + 1]]].mean(axis=0)
            own = own / max(own.sum(), 1e-9)
            chosen = pick(
                standard(scores),
                10,
                Dials(**setting),
                vectors=text[rows],
                tags=mix[rows],
                wanted=own,
                popularity=popularity[rows],
            )
            best = rows[chosen]
            hits = np.isin(place * data.num_items + best, judged.keys)
            gains.append((hits * discounts).sum() / discounts[: min(10, judged.positives[place])].sum())
            alike = text[best] @ text[best].T
            apart.append(1 - alike[np.triu_indices(10, 1)].mean())
            far.append(divergence(own, mix[best].mean(axis=0)[None])[0])
            shown.append(best)
            fame.append(np.median(popularity[best]))
        name = ", ".join(f"{dial} {value:g}" for dial, value in setting.items()) or "as ranked"
        coverage = len(np.unique(shown)) / data.num_items
        print(
            f"{name:<22}{np.mean(gains):>9.3f}{coverage:>10.3f}{np.mean(apart):>11.3f}{np.mean(far):>16.3f}"
            f"{np.mean(fame):>19.0f}"
        )
