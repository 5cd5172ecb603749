"""How long the full ranking of MovieLens-1M's size takes. Run: pytest -m bench -s tests/bench/bench_evaluate.py"""

import time
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxrec.classic.ease import Ease
from jaxrec.classic.popularity import Popular
from jaxrec.data.holdout import Holdout
from jaxrec.data.interactions import Interactions
from jaxrec.data.training import TrainingData
from jaxrec.evaluate.evaluator import evaluate

USERS, ITEMS, EVENTS = 6_040, 3_706, 1_000_000


def million() -> tuple[SimpleNamespace, Holdout]:
    """Long-tailed users and items, about a million distinct pairs, 8 in 10 to train."""
    draw = np.random.default_rng(0)
    people = draw.lognormal(0, 1, USERS)
    goods = 1 / (10 + np.arange(ITEMS))
    users = draw.choice(USERS, 2 * EVENTS, p=people / people.sum())
    items = draw.choice(ITEMS, 2 * EVENTS, p=goods / goods.sum())
    pairs = draw.permutation(np.unique(users.astype(np.int64) * ITEMS + items))[:EVENTS]
    log = Interactions(
        (pairs // ITEMS).astype(np.int32), (pairs % ITEMS).astype(np.int32), np.arange(len(pairs)), np.ones(len(pairs))
    )
    cuts = np.split(np.arange(len(log)), [int(0.8 * len(log)), int(0.9 * len(log))])
    everything = np.ones(ITEMS, bool)
    features = SimpleNamespace(values=np.zeros((USERS, 0), np.float32))
    data = SimpleNamespace(num_users=USERS, num_items=ITEMS, users=SimpleNamespace(features=features), catalog=None)
    parts = [log.take(cut) for cut in cuts]
    known = np.bincount(parts[0].user_rows, minlength=USERS) > 0
    return data, Holdout(*parts, everything, everything, known)


@pytest.mark.bench
def test_6040_users_over_3706_items_take_seconds():
    data, holdout = million()
    for config in (Popular(), Ease()):
        started = time.perf_counter()
        ranker = config.fit(TrainingData(data, holdout.train))
        jax.block_until_ready(ranker.arrays)
        print(f"{config.name}: fitted in {time.perf_counter() - started:.1f} s")
        for round_ in ("first, with compilation", "again"):
            begun = time.perf_counter()
            result = evaluate(ranker, data, holdout, "test", name=config.name)
            seconds = time.perf_counter() - begun
            print(f"{config.name}: {len(result.user_rows)} users in {seconds:.2f} s ({round_})")
        assert seconds < 30
