"""The blend finds what its parts know, learns without the held-out part, and is exported as it is."""

from dataclasses import replace
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.classic.als import ImplicitAls
from jaxrec.classic.content import ContentNeighbours
from jaxrec.classic.ease import Ease
from jaxrec.classic.linear import LinearRanker
from jaxrec.classic.neighbours import ItemNeighbours
from jaxrec.classic.popularity import Popular
from jaxrec.data.cleaning import clean
from jaxrec.data.dataset import index_ids
from jaxrec.data.given import Given
from jaxrec.data.holdout import ColdItems, LeaveLastOut, RandomPerUser, TimeCutoff
from jaxrec.data.interactions import SECONDS_PER_DAY, Interactions
from jaxrec.data.sources.synthetic import Synthetic
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.evaluate.evaluator import evaluate
from jaxrec.hybrid.ablation import SIGNALS, shares, told_apart
from jaxrec.hybrid.folds import inner_folds
from jaxrec.hybrid.hybrid import Hybrid
from jaxrec.hybrid.learning import LIST, SOFTNESS, _smooth, learn, ndcg
from jaxrec.hybrid.lessons import Lessons, _best_places
from jaxrec.hybrid.ranker import Weights, _after, join
from jaxrec.hybrid.signals import (
    HALF_LIVES,
    KNOTS,
    MOST_NUMBERS,
    NAMES,
    NEW,
    STANDING,
    item_signals,
    latest,
    standing,
)
from jaxrec.item_axis import BY_HISTORY, count_items
from jaxrec.method import Setting
from jaxrec.ranker import BEHAVIOUR, CONTENT, POPULARITY, Arrays, Query, score_all
from jaxrec.serve.export import export
from jaxrec.serve.recommender import Recommender
from jaxrec.train.loop import Train
from jaxrec.train.trained import Trained

pytestmark = pytest.mark.usefixtures("quick_compile_all")

PARTS = (Ease(l2=20.0), ItemNeighbours(k=20), Popular())
NO_NUMBERS = np.zeros((3, 0), np.float32)  # of three items


@pytest.fixture(scope="module")
def data():
    return index_ids(clean(Synthetic(users=150, items=60).load())[0])


@pytest.fixture(scope="module")
def fitted(data):
    holdout = RandomPerUser()(data).refit()
    known = TrainingData(data, holdout.train, holdout=holdout, rule=RandomPerUser())
    return known, Hybrid(parts=PARTS, folds=2, users=100).fit(known)


def query_of(history, length=None):
    rows = np.full((1, length or len(history)), -1, np.int32)
    rows[0, : len(history)] = history
    ones = (rows >= 0).astype(np.float32)
    return Query(jnp.asarray(rows), jnp.asarray(ones), jnp.asarray(ones), jnp.zeros((1, 0)), jnp.zeros((1, 0)))


def test_the_best_place_is_the_least_by_any_key_and_ties_keep_the_order_of_the_catalog():
    draw, depth = np.random.default_rng(3), 6
    keys = draw.integers(0, 5, (4, 30, 3)).astype(np.float32)  # many are equal
    may = draw.random((4, 30)) < 0.6
    may[3] = np.arange(30) < 2  # fewer than are asked for
    sunk = np.where(may[..., None], -keys, np.inf)
    places = np.argsort(np.argsort(sunk, axis=1, kind="stable"), axis=1).min(axis=-1)
    np.testing.assert_array_equal(_best_places(jnp.asarray(keys), jnp.asarray(may), depth), np.minimum(places, depth))


def test_signals_are_standardised_counts_of_events_that_fade():
    days = np.array([0, 30, 40])
    log = Interactions(np.arange(3, dtype=np.int32), np.array([0, 1, 1], np.int32), days * SECONDS_PER_DAY, np.ones(3))
    signals = item_signals(log, NO_NUMBERS)
    assert signals.shape == (3, len(NAMES)) and signals.dtype == np.float32
    np.testing.assert_array_equal(signals[2], [0] * (len(NAMES) - 1) + [1])  # nobody has it
    for column, days in enumerate(HALF_LIVES, start=2):
        raw = np.array([2 ** (-40 / days), 2 ** (-10 / days) + 1])
        np.testing.assert_allclose(signals[:2, column], (raw - raw.mean()) / raw.std(), rtol=1e-5)


def test_signals_tell_when_an_item_is_taken_and_how_it_is_rated():
    hours = np.array([0, 0, 2, 2, 5])
    users, items = np.array([0, 1, 0, 1, 1], np.int32), np.array([0, 0, 1, 0, 1], np.int32)
    log = Interactions(users, items, 1_000_000 + hours * 3_600, np.array([1, 2, 3, 4, 5], np.float32))
    signals = item_signals(log, NO_NUMBERS)
    taken, rated = (signals[:, NAMES.index(name)] for name in ("hours of its users before it", "weight"))
    np.testing.assert_allclose(taken, [-1, 1, 0], rtol=1e-5)  # of two items, those of returning users stand above
    np.testing.assert_allclose(rated, [-1, 1, 0], rtol=1e-5)
    last = log.take(np.array([0, 1, 3]))  # one item, all alike
    assert (item_signals(last, NO_NUMBERS)[:, :NEW] == 0).all()


def test_the_signals_of_numbers_are_lines_with_bends_and_say_nothing_of_new_items():
    numbers = np.stack([np.arange(9), np.full(9, 7)], axis=1).astype(np.float32)  # the second is the same for all
    rows, one = np.arange(8, dtype=np.int32), 1 + len(KNOTS)
    log = Interactions(np.zeros_like(rows), rows, np.zeros(8, np.int64), np.ones(8))  # nobody has the last
    signals = item_signals(log, numbers)
    assert signals.shape == (9, 2 * one + len(NAMES))
    lines = np.stack([np.arange(8), *(np.maximum(np.arange(8) - k, 0) for k in np.quantile(np.arange(8), KNOTS))], 1)
    np.testing.assert_allclose(signals[:8, :one], (lines - lines.mean(axis=0)) / lines.std(axis=0), atol=1e-6)
    np.testing.assert_array_equal(signals[:, one : 2 * one], 0)
    np.testing.assert_array_equal(signals[8], [0] * (signals.shape[1] - 1) + [1])
    assert item_signals(log, numbers[:, :1].repeat(MOST_NUMBERS, axis=1)).shape[1] == MOST_NUMBERS * one + len(NAMES)
    np.testing.assert_array_equal(
        item_signals(log, numbers[:, :1].repeat(MOST_NUMBERS + 1, axis=1)), item_signals(log, numbers[:, :0])
    )


def test_standing_tells_how_long_somebody_has_been_here_and_been_away():
    query = query_of([4, 5, 6], length=5)
    ages = jnp.asarray([[400.0, 30.0, 2.0, 0.0, 0.0]])  # days; 0 where padded
    nobody = replace(query, history=jnp.full((1, 5), -1))
    found = [dict(zip(STANDING, np.asarray(standing(replace(q, ages=ages)))[0], strict=True)) for q in (query, nobody)]
    for one, away, here in zip(found, (2.0, 0.0), (400.0, 0.0), strict=True):
        assert one["always"] == 1
        np.testing.assert_allclose(one["since the last event"], (np.log1p(away) - 2) / 2, rtol=1e-5)
        np.testing.assert_allclose(one["since the first event"], (np.log1p(here) - 3) / 2, rtol=1e-5)


def test_latest_keeps_the_last_events():
    query = latest(query_of([4, 5, 6, 7], length=6), 3)
    np.testing.assert_array_equal(query.history, [[5, 6, 7]])
    query = latest(query_of([4, 5], length=6), 3)
    np.testing.assert_array_equal(query.history, [[4, 5, -1]])
    np.testing.assert_array_equal(query.weights, [[1, 1, 0]])


@pytest.mark.parametrize(
    "rule", [TimeCutoff(), LeaveLastOut(), RandomPerUser(), ColdItems()], ids=lambda r: type(r).__name__
)
def test_inner_folds_hold_only_the_training_part(data, rule):
    outer = rule(data)
    known = set(zip(outer.train.user_rows, outer.train.item_rows, strict=True))
    folds = inner_folds(rule, data, outer.train, 3)
    assert len(folds) == 3
    sizes = set()
    for fold in folds:
        rows = set(zip(fold.train.user_rows, fold.train.item_rows, strict=True))
        held = set(zip(fold.test.user_rows, fold.test.item_rows, strict=True))
        assert rows <= known and held <= known and not rows & held and held
        sizes.add((fold.test.user_rows.tobytes(), fold.test.item_rows.tobytes()))
    assert len(sizes) == 3  # no two folds teach the same


def test_ready_splits_are_cut_by_time_and_timeless_ones_at_random(data):
    log = data.interactions
    assert inner_folds(Given(valid="v", test="t"), data, log, 1)[0].name == "T"
    assert inner_folds(None, data, replace(log, timestamps=0 * log.timestamps), 1)[0].name == "R"


def lessons_where(part_that_knows: int, users=200, candidates=30, parts=3, seed=0) -> Lessons:
    """One part puts what was chosen on top, the others are noise."""
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=(users, candidates, parts)).astype(np.float32)
    scores[:, 0, part_that_knows] += 3.0
    wanted, there = np.zeros((users, 16), np.int32), np.zeros((users, 16), bool)
    there[:, 0] = True
    signals = np.zeros((users, candidates, len(NAMES)), np.float32)
    about = np.tile(np.float32([1, 0, 0]), (users, 1))
    return Lessons(scores, signals, about, wanted, there, np.ones((users, candidates), bool))


@pytest.mark.parametrize("part", [0, 2])
def test_the_part_that_knows_gets_the_weight(part):
    learned = learn(lessons_where(part), seed=0)
    weights = np.asarray(learned.weights.parts)[0]
    assert weights.argmax() == part and weights[part] > 3 * np.abs(np.delete(weights, part)).max()
    plain = Weights(jnp.full((3, 3), 0.0).at[0].set(1 / 3), jnp.zeros((3, 3)), jnp.zeros((3, len(NAMES))))
    assert learned.gain > np.asarray(ndcg(plain, lessons_where(part))).mean() + 0.02


def test_smooth_ndcg_is_that_of_its_formula():
    draw, lessons = np.random.default_rng(1), lessons_where(0, users=6)
    lessons = lessons._replace(
        wanted=np.stack([draw.permutation(30)[:16] for _ in range(6)]).astype(np.int32),
        there=np.arange(16) < np.array([0, 1, 3, 9, 12, 16])[:, None],
    )
    weights = Weights(draw.normal(size=(3, 3)), np.zeros((3, 3)), np.zeros((3, len(NAMES))))
    scores, expected = lessons.parts @ weights.parts[0], np.zeros(6)
    for user in range(6):
        chosen = scores[user, lessons.wanted[user][lessons.there[user]]]
        ranks = 0.5 + (1 / (1 + np.exp((chosen[:, None] - scores[user]) / SOFTNESS))).sum(axis=1)
        ideal = (1 / np.log2(np.arange(max(1, min(len(chosen), LIST))) + 2)).sum()
        expected[user] = (1 / (1 + np.exp(ranks - LIST - 0.5)) / np.log2(1 + ranks)).sum() / ideal
    for pairs in (41, 50):  # those that there are, and with padding
        np.testing.assert_allclose(_smooth(weights, lessons, None, pairs), expected, rtol=1e-4)


def test_a_catalog_smaller_than_what_is_learned_from_a_user():
    small = index_ids(clean(Synthetic(users=60, items=12, tastes=3, events_per_user=6).load())[0])
    holdout = RandomPerUser()(small).refit()
    known = TrainingData(small, holdout.train, holdout=holdout, rule=RandomPerUser())
    ranker = Hybrid(parts=PARTS[:2], folds=1).fit(known)
    assert evaluate(ranker, small, holdout, "test").means["ndcg@10"] > 0


def test_what_is_not_allowed_is_no_rival():
    lessons = lessons_where(0)
    lessons = lessons._replace(allowed=np.eye(1, 30, dtype=bool).repeat(200, axis=0))  # the chosen one alone
    weights = Weights(jnp.zeros((3, 3)), jnp.zeros((3, 3)), jnp.zeros((3, len(NAMES))))
    np.testing.assert_allclose(ndcg(weights, lessons), 1.0)


def test_balance_says_how_much_new_items_count():
    lessons = lessons_where(0)
    lessons.there[:, 1] = True
    lessons.wanted[:, 1] = 1
    lessons.signals[:, 1, NEW] = 1.0  # one item that somebody has and a new one were chosen
    lessons.parts[:, 1, 1] += 3.0

    def gains(balance):
        weights = learn(lessons, seed=0, balance=balance).weights
        return [float(np.mean(ndcg(weights, lessons, of))) for of in (0.0, 1.0)]

    (old, old_new), (even, even_new), (new, new_new) = gains(0.0), gains(0.5), gains(1.0)
    assert old > even > new and new_new > even_new > old_new
    weights = learn(lessons, seed=0, balance=0.25).weights
    parts = [np.asarray(ndcg(weights, lessons, of)) for of in (0.25, 0.0, 1.0)]
    np.testing.assert_allclose(parts[0], 0.75 * parts[1] + 0.25 * parts[2], rtol=1e-5)


def test_the_part_that_knows_adds_most_and_its_twin_stands_in():
    lessons = lessons_where(1, users=300, parts=4)
    lessons.parts[..., 3] = lessons.parts[..., 0]  # two alike, of noise
    told = {"strength": 1.0, "balance": None, "seed": 0}
    found = shares(lessons, ("a", "knows", "c", "d"), (1.0, 2.0, 3.0, 4.0), **told)
    assert [share.part for share in found] == ["a", "knows", "c", "d", SIGNALS]
    adds, alone = ([getattr(share, name) for share in found] for name in ("adds", "alone"))
    assert max(adds) == adds[1] > 0.3 and max(abs(a) for n, a in enumerate(adds) if n != 1) < 0.05
    assert max(alone[:4]) == alone[1] and alone[4] is None
    lessons.parts[..., 2] = lessons.parts[..., 1]  # now another one knows it as well
    assert abs(shares(lessons, ("a", "knows", "c", "d"), (1.0,) * 4, **told)[1].adds) < 0.05


def test_parts_of_one_name_are_told_apart_by_the_options_in_which_they_differ():
    names = told_apart((Ease(), Ease(tau=4.0), Ease(l2=800.0, tau=4.0), Ease(l2=800.0, tau=8.0), Popular()))
    recency = [f"EASE-recency (l2 {l2}, tau {tau})" for l2, tau in ((200, 4), (800, 4), (800, 8))]
    assert names == ["EASE", *recency, "Popular"]
    trained = (Trained(), Trained(train=Train(num_steps=7)), Trained())  # told apart by no plain option
    assert told_apart(trained) == ["Two-tower", "Two-tower #2", "Two-tower #3"]


@pytest.mark.parametrize("balance", [-0.1, 1.5, float("nan")])
def test_a_balance_that_is_no_share_is_refused(balance, fitted):
    with pytest.raises(UserError, match="is a share, from 0 to 1"):
        Hybrid(parts=PARTS, balance=balance).fit(fitted[0])


def test_the_blend_is_no_worse_than_its_parts_on_what_it_has_not_seen(data, fitted):
    known, hybrid = fitted
    judged = [evaluate(r, data, known.holdout, "test", ks=(10,)) for r in (hybrid, *(p.fit(known) for p in PARTS))]
    ours, *parts = (result.means["ndcg@10"] for result in judged)
    assert ours > max(parts) - 1.5 * judged[0].standard_errors["ndcg@10"]


def test_scores_are_the_weighted_standardised_scores(fitted):
    _, hybrid = fitted
    query = query_of([3, 8, 1])
    weights = hybrid.arrays.shared["weights"]
    of_parts, of_signals = (np.asarray(standing(query) @ leaf) for leaf in (weights.parts, weights.signals))
    total = of_signals @ np.asarray(hybrid.arrays.items["signals"]).T
    for p, part in enumerate(PARTS):
        alone = replace(
            hybrid.parts[p], arrays=Arrays(hybrid.arrays.shared["parts"][p], hybrid.arrays.items["parts"][p])
        )
        scores = np.asarray(score_all(alone, alone.arrays, query))
        assert part.name
        warm = np.asarray(hybrid.arrays.items["signals"])[:, -1] == 0
        spread = (scores - scores[:, warm].mean()) / (scores[:, warm].std() + 1e-6)
        total = total + spread * of_parts[:, p, None]
    np.testing.assert_allclose(score_all(hybrid, hybrid.arrays, query)[:, warm], total[:, warm], rtol=2e-3, atol=2e-3)


def test_what_each_source_lifts_adds_up_to_the_score(data, fitted, tmp_path):
    _, hybrid = fitted
    query = query_of([3, 8, 1])
    user, arrays = hybrid.user(hybrid.arrays, query), hybrid.arrays
    parts = hybrid.score_by_source(arrays.shared, arrays.items, user)
    assert set(parts) == {BEHAVIOUR, CONTENT, POPULARITY}  # a year is content; Popular() speaks as the log's signals do
    total = sum(np.asarray(part, np.float64) for part in parts.values())
    np.testing.assert_allclose(total, hybrid.score(arrays.shared, arrays.items, user), atol=1e-5)
    export(hybrid, data, tmp_path / "a", item_text=0)
    for item in Recommender.load(tmp_path / "a").recommend(history=data.item_map.take(np.array([3, 8, 1])).tolist()):
        assert set(item.reason.sources) == set(parts)
        assert sum(item.reason.sources.values()) == pytest.approx(item.score, abs=1e-4)


def test_exported_as_in_process_and_new_items_come_in_cold(data, fitted, tmp_path):
    known, hybrid = fitted
    export(hybrid, data, tmp_path / "a", item_text=0)
    recommender = Recommender.load(tmp_path / "a")
    ids = data.item_map.take(np.array([3, 8, 1])).tolist()
    found = recommender.recommend(history=ids, k=5)
    scores = np.array(score_all(hybrid, hybrid.arrays, query_of([3, 8, 1])))[0]
    scores[[3, 8, 1]] = -np.inf
    assert [item.item_id for item in found] == data.item_map.take(np.argsort(-scores, kind="stable")[:5]).tolist()
    features = jnp.asarray(data.catalog.features.values[:2])
    new = hybrid.embed_items(hybrid.arrays.shared, jnp.zeros((2, 0)), features)
    np.testing.assert_array_equal(new["signals"][:, -1], [1, 1])
    assert count_items(new["parts"][0]) == 2


def test_parts_that_are_only_asked_differently_share_what_they_store(data, fitted, monkeypatch):
    known, _ = fitted
    fits = []
    real = Ease.fit
    monkeypatch.setattr(Ease, "fit", lambda self, *rest: fits.append(self) or real(self, *rest))
    parts = (Ease(l2=20.0), Ease(l2=20.0, tau=4.0), Ease(l2=50.0))
    hybrid = Hybrid(parts=parts, folds=1, users=50).fit(known)
    assert [share.part for share in hybrid.shares[:-1]] == told_apart(parts)
    assert hybrid.stores == (0, 0, 1) and len(hybrid.arrays.items["parts"]) == 2 and len(fits) == 4
    asked = hybrid.asked(hybrid.arrays, query_of([3, 8, 1]))
    together = hybrid.part_scores(hybrid.arrays.shared, hybrid.arrays.items["parts"], asked)
    for part, scores in zip(parts, together, strict=True):
        alone = real(part, known)
        np.testing.assert_allclose(scores, score_all(alone, alone.arrays, query_of([3, 8, 1])), atol=1e-5)


@pytest.mark.parametrize("tells_of_new", [False, True])
def test_a_store_that_is_linear_is_asked_once_and_scores_as_its_parts_would(tells_of_new):
    draw = np.random.default_rng(4)
    matrix = draw.normal(size=(12, 12)).astype(np.float32)
    signals = draw.normal(size=(12, 4 + len(NAMES))).astype(np.float32)
    signals[:, NEW] = np.arange(12) >= 9
    matrix[:, 9:] *= tells_of_new
    store = Arrays({}, {BY_HISTORY: jnp.asarray(matrix)})
    parts = tuple(LinearRanker(store, 8, tau, 0.1) for tau in (None, 2.0, 5.0))
    shapes = ((len(STANDING), 3), (len(STANDING), 3), (len(STANDING), signals.shape[1]))
    weights = Weights(*(jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in shapes))
    hybrid = join(parts, jnp.asarray(signals), jnp.arange(9), weights)
    assert hybrid.summed == (not tells_of_new,)
    query = query_of([3, 8, 1])
    about, expected = np.asarray(standing(query)), 0.0
    of_parts, of_new, of_signals = map(np.asarray, weights)
    for p, part in enumerate(parts):
        scores = np.asarray(score_all(part, store, query))
        standard = (scores - scores[:, :9].mean()) / (scores[:, :9].std() + 1e-6)
        expected += standard * (about @ of_parts + signals[:, NEW, None] * (about @ of_new))[:, p]
    expected += about @ of_signals @ signals.T
    np.testing.assert_allclose(score_all(hybrid, hybrid.arrays, query), expected, atol=1e-4)
    later = hybrid.embed_items(hybrid.arrays.shared, jnp.zeros((2, 4)), jnp.ones((2, 3)))
    np.testing.assert_array_equal(later["signals"], [[0.0] * (3 + len(NAMES)) + [1.0]] * 2)


@pytest.mark.timeout(120)
def test_two_parts_that_solve_equations_do_not_wait_for_each_other(data, fitted):
    known, _ = fitted
    parts = ImplicitAls(dim=8, iterations=2), Popular(), ImplicitAls(dim=16, iterations=2)  # one reads no history
    method = Hybrid(parts=parts, folds=1, users=100)
    ranker = method.fit(known)
    assert np.isfinite(score_all(ranker, ranker.arrays, query_of([3, 8, 1]))).all()


def test_a_part_is_asked_after_each_one_before_it():
    query, nan = query_of([3, 8, 1]), float("nan")
    for found, kept in (((1.0, nan), True), ((nan, 1.0), True), ((nan, nan), False)):  # each of them is looked at
        history = _after(query, [jnp.full(2, one) for one in found]).history
        assert (history == query.history).all() == kept


@pytest.mark.parametrize("option", ["folds", "users", "candidates"])
def test_a_hybrid_needs_something_to_learn_from(option, fitted):
    with pytest.raises(UserError, match=f"Hybrid needs {option} of at least 1, not 0"):
        Hybrid(parts=(Popular(),), **{option: 0}).fit(fitted[0])


def test_a_hybrid_needs_parts():
    with pytest.raises(UserError, match="needs parts"):
        Hybrid(parts=()).fit(TrainingData(SimpleNamespace(), None))


def test_parts_that_refuse_are_left_out_with_a_line(data, fitted):
    known, _ = fitted  # without text
    said = []
    method = Hybrid(parts=(ContentNeighbours(), Ease(l2=20.0)), folds=1, users=50)
    assert len(method.fit(known, Setting(say=said.append)).parts) == 1
    assert len(said) == 1 and "left out of the blend: Content neighbours need item text vectors" in said[0]
    with pytest.raises(UserError, match="no part of the Hybrid can be fitted"):
        replace(method, parts=(ContentNeighbours(),)).fit(known, Setting(say=said.append))
