"""Seconds to load an artifact and milliseconds to answer; run with `pytest tests/bench/bench_serve.py -m bench -s`."""

import time

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pytest

from jaxrec.data.dataset import index_ids
from jaxrec.data.interactions import Histories
from jaxrec.data.tables import Tables
from jaxrec.ranker import Arrays
from jaxrec.serve.export import export
from jaxrec.serve.recommender import Recommender

USERS, EVENTS, DIM, LENGTH = 2_000, 40, 64, 50
ROUNDS = 20


class DotRanker:
    """The mean of the history's vectors, times the items'."""

    history_length = LENGTH

    def __init__(self, vectors):
        self.arrays = Arrays({}, {"vector": vectors})

    def user(self, arrays, query):
        known = query.history >= 0
        return (arrays.items["vector"][jnp.where(known, query.history, 0)] * known[:, :, None]).sum(1)

    def score(self, shared, items, user):
        return user @ items["vector"].T


def best(ask) -> float:
    ask()
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        ask()
        times.append(time.perf_counter() - start)
    return 1e3 * min(times)


@pytest.mark.bench
@pytest.mark.parametrize("items", [1_682, 100_000])
def test_serving(items, tmp_path, record_property):
    rng = np.random.default_rng(0)
    rows = rng.integers(0, items, USERS * EVENTS)
    log = pa.table(
        {
            "user_id": pa.array([f"u{u}" for u in np.repeat(np.arange(USERS), EVENTS)]),
            "item_id": pa.array([f"i{r}" for r in rows]),
        }
    )
    catalog = pa.table({"item_id": [f"i{i}" for i in range(items)], "title": [f"Film {i}" for i in range(items)]})
    data = index_ids(Tables(log, catalog, None, "random"))
    ranker = DotRanker(jnp.asarray(rng.normal(size=(items, DIM)), jnp.float32))
    export(ranker, data, tmp_path / "a", histories=Histories.of(data.interactions, data.num_users))
    start = time.perf_counter()
    recommender = Recommender.load(tmp_path / "a")
    load = time.perf_counter() - start
    start = time.perf_counter()
    recommender.recommend(user="u0", explain=False)
    first = time.perf_counter() - start
    many = log.slice(0, 32 * EVENTS)
    figures = {
        "load s": load,
        "first answer s": first,
        "1 query ms": best(lambda: recommender.recommend(user="u1", explain=False)),
        "1 query with reasons ms": best(lambda: recommender.recommend(user="u1")),
        "32 queries ms": best(lambda: recommender.recommend_many(many)),
    }
    print(f"\n{items} items: " + ", ".join(f"{name} {value:.2f}" for name, value in figures.items()))
    for name, value in figures.items():
        record_property(name, value)
