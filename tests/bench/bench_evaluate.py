"""How long it takes to rank the whole catalog for every user, beside a product of two item by item matrices.

JAXREC_VARIANT=1m pytest -m bench -s tests/bench/bench_evaluate.py          MovieLens, random per user
"""

import os
import time

import jax
import numpy as np
import pytest

from jaxrec.classic.als import ImplicitAls
from jaxrec.classic.content import ContentNeighbours
from jaxrec.classic.content_ridge import ContentRidge
from jaxrec.classic.ease import Ease
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.classic.next_visit import NextVisit
from jaxrec.classic.popularity import Popular
from jaxrec.classic.random_walk import RandomWalk
from jaxrec.classic.slim import Slim
from jaxrec.classic.slist import Slist
from jaxrec.classic.user_neighbours import UserNeighbours
from jaxrec.data.holdout import RandomPerUser
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.evaluate.evaluator import evaluate
from jaxrec.experiment import Experiment
from jaxrec.hybrid.hybrid import Hybrid
from jaxrec.run import Prepared, prepare

pytestmark = pytest.mark.bench
METHODS = (
    Popular(),
    ItemNeighbours(),
    UserNeighbours(k=150),
    RandomWalk(),
    Ease(),
    Slim(),
    Slist(),
    NextVisit(),
    ImplicitAls(),
    ContentNeighbours(),
    ContentRidge(),
    Hybrid(),
)


def seconds(act) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


def product_of(items: int) -> float:
    """Seconds of the product of two items x items matrices in float32, the best of three."""
    matrix = jax.numpy.asarray(np.random.default_rng(0).normal(size=(items, items)), "float32")
    multiply = jax.jit(lambda a: a @ a)
    return min(seconds(lambda: multiply(matrix).block_until_ready()) for _ in range(4))


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    source = MovieLens(os.environ.get("JAXREC_VARIANT", "100k"))
    prepared = prepare(Experiment("speed", source, holdout=RandomPerUser(), baselines=()))
    items = prepared.dataset.num_items
    print(f"\ntwo {items:,} x {items:,} matrices are multiplied in {product_of(items):.2f} s")
    return prepared


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_user_and_the_whole_catalog(prepared, method):
    judged = prepared.judged("test")
    about = prepared.dataset, prepared.holdout, "test"
    known = {"ks": (10,), "user_text": prepared.user_text, "judged": judged}
    began = time.perf_counter()
    ranker = method.fit(prepared.data)
    jax.block_until_ready(ranker.arrays)
    fitted = time.perf_counter() - began
    first, again = (seconds(lambda: evaluate(ranker, *about, **known)) for _ in range(2))
    asked = f"{len(judged.user_rows):,} users ranked in {again:.2f} s ({first:.2f} s with compiling)"
    print(f"{method.name}: fitted in {fitted:.1f} s, {asked}", flush=True)
    assert again < 30 or isinstance(method, Hybrid)  # which asks all the others
