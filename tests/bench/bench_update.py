"""How near an update is to a whole training: MovieLens-100K, the last 5 % of the events being new.

pytest -m bench -s tests/bench/bench_update.py
"""

import time
from dataclasses import replace

import numpy as np
import pytest

from jaxrec.data.holdout import TimeCutoff
from jaxrec.data.interactions import Histories
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.evaluate.ranking import rank_users
from jaxrec.experiment import Experiment
from jaxrec.hybrid.hybrid import Hybrid
from jaxrec.method import Setting
from jaxrec.run import prepare

pytestmark = pytest.mark.bench
NEW = 0.05


def test_an_update_beside_a_whole_training():
    method, setting = Hybrid(), Setting(quiet=True, say=lambda line: None)
    data = prepare(Experiment("update", MovieLens("100k"), holdout=TimeCutoff(), method=method)).data
    log = data.dataset.interactions.by_time()
    before = replace(data, train=log.take(np.arange(int(len(log) * (1 - NEW)))))
    whole = replace(data, train=log)
    seconds, rankers = {}, {}
    for name, fit in (
        ("before", lambda: method.fit(before, setting)),
        ("update", lambda: method.refitted(whole, setting, rankers["before"].arrays.shared["weights"])),
        ("whole training", lambda: method.fit(whole, setting)),
    ):
        began = time.perf_counter()
        rankers[name] = fit()
        seconds[name] = time.perf_counter() - began
    users, items = data.dataset.num_users, data.dataset.num_items
    lists = {
        name: rank_users(
            ranker,
            Histories.of(log, users),
            np.arange(users),
            np.ones(items, bool),
            k=10,
            asked_at=np.full(users, log.timestamps.max()),
            features=data.dataset.users.features.values,
            text=data.user_text,
        ).rows
        for name, ranker in rankers.items()
    }
    for name in ("before", "update"):
        both = zip(lists[name], lists["whole training"], strict=True)
        shared = np.mean([len(set(ours) & set(theirs)) / 10 for ours, theirs in both])
        print(f"{name}: {seconds[name]:.0f} s, shares {shared:.0%} of ten with a whole training")
    print(f"whole training: {seconds['whole training']:.0f} s")
