"""What dials do to judged lists."""

import numpy as np
import pytest

from jaxrec.classic.ease import Ease
from jaxrec.data.cleaning import clean
from jaxrec.data.dataset import index_ids
from jaxrec.data.holdout import RandomPerUser
from jaxrec.data.sources.synthetic import Synthetic
from jaxrec.data.training import TrainingData
from jaxrec.dials import dial_effects
from jaxrec.evaluate.evaluator import Judged, evaluate
from jaxrec.serve.rerank import Dials


@pytest.fixture(scope="module")
def judged():
    data = index_ids(clean(Synthetic(users=150, items=60).load())[0])
    holdout = RandomPerUser()(data)
    judged = Judged.of(data, holdout, "test")
    ranker = Ease(l2=20.0).fit(TrainingData(data, holdout.train, holdout=holdout, rule=RandomPerUser()))
    return judged, evaluate(ranker, data, holdout, "test", ks=(10, 40), judged=judged)


def test_each_dial_does_what_its_name_says(judged):
    judged, result = judged
    settings = (Dials(), Dials(diversity=1.0), Dials(calibration=1.0), Dials(popularity=-1.0), Dials(popularity=1.0))
    plain, diverse, calibrated, rare, famous = dial_effects(result, judged, np.zeros((60, 0)), settings)
    assert plain.name == "as ranked" and rare.name == "popularity −1"
    assert plain.ndcg == pytest.approx(result["ndcg@10"]) and plain.coverage == result["coverage@10"]
    assert plain.miscalibration == pytest.approx(result["miscalibration@10"])
    assert diverse.diversity > plain.diversity and calibrated.miscalibration < plain.miscalibration
    assert rare.popularity < plain.popularity < famous.popularity
