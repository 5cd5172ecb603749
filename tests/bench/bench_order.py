"""What the order of events within one second is worth to a model of what follows what: trained as the file has it, and
with such events shuffled. Says how many of the events share their second with the one before.

pytest -m bench -s tests/bench/bench_order.py          JAXREC_VARIANT=100k for MovieLens-100K
"""

import os
from dataclasses import replace

import numpy as np
import pytest

from jaxrec.classic.popularity import Popular
from jaxrec.classic.slist import Slist
from jaxrec.data.holdout import LeaveLastOut, TimePerUser
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.evaluate.evaluator import evaluate
from jaxrec.experiment import Experiment
from jaxrec.run import prepare

pytestmark = pytest.mark.bench


@pytest.mark.parametrize("holdout", [TimePerUser(), LeaveLastOut()], ids=["TU", "L"])
def test_shuffled_seconds(holdout):
    source = MovieLens(os.environ.get("JAXREC_VARIANT", "1m"))
    prepared = prepare(Experiment("order", source, holdout=holdout, encoder=None, method=Popular(), baselines=()))
    data = prepared.data
    shuffled = replace(data, train=data.train.take(np.random.default_rng(0).permutation(len(data.train))))
    owners, times = data.train.user_rows, data.train.timestamps
    order = np.lexsort((times, owners))
    same = (np.diff(owners[order]) == 0) & (np.diff(times[order]) == 0)
    print(f"\nof {len(order):,} events {same.sum() / len(order):.2f} share their second with the one before")
    for name, known in {"as the file has them": data, "shuffled": shuffled}.items():
        found = evaluate(Slist().fit(known), data.dataset, prepared.holdout, "valid", ks=(10,))
        print(f"{name:<24}{found['ndcg@10']:.3f}")
