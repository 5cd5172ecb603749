"""Sentences with known right answers, on MovieLens-1M: the service's way beside plain cosine of the same vectors.

pytest -m bench -s tests/bench/bench_sentences.py
"""

import csv
from pathlib import Path

import numpy as np
import pytest

from jaxrec.classic.popularity import Popular
from jaxrec.data.holdout import TimeCutoff
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.experiment import Experiment
from jaxrec.job import export_ranker
from jaxrec.run import prepare
from jaxrec.serve.service.answers import filtered, plan_of, weighed
from jaxrec.serve.service.live import Live
from jaxrec.serve.service.wire import Filters, Recommend
from jaxrec.text_encoder import TextEncoder

pytestmark = pytest.mark.bench


def queries() -> list[tuple[str, Filters, str]]:
    """(sentence, what right answers fit, what their titles have)."""

    def tags(cell: str) -> list[str]:
        return [tag for tag in cell.split("|") if tag]

    with open(Path(__file__).parent / "sentences.tsv", encoding="utf-8", newline="") as file:
        return [
            (
                row["sentence"],
                Filters(
                    all_tags=tags(row["all_tags"]),
                    no_tags=tags(row["no_tags"]),
                    year_from=int(row["year_from"]) if row["year_from"] else None,
                    year_to=int(row["year_to"]) if row["year_to"] else None,
                ),
                row["title"],
            )
            for row in csv.DictReader(file, delimiter="\t")
        ]


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    experiment = Experiment(
        name="sentences", source=MovieLens("1m"), holdout=TimeCutoff(), method=Popular(), encoder=TextEncoder()
    )
    prepared = prepare(experiment)
    path = tmp_path_factory.mktemp("sentences") / "artifact"
    export_ranker(prepared, Popular().fit(prepared.data), path)
    return Live.load(path)


def test_sentences(live):
    found = {"the service": [], "plain cosine": []}
    for sentence, filters, title in queries():
        right = filtered(live, filters, len(live.catalog))
        right &= np.array([title in name.lower() for name in live.catalog.titles.to_pylist()])
        assert right.any(), f"{sentence!r} has no right answer in this catalog"
        plan = plan_of(live, Recommend(sentence=sentence, k=10), [])
        rows, _, _ = weighed(plan, (np.zeros(0), np.zeros(0, np.int32)))
        plain = np.argsort(-(live.texts @ live.encode(sentence)), kind="stable")[:10]
        most = min(10, int(right.sum()))
        for name, answer in (("the service", rows), ("plain cosine", plain)):
            found[name].append((float(right[answer].any()), right[answer].sum() / most))
        if not right[rows].any():
            print(f"  nothing right for: {sentence}; {plan.wish}")
    print(f"{len(found['the service'])} sentences: hit rate at 10, recall at 10 (of at most 10 right answers)")
    for name, values in found.items():
        print(f"  {name:<14}" + "  ".join(f"{value:.3f}" for value in np.mean(values, axis=0)))
    ours, plain = (np.mean(values, axis=0) for values in found.values())
    assert ours[0] > plain[0] + 0.1
