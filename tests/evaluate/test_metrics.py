import numpy as np
import pytest

from jaxrec.evaluate import metrics

# one user with 3 positives, found at ranks 2 and 4; one user with 1 positive, not found
HITS = np.array([[0, 1, 0, 1, 0], [0, 0, 0, 0, 0]], bool)
POSITIVES = np.array([3, 1])


def log2(x):
    return np.log2(x)


@pytest.mark.parametrize(
    ("metric", "k", "expected"),
    [
        (metrics.ndcg, 5, (1 / log2(3) + 1 / log2(5)) / (1 / log2(2) + 1 / log2(3) + 1 / log2(4))),
        (metrics.ndcg, 2, (1 / log2(3)) / (1 / log2(2) + 1 / log2(3))),
        (metrics.recall, 5, 2 / 3),
        (metrics.recall, 1, 0),
        (metrics.precision, 5, 2 / 5),
        (metrics.hit_rate, 2, 1),
        (metrics.hit_rate, 1, 0),
        (metrics.mrr, 5, 1 / 2),
        (metrics.mrr, 1, 0),
        (metrics.average_precision, 5, (1 / 2 + 2 / 4) / 3),
        (metrics.average_precision, 3, (1 / 2) / 3),
    ],
)
def test_each_metric_is_its_formula(metric, k, expected):
    np.testing.assert_allclose(metric(HITS, POSITIVES, k), [expected, 0], atol=1e-12)


def test_a_perfect_list_has_ndcg_1_whatever_the_number_of_positives():
    hits = np.arange(10)[None, :] < np.array([[1], [4], [10], [10]])
    np.testing.assert_allclose(metrics.ndcg(hits, np.array([1, 4, 10, 25]), 10), 1)


@pytest.mark.oracle
def test_equal_to_ranx():
    ranx = pytest.importorskip("ranx")
    draw = np.random.default_rng(0)
    users, items, depth = 60, 80, 30
    rows = np.argsort(draw.random((users, items)), axis=1)[:, :depth]
    wanted = [draw.choice(items, size=draw.integers(1, 40), replace=False) for _ in range(users)]
    hits = np.array([np.isin(row, want) for row, want in zip(rows, wanted, strict=True)])
    ours = metrics.accuracy(hits, np.array([len(w) for w in wanted]), (5, 10, 20))
    qrels = ranx.Qrels({f"u{u:02}": {f"i{i}": 1 for i in want} for u, want in enumerate(wanted)})
    run = ranx.Run({f"u{u:02}": {f"i{i}": float(depth - r) for r, i in enumerate(row)} for u, row in enumerate(rows)})
    names = [name for name in ours]
    theirs = ranx.evaluate(qrels, run, names, return_mean=False)
    for name in names:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-6, err_msg=name)


def test_coverage_counts_distinct_items_of_the_whole_catalog():
    rows = np.array([[0, 1, 2], [1, 0, -1]])
    assert metrics.coverage(rows, 10, 3) == 3 / 10
    assert metrics.coverage(rows, 10, 2) == 2 / 10


def test_novelty_is_self_information_in_bits():
    share = np.array([0.5, 0.25, 0.0])
    rows = np.array([[0, 1], [2, -1], [-1, -1]])
    expected = [(1 + 2) / 2, np.log2(8), 0]  # an item nobody has counts as if one of the 8 users had it
    np.testing.assert_allclose(metrics.novelty(rows, share, 8, 2), expected)


def test_popularity_is_the_mean_share():
    share = np.array([0.5, 0.25, 0.0])
    np.testing.assert_allclose(metrics.popularity(np.array([[0, 1], [2, -1]]), share, 2), [0.375, 0])


def test_mean_and_standard_error_leave_out_users_without_a_value():
    values = np.array([1.0, 3.0, np.nan])
    assert metrics.mean(values) == 2
    assert metrics.standard_error(values) == pytest.approx(np.sqrt(2) / np.sqrt(2))
    assert np.isnan(metrics.standard_error(np.array([1.0])))


def test_popularity_lift_by_hand():
    share = np.array([0.8, 0.4, 0.2, 0.0])
    rows = np.array([[0, 1], [2, -1], [-1, -1], [0, 1]])
    own = np.array([0.3, 0.4, 0.5, 0.0])
    lift = metrics.popularity_lift(rows, share, own, 2)
    np.testing.assert_allclose(lift[:2], [0.6 / 0.3 - 1, 0.2 / 0.4 - 1])
    assert np.isnan(lift[2:]).all()  # an empty list; a user without a history


def test_diversity_is_the_mean_over_pairs():
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(9, 4)) * draw.uniform(0.1, 9, (9, 1))
    vectors[3] = 0  # nothing is known of it
    rows = np.array([[0, 1, 2], [4, 3, 5], [3, 6, -1], [8, 7, 0]])
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)

    def pairs(*items):
        return np.mean([1 - unit[i] @ unit[j] for a, i in enumerate(items) for j in items[:a]])

    expected = [pairs(0, 1, 2), pairs(4, 5), np.nan, pairs(8, 7, 0)]
    np.testing.assert_allclose(metrics.diversity(rows, vectors, 3), expected, rtol=1e-5)
    np.testing.assert_allclose(metrics.diversity(rows, vectors, 2)[0], pairs(0, 1), rtol=1e-5)
    many = np.tile(rows, (500, 1))
    metrics.DIVERSITY_CELLS, kept = 100, metrics.DIVERSITY_CELLS
    try:
        np.testing.assert_allclose(metrics.diversity(many, vectors, 3), np.tile(expected, 500), rtol=1e-5)
    finally:
        metrics.DIVERSITY_CELLS = kept


def test_miscalibration_is_the_divergence_from_the_user_s_own_mix():
    shares = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.0, 0.0]])
    rows = np.array([[0, 1], [0, 0], [2, -1], [3, -1], [0, 1]])
    own = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [0.0, 0.0]])
    found = metrics.miscalibration(rows, own, shares, 2, smoothing=0.1)
    skewed = 0.5 * np.log(0.5 / 0.95) + 0.5 * np.log(0.5 / 0.05)
    np.testing.assert_allclose(found, [0, skewed, 0, np.nan, np.nan], atol=1e-12)
    assert metrics.miscalibration(rows[1:2], own[1:2], shares, 2) > skewed  # less smoothing, more divergence
