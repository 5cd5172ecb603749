"""What new items cost the others: MovieLens, C-all, test, when n of ten places are kept for items that nobody has yet.

pytest -m bench -s tests/bench/bench_new_items.py          JAXREC_VARIANT=1m for MovieLens-1M
"""

import os
from dataclasses import replace

import numpy as np
import pytest

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
    warm, cold = (
        evaluate(ranker, final.dataset, limited(final.holdout, kind), "test", ks=LIST, user_text=final.user_text)
        for kind in (known, ~known)
    )
    print(f"\n{'places for new items':>20}{'recall of known':>17}{'of new':>8}")
    for new in (0, *LIST):
        figures = warm[f"recall@{10 - new}"] if new < 10 else 0.0, cold[f"recall@{new}"] if new else 0.0
        print(f"{new:>20}{figures[0]:>17.3f}{figures[1]:>8.3f}")


def limited(holdout, kind):
    return replace(holdout, test_candidates=holdout.test_candidates & kind)
