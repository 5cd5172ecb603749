"""What new items cost the others: MovieLens, C-all, test, when n of ten places are kept for items that nobody has yet.

Beside it what an oracle would reach who knows of each new item how many will want it, though not who.

pytest -m bench -s tests/bench/bench_new_items.py          JAXREC_VARIANT=1m for MovieLens-1M
"""

import os
from dataclasses import replace

import numpy as np
import pytest

from jaxrec.classic.popularity import Popular
from jaxrec.data.holdout import ColdItems
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.evaluate.evaluator import evaluate
from jaxrec.experiment import Experiment
from jaxrec.hybrid.hybrid import Hybrid
from jaxrec.run import fit_final, prepare, setting_of

pytestmark = pytest.mark.bench

LIST = tuple(range(1, 11))


def test_places_for_new_items(tmp_path):
    source, holdout = MovieLens(os.environ.get("JAXREC_VARIANT", "100k")), ColdItems(candidates="all", refit=True)
    prepared = prepare(Experiment("new", source, holdout=holdout, method=Hybrid(balance=0.5)))
    ranker = fit_final(prepared.experiment.method, prepared, setting_of(prepared, tmp_path, quiet=True))
    final, items = prepared.final, prepared.dataset.num_items
    known = np.bincount(final.holdout.train.item_rows, minlength=items) > 0
    oracle = Popular().fit(final.data.on(replace(final.holdout, train=final.holdout.test)))
    warm, cold, foreseen = (
        evaluate(judged, final.dataset, limited(final.holdout, kind), "test", ks=LIST, user_text=final.user_text)
        for judged, kind in ((ranker, known), (ranker, ~known), (oracle, ~known))
    )
    print(f"\n{'places for new items':>20}{'recall of known':>19}{'of new':>15}{'by an oracle':>16}")
    for new in (0, *LIST):
        places = ((warm, 10 - new), (cold, new), (foreseen, new))
        print(f"{new:>20}   " + "".join(f"{said(figure, count):>16}" for figure, count in places))


def said(result, count):
    """Recall of so many places with its standard error."""
    if count == 0:
        return "0"
    return f"{result[f'recall@{count}']:.3f} ±{result.standard_errors[f'recall@{count}']:.3f}"


def limited(holdout, kind):
    return replace(holdout, test_candidates=holdout.test_candidates & kind)
