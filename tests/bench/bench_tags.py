"""How good tags are on MovieLens-100K: genres of items that hide them, and genres and words of what users choose next.

Run: pytest -m bench -s tests/bench/bench_tags.py
Options are chosen on validation; a table shows validation and test. Titles and years alone are encoded, without genres.
"""

from functools import cache

import numpy as np
import pytest

from jaxrec.classic.ease import Ease
from jaxrec.classic.interaction_matrix import cooccurrence
from jaxrec.data.cleaning import clean
from jaxrec.data.dataset import Dataset, index_ids
from jaxrec.data.features import Tags
from jaxrec.data.holdout import TimeCutoff, TimePerUser
from jaxrec.data.interactions import Histories, distinct_pairs
from jaxrec.data.sources.movielens import MovieLens
from jaxrec.data.text_vectors import unit_text_vectors
from jaxrec.data.training import TrainingData
from jaxrec.data.words import keywords
from jaxrec.embed import embed_texts
from jaxrec.evaluate.evaluator import Judged
from jaxrec.evaluate.ranking import rank_users
from jaxrec.evaluate.tags import Figure, best_threshold, item_tag_figures, mean_figure, user_tag_figures
from jaxrec.serve.likely_tags import LikelyTags
from jaxrec.serve.tag_profiles import base_rates, imagined, tag_counts, tag_scores
from jaxrec.text_encoder import TextEncoder

pytestmark = pytest.mark.bench


@cache
def movies() -> Dataset:
    return index_ids(clean(MovieLens("100k").load())[0])


def shown(figure: Figure) -> str:
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


# --- genres of items that hide them ------------------------------------------------------------------------------


def behaviour_vectors(data: Dataset, dim: int) -> np.ndarray:
    """The leading axes of the items' cosines in the training part, scaled by roots of their eigenvalues."""
    train = TimeCutoff()(data).refit().train
    both = np.asarray(cooccurrence(distinct_pairs(train, data.num_items), data.num_users, data.num_items), np.float64)
    lengths = np.sqrt(np.maximum(both.diagonal(), 1))
    values, axes = np.linalg.eigh(both / lengths[:, None] / lengths[None, :])
    vectors = axes[:, -dim:] * np.sqrt(np.maximum(values[-dim:], 0))
    return np.where(both.diagonal()[:, None] > 0, vectors, 0.0)


def by_neighbours(vectors: np.ndarray, seen: np.ndarray, asked: np.ndarray, truth: np.ndarray, k: int, power: float):
    """Share of each tag among the k nearest seen items, weighted by cosine^power; the base rate where none is near."""
    units = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    cosine = np.maximum(units[asked] @ units[seen].T, 0) ** power
    cosine = np.where(cosine >= -np.sort(-cosine, axis=1)[:, k - 1 : k], cosine, 0)
    return (cosine @ truth[seen] + 1e-3 * truth[seen].mean(0)) / (cosine.sum(1, keepdims=True) + 1e-3)


def by_ridge(vectors: np.ndarray, tags: Tags, seen: np.ndarray, asked: np.ndarray) -> np.ndarray:
    hidden = np.zeros(len(vectors), bool)
    hidden[seen] = True
    known = LikelyTags.fit(vectors * hidden[:, None], tags)
    scores = np.zeros((len(asked), len(tags.names)))
    scores[:, known.tag_rows] = known.scores(vectors[asked])
    without = ~vectors[asked].any(axis=1)
    scores[without] = tags.matrix()[seen].mean(0)
    return scores


def test_hidden_genres():
    data = movies()
    tags, titles = data.catalog.tags, data.catalog.titles.to_pylist()
    truth = tags.matrix() > 0
    rows = np.random.default_rng(0).permutation(np.flatnonzero(truth.any(1)))
    tests, valids = rows[: len(rows) // 5], rows[len(rows) // 5 : 3 * len(rows) // 10]
    encoder = TextEncoder("minilm")
    text = unit_text_vectors(embed_texts(titles, encoder), titles).astype(np.float64)
    names = unit_text_vectors(embed_texts([f"{name} film" for name in tags.names], encoder))
    behaviour = {dim: behaviour_vectors(data, dim) for dim in (32, 64, 128, 256)}

    def both(dim: int, share: float) -> np.ndarray:
        scale = np.sqrt(np.mean(np.square(behaviour[dim]).sum(1)))
        return np.concatenate([behaviour[dim] / scale, share * text], axis=1)

    candidates = {
        "most frequent genres": [lambda seen, asked: np.tile(truth[seen].mean(0), (len(asked), 1))],
        "MiniLM zero-shot cosine": [lambda seen, asked: text[asked] @ names.T],
        "title neighbours": [
            lambda seen, asked, k=k, p=p: by_neighbours(text, seen, asked, truth, k, p)
            for k in (10, 30, 100) for p in (1, 4, 8)
        ],
        "title ridge": [lambda seen, asked: by_ridge(text, tags, seen, asked)],
        "behaviour neighbours": [
            lambda seen, asked, d=d, k=k, p=p: by_neighbours(behaviour[d], seen, asked, truth, k, p)
            for d in behaviour for k in (10, 30, 100) for p in (1, 4)
        ],
        "behaviour ridge": [lambda seen, asked, d=d: by_ridge(behaviour[d], tags, seen, asked) for d in behaviour],
        "behaviour and title ridge": [
            lambda seen, asked, d=d, s=s: by_ridge(both(d, s), tags, seen, asked)
            for d in behaviour for s in (0.5, 1.0, 2.0)
        ],
    }  # fmt: skip
    print(f"\n{len(tests)} items hidden for test, {len(valids)} for validation; micro F1, macro F1, precision@2")
    first, second = np.setdiff1d(rows, [*tests, *valids]), np.setdiff1d(rows, tests)
    results = {}
    for name, ways in candidates.items():
        found = []
        for way in ways:
            scores = way(first, valids)
            threshold = best_threshold(scores, truth[valids])
            found.append((item_tag_figures(scores, truth[valids], threshold), way))
        valid, way = max(found, key=lambda pair: pair[0].micro_f1.value)
        test = item_tag_figures(way(second, tests), truth[tests], valid.threshold)
        results[name] = test
        print(
            f"{name:26} valid {valid.micro_f1.value:.3f} | test {shown(test.micro_f1)} {shown(test.macro_f1)} "
            f"{shown(test.precision)}"
        )
    assert results["behaviour and title ridge"].micro_f1.low > results["most frequent genres"].micro_f1.high


# --- tags of what users choose next ------------------------------------------------------------------------------


def recency(histories: Histories, tau: float, floor: float) -> np.ndarray:
    """floor + exp(-rank / tau) per event, rank 0 the user's latest."""
    ends = np.repeat(histories.offsets[1:], histories.lengths)
    return floor + np.exp(-(ends - 1 - np.arange(len(histories.item_rows))) / tau)


@pytest.mark.parametrize("rule", [TimeCutoff(), TimePerUser()], ids=["T", "TU"])
@pytest.mark.parametrize("kind", ["genres", "words"])
def test_tags_of_the_next_choices(rule, kind):
    data = movies()
    tags = data.catalog.tags if kind == "genres" else keywords(data.catalog.titles, known=data.catalog.tags.names)
    holdout = rule(data)
    table = {}
    for part in ("valid", "test"):
        judged = Judged.of(data, holdout if part == "valid" else holdout.refit(), part)
        for (truth, name, option), figures in methods(data, holdout, judged, tags, part).items():
            table.setdefault((truth, name), {}).setdefault(option, {})[part] = figures
    print(f"\n{rule.__class__.__name__}, {kind}, {len(judged.user_rows)} users in the test; NDCG@5, F1@5, lift@5")
    for (truth, name), options in table.items():
        option = max(options, key=lambda o: np.nanmean(options[o]["valid"].ndcg))
        valid, test = options[option]["valid"], options[option]["test"]
        print(
            f"{truth:10} {name:42} {option:20} valid {np.nanmean(valid.ndcg):.3f} | test "
            f"{shown(mean_figure(test.ndcg))} {shown(mean_figure(test.f1))} {shown(mean_figure(test.lift))}"
        )


def methods(data: Dataset, holdout, judged: Judged, tags: Tags, part: str) -> dict:
    """(truth, method, option) -> figures."""
    held = holdout.positives(part)
    past, users = judged.histories, data.num_users
    base = base_rates(tags, np.bincount(past.item_rows, minlength=data.num_items))
    owner = np.repeat(np.arange(users), past.lengths)

    def counted(user_rows, item_rows, weights):
        counts, totals = tag_counts(tags, user_rows, item_rows, weights, users)
        return counts[judged.user_rows], totals[judged.user_rows]

    next_counts, next_totals = counted(held.user_rows, held.item_rows, np.ones(len(held)))
    truths = {
        "lift": tag_scores(next_counts, next_totals, base, prior=5.0),
        "frequency": next_counts,
    }  # what says how much a tag is worth finding
    ones, rated = np.ones(len(owner)), past.weights.astype(np.float64)
    train = holdout.train if part == "valid" else holdout.refit().train
    ease = Ease(l2=300.0, tau=8.0).fit(TrainingData(data, train))
    ranked = rank_users(ease, past, judged.user_rows, judged.candidates, k=10, asked_at=judged.asked_at).rows
    asked = np.repeat(judged.user_rows, ranked.shape[1])
    shown_counts, shown_totals = counted(asked[ranked.ravel() >= 0], ranked[ranked >= 0], np.ones((ranked >= 0).sum()))
    scores = {("everybody's mix", ""): np.tile(base, (len(judged.user_rows), 1))}
    weights = {"": ones, "rated": rated, "rated from 3": np.maximum(rated - 2, 0.0)}
    taus = [(tau, floor) for tau in (10.0, 30.0, 100.0) for floor in (0.0, 0.1)]
    recent = {f"tau {tau:g} + {floor:g}": recency(past, tau, floor) for tau, floor in taus}
    priors = {f"a={a:g}": ("one prior for all", a) for a in (1.0, 5.0, 20.0, 50.0)}
    priors |= {f"c={c:g}": ("prior by expectation", imagined(base, c)) for c in (1.0, 3.0, 10.0, 30.0, 100.0)}

    def add(name, option, counts, totals):
        scores[f"counting{name}", option] = counts
        for written, (kind, prior) in priors.items():
            scores[f"bits{name}, {kind}", f"{option} {written}"] = tag_scores(counts, totals, base, prior=prior)

    for option, weight in weights.items():
        counts, totals = counted(owner, past.item_rows, weight)
        scores["lift as it is", option] = counts / np.maximum(totals, 1e-9)[:, None] / np.maximum(base, 1e-9)
        add("", option, counts, totals)
    for option, weight in recent.items():
        add(", recent", option, *counted(owner, past.item_rows, weight))
    counts, totals = counted(owner, past.item_rows, ones)
    add(" of EASE's ten", "", shown_counts, shown_totals)
    for times in (0.5, 1.0, 2.0, 5.0):
        add(" of both", f"{times:g}", counts + times * shown_counts, totals + times * shown_totals)
    return {
        (truth, *name): user_tag_figures(given, gains, next_counts, next_totals, base)
        for truth, gains in truths.items()
        for name, given in scores.items()
    }
