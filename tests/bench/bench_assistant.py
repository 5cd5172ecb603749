"""What the language model does to a list, and how often its reasons say nothing but the facts. MovieLens-100K, R.

pytest -m bench -s tests/bench/bench_assistant.py
"""

import time

import numpy as np
import pytest

from jaxrec.classic.ease import Ease
from jaxrec.data.fetch import fetch
from jaxrec.data.holdout import RandomPerUser
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.evaluate.evaluator import Judged
from jaxrec.evaluate.ranking import rank_users
from jaxrec.experiment import Experiment
from jaxrec.models.language.decoding import Decoder
from jaxrec.models.language.llama_weights import load_language_model
from jaxrec.run import read_data
from jaxrec.serve.service.assistant import RERANKED, Assistant, Facts

pytestmark = pytest.mark.bench
USERS, REASONS = 120, 40


def ndcg(hits: np.ndarray, positives: int) -> float:
    """Binary NDCG@10 of the hits of a list, in its order."""
    discounts = 1 / np.log2(np.arange(10) + 2)
    return float((hits[:10] * discounts).sum() / discounts[: min(10, positives)].sum())


def test_the_language_model():
    prepared = read_data(Experiment("assistant", MovieLens("100k"), holdout=RandomPerUser(), method=Ease()))
    data, holdout = prepared.dataset, prepared.holdout
    ranker = Ease().fit(prepared.data)
    judged = Judged.of(data, holdout, "valid")
    users = np.sort(np.random.default_rng(0).permutation(judged.user_rows)[:USERS])
    lists = rank_users(ranker, judged.histories, users, judged.candidates, k=RERANKED, asked_at=judged.asked_at)
    titles, tags = data.catalog.titles.to_pylist(), data.catalog.tags
    assistant = Assistant(Decoder(load_language_model(fetch("smollm2"))), tags.names)
    rows, scores = np.asarray(lists.rows), np.asarray(lists.scores)
    before, after, seconds = [], [], []
    chosen = holdout.positives("valid")
    for place, user in enumerate(users):
        wanted = set(chosen.item_rows[chosen.user_rows == user].tolist())
        hits = np.array([row in wanted for row in rows[place]], float)
        history = holdout.train.item_rows[holdout.train.user_rows == user]
        began = time.perf_counter()
        order = assistant.order([titles[r] for r in rows[place]], scores[place], [titles[r] for r in history[-8:]])
        seconds.append(time.perf_counter() - began)
        before.append(ndcg(hits, len(wanted)))
        after.append(ndcg(hits[order], len(wanted)))
    change = np.array(after) - np.array(before)
    error = change.std(ddof=1) / np.sqrt(len(change))
    print(f"\nNDCG@10 of {USERS} users, validation: {np.mean(before):.4f}; reranked {np.mean(after):.4f} ")
    print(f"  change {change.mean():+.4f} (standard error {error:.4f}), {np.median(seconds):.2f} s a list")
    faithful, spent = [], []
    for place in range(REASONS):
        past = holdout.train.item_rows[holdout.train.user_rows == users[place]][-2:]
        row = rows[place, 0]
        facts = Facts(titles[row], tuple(titles[r] for r in past), tuple(tags.of(row)[:3]))
        began = time.perf_counter()
        text, fits = assistant.reason(facts)
        spent.append(time.perf_counter() - began)
        faithful.append(fits)
        if place < 5:
            print(f"  {'faithful' if fits else 'more than the facts'}: {text}")
    print(f"  {np.mean(faithful):.0%} of {REASONS} reasons say nothing but the facts, {np.median(spent):.1f} s each")
