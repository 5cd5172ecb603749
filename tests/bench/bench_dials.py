"""What the dials of a list cost and give: MovieLens-100K, R, validation, the ten shown of EASE's first hundred.

pytest -m bench -s tests/bench/bench_dials.py
"""

import pytest

from jaxrec.classic.content import ContentNeighbours
from jaxrec.classic.ease import Ease
from jaxrec.data.holdout import RandomPerUser
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.dials import dial_effects
from jaxrec.experiment import Experiment
from jaxrec.run import judge, prepare

pytestmark = pytest.mark.bench


def test_dials():
    prepared = prepare(Experiment("dials", MovieLens("100k"), holdout=RandomPerUser(), method=ContentNeighbours()))
    judged = prepared.judged("valid")
    result = judge(prepared, Ease().fit(prepared.data), "valid", judged=judged)
    print(f"\n{'':<18}{'NDCG@10':>9}{'coverage':>10}{'diversity':>11}{'miscalibration':>16}{'popularity':>12}")
    for dial in dial_effects(result, judged, prepared.text):
        figures = f"{dial.ndcg:>9.3f}{dial.coverage:>10.3f}{dial.diversity:>11.3f}{dial.miscalibration:>16.3f}"
        print(f"{dial.name:<18}{figures}{dial.popularity:>12.3f}")
