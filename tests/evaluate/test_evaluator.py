import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.classic.popularity import PopularityRanker
from jaxrec.data.context import Contexts
from jaxrec.data.holdout import Holdout
from jaxrec.data.interactions import Interactions
from jaxrec.errors import DataError, DivergedError
from jaxrec.evaluate.compare import bootstrap, compare, comparison
from jaxrec.evaluate.evaluator import Judged, evaluate
from jaxrec.evaluate.segments import Segments
from jaxrec.ranker import Arrays


def log(*rows, start=0):
    """(user, item) pairs, one second apart."""
    users, items = np.array(rows, np.int32).reshape(-1, 2).T
    return Interactions(users, items, start + np.arange(len(users)), np.ones(len(users), np.float32))


def dataset(users, items):
    features = SimpleNamespace(values=np.zeros((users, 0), np.float32))
    return SimpleNamespace(
        num_users=users,
        num_items=items,
        users=SimpleNamespace(features=features),
        user_map=range(users),
        item_map=range(items),
        catalog=None,
        contexts=Contexts(),
    )


def holdout(train, valid, test, items, valid_candidates=None, users=50):
    everything = np.ones(items, bool)
    known = np.bincount(train.user_rows, minlength=users) > 0
    return Holdout(train, valid, test, everything if valid_candidates is None else valid_candidates, everything, known)


def fixed(scores):
    return PopularityRanker(Arrays({}, {"score": jnp.asarray(scores, jnp.float32)}))


DATA = dataset(4, 6)
# user 3 has no history; item 5 is nobody's
HOLDOUT = holdout(
    log((0, 0), (0, 1), (1, 0), (2, 2)),
    log((0, 2), (1, 3), (3, 0), start=10),
    log((0, 3), (0, 4), (1, 1), (3, 1), start=20),
    6,
)
DESCENDING = fixed([6, 5, 4, 3, 2, 1])


def test_validation_figures_by_hand():
    result = evaluate(DESCENDING, DATA, HOLDOUT, "valid", ks=(2,))
    assert list(result.user_rows) == [0, 1]  # user 2 has nothing held out, user 3 no history
    np.testing.assert_array_equal(result.rows, [[2, 3], [1, 2]])
    np.testing.assert_allclose(result.values["ndcg@2"], [1, 0])
    assert result["recall@2"] == 0.5
    assert result["coverage@2"] == 3 / 6
    shares = np.array([2, 1, 1, 0, 0, 0]) / 3
    np.testing.assert_allclose(result.values["popularity@2"], [shares[[2, 3]].mean(), shares[[1, 2]].mean()])
    np.testing.assert_allclose(result.values["novelty@2"], np.log2(3))


def test_testing_knows_validation_too():
    result = evaluate(DESCENDING, DATA, HOLDOUT, "test", ks=(2,))
    assert list(result.user_rows) == [0, 1]
    np.testing.assert_array_equal(result.rows, [[3, 4], [1, 2]])
    np.testing.assert_allclose(result.values["recall@2"], [1, 1])
    np.testing.assert_array_equal(result.lengths, [3, 2])


def test_only_candidates_are_ranked_and_judged():
    allowed = np.array([0, 0, 1, 0, 1, 1], bool)
    result = evaluate(DESCENDING, DATA, holdout(*_parts(), 6, valid_candidates=allowed), "valid", ks=(2,))
    assert list(result.user_rows) == [0]
    np.testing.assert_array_equal(result.rows, [[2, 4]])
    assert result.num_candidates == 3


def _parts():
    return HOLDOUT.train, HOLDOUT.valid, HOLDOUT.test


def test_a_repeated_item_is_no_positive():
    again = holdout(HOLDOUT.train, log((0, 0), (0, 2), (0, 2), start=9), HOLDOUT.test, 6)
    result = evaluate(DESCENDING, DATA, again, "valid", ks=(2,))
    assert list(result.positives) == [1]
    assert result["recall@2"] == 1


def test_a_user_without_a_training_row_is_not_judged_though_validation_knows_them():
    result = evaluate(DESCENDING, DATA, HOLDOUT, "test", ks=(2,))
    again = evaluate(DESCENDING, DATA, HOLDOUT.refit(), "test", ks=(2,))
    assert list(result.user_rows) == list(again.user_rows) == [0, 1]
    np.testing.assert_array_equal(result.rows, again.rows)


def test_permuted_users_and_block_sizes_change_nothing():
    draw = np.random.default_rng(1)
    pairs = np.argwhere(draw.random((40, 30)) < 0.4)
    held = draw.random(len(pairs)) < 0.2
    split = holdout(log(*pairs[~held]), log(*pairs[held]), log((0, 0)), 30)
    ranker = fixed(draw.random(30))
    one = evaluate(ranker, dataset(40, 30), split, ks=(5,))
    other = evaluate(ranker, dataset(40, 30), split, ks=(5,), users_per_block=7, item_block=4)
    np.testing.assert_array_equal(one.rows, other.rows)
    for metric in one.values:
        np.testing.assert_array_equal(one.values[metric], other.values[metric])


def test_recall_by_kind_of_item_adds_up():
    draw = np.random.default_rng(2)
    pairs = np.argwhere(draw.random((50, 20)) < np.linspace(0.9, 0.05, 20))
    held = (draw.random(len(pairs)) < 0.3) | (pairs[:, 1] == 7)
    split = holdout(log(*pairs[~held]), log(*pairs[held]), log((0, 0)), 20)
    result = evaluate(fixed(draw.random(20)), dataset(50, 20), split, ks=(5,))
    assert result.item_positives["cold"] == (pairs[held][:, 1] == 7).sum()
    assert result.item_positives["warm"] + result.item_positives["cold"] == result.positives.sum()
    assert result.item_positives["head"] + result.item_positives["tail"] == result.item_positives["warm"]
    hits = result.values["recall@5"] * result.positives
    owned = {row["segment"]: row for row in result.by_item_segment("recall@5")}
    assert set(owned) == {"head", "tail", "warm", "cold"}
    judged = Judged.of(dataset(50, 20), split, "valid")
    owner, item = np.divmod(judged.keys, 20)
    cold = np.bincount(owner[item == 7], minlength=len(hits))
    found = np.nan_to_num(result.item_values["cold", "recall@5"]) * cold
    found += np.nan_to_num(result.item_values["warm", "recall@5"]) * (result.positives - cold)
    np.testing.assert_allclose(found, hits, atol=1e-9)


def test_user_segments_hold_everyone_once():
    parts = Segments(light=3, heavy=5).users(np.array([1, 3, 4, 5, 9]))
    assert {name: list(np.flatnonzero(there)) for name, there in parts.items()} == {
        "new": [0],
        "light": [1, 2],
        "heavy": [3, 4],
    }


def test_head_is_the_most_popular_share_and_never_cold():
    parts = Segments(head=0.4).items(np.array([5, 0, 9, 1, 0]))
    assert [list(np.flatnonzero(parts[name])) for name in ("head", "tail", "warm", "cold")] == [
        [0, 2],
        [3],
        [0, 2, 3],
        [1, 4],
    ]
    assert list(np.flatnonzero(Segments(head=1.0).items(np.array([0, 1]))["head"])) == [1]


def test_nobody_to_judge_is_an_error_that_says_why():
    nobody = holdout(HOLDOUT.train, log((3, 0), start=9), HOLDOUT.test, 6)
    with pytest.raises(DataError, match="no user can be judged on the valid part: of its 1 rows none is of"):
        evaluate(DESCENDING, DATA, nobody, "valid")


def test_scores_that_are_not_numbers_are_refused():
    with pytest.raises(DivergedError, match="Broken gave scores that are not numbers, for 2 users"):
        evaluate(fixed([1, 2, np.nan, 3, 4, 5]), DATA, HOLDOUT, "valid", name="Broken")


def test_a_ranker_of_another_catalog_is_refused():
    with pytest.raises(DataError, match="ranks 5 items, the data set has 6"):
        evaluate(fixed(np.ones(5)), DATA, HOLDOUT)


def test_json_and_comparison_are_plain_data():
    result = evaluate(DESCENDING, DATA, HOLDOUT, "valid", ks=(2,), name="best")
    worse = evaluate(fixed([1, 2, 3, 4, 5, 6]), DATA, HOLDOUT, "valid", ks=(2,), name="worse")
    text = json.dumps(result.to_json(), allow_nan=False)
    assert json.loads(text)["metrics"]["ndcg@2"]["mean"] == 0.5
    rows = comparison({"best": result, "worse": worse}, ("ndcg@2", "coverage@2"), against="worse")
    json.dumps(rows, allow_nan=False)
    assert [row["name"] for row in rows] == ["best", "worse"]
    assert rows[0]["metrics"]["ndcg@2"]["difference"] == 0.5
    assert rows[0]["metrics"]["coverage@2"] == {"mean": 0.5, "standard_error": None, "low": None, "high": None}
    assert (rows[0]["users"], rows[0]["positives"]) == (2, 2)


def test_a_paired_difference_is_surer_than_two_means():
    draw = np.random.default_rng(0)
    base = draw.random(400)
    sides = [
        SimpleNamespace(name=n, part="test", user_rows=np.arange(400), values={"ndcg@10": v})
        for n, v in (("ours", base + 0.01 + draw.normal(0, 0.02, 400)), ("theirs", base))
    ]
    paired = compare(*sides)
    assert paired.difference == pytest.approx(0.01, abs=0.003)
    assert paired.standard_error == pytest.approx(0.02 / np.sqrt(400), rel=0.1)
    assert paired.sure and paired.wins + paired.losses == 400
    assert compare(sides[0], sides[0]).difference == 0 and not compare(sides[0], sides[0]).sure


def test_different_users_cannot_be_compared():
    valid = evaluate(DESCENDING, DATA, HOLDOUT, "valid", name="a")
    test = evaluate(DESCENDING, DATA, HOLDOUT, "test", name="b")
    with pytest.raises(Exception, match="judge both with the same holdout and part"):
        compare(valid, test)
    with pytest.raises(Exception, match="no per-user metric 'coverage@10'"):
        compare(valid, valid, "coverage@10")


def test_bootstrap_interval_is_that_of_the_mean():
    values = np.random.default_rng(3).normal(5, 2, 900)
    interval = bootstrap(values)
    half = 1.96 * values.std() / 30
    assert interval.low == pytest.approx(values.mean() - half, abs=0.02)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.02)
    assert bootstrap(values) == interval
    many = bootstrap(np.tile(values, 200))
    assert many.high - many.low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(180_000), rel=0.01)
    assert np.isnan(bootstrap(np.array([1.0])).low)


def test_lift_and_diversity_of_an_evaluation():
    vectors = np.array([[1, 0], [1, 0], [0, 1], [1, 0], [0, 0], [0, 1]], np.float32)
    result = evaluate(DESCENDING, DATA, HOLDOUT, "valid", ks=(2,), item_vectors=vectors)
    np.testing.assert_allclose(result.values["diversity@2"], [1, 1])  # lists [2, 3] and [1, 2]
    shares = np.array([2, 1, 1, 0, 0, 0]) / 3
    own = np.array([shares[[0, 1]].mean(), shares[0]])
    expected = np.array([shares[[2, 3]].mean(), shares[[1, 2]].mean()]) / own - 1
    np.testing.assert_allclose(result.values["popularity_lift@2"], expected)
    assert "diversity@2" not in evaluate(DESCENDING, DATA, HOLDOUT, "valid", ks=(2,)).values


def test_the_bootstrap_is_that_of_the_same_draws_one_by_one():
    values = np.random.default_rng(3).random(50)
    draw = np.random.default_rng(0)
    means = [values[draw.integers(50, size=50)].mean() for _ in range(1_000)]
    found = bootstrap(values)
    np.testing.assert_allclose([found.low, found.high], np.quantile(means, [0.025, 0.975]))
