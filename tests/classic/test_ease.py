"""EASE with content and with weighed users, against the closed form in float64."""

from types import SimpleNamespace

import numpy as np
import pytest
from test_classic import DAY, ITEMS, LOG, USERS, X, scores_of, text_vectors

from jaxrec.classic.ease import Ease
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.item_axis import BY_HISTORY

FEATURES = np.random.default_rng(8).normal(2, 3, (ITEMS, 3)).astype(np.float32)
TEXT = text_vectors() / np.linalg.norm(text_vectors(), axis=1, keepdims=True)


def data_with(features=FEATURES, text=TEXT):
    catalog = SimpleNamespace(features=SimpleNamespace(values=features))
    return TrainingData(SimpleNamespace(num_users=USERS, num_items=ITEMS, catalog=catalog), LOG, text)


def rows_of(*parts):
    centred = [p - p.mean(0) for p in parts]
    return np.concatenate([c / np.sqrt(len(parts) * np.square(c).sum(1).mean()) for c in centred], axis=1)


def by_hand(gram, l2):
    inverse = np.linalg.inv(gram + l2 * np.eye(ITEMS))
    weights = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0)
    return weights, inverse


@pytest.mark.parametrize(
    ("features", "text"),
    [(FEATURES, TEXT), (FEATURES[:, :0], TEXT), (FEATURES, None)],
    ids=["both", "text", "features"],
)
def test_content_stands_under_the_events(features, text):
    read = [part.astype(np.float64) for part in (text, features) if part is not None and part.shape[1]]
    rows = rows_of(*read)
    assert np.square(rows).sum(1).mean() == pytest.approx(1)
    expected = X @ by_hand(X.T @ X + 20 * rows @ rows.T, 5.0)[0]
    ranker = Ease(l2=5.0, content=20.0).fit(data_with(features, text))
    np.testing.assert_allclose(scores_of(ranker), expected, atol=5e-5)


def test_a_new_item_is_the_least_squares_of_an_item_without_events():
    ranker = Ease(l2=5.0, content=20.0).fit(data_with())
    new_text, new_features = np.roll(TEXT[:3], 1, axis=1), FEATURES[:3] + 1
    found = ranker.embed_items(ranker.arrays.shared, new_text, new_features)[BY_HISTORY].T
    scale = [np.sqrt(2 * np.square(p - p.mean(0)).sum(1).mean()) for p in (TEXT, FEATURES)]
    new = [(n - p.mean(0)) / s for n, p, s in zip((new_text, new_features), (TEXT, FEATURES), scale, strict=True)]
    rows = rows_of(TEXT, FEATURES)
    inverse = by_hand(X.T @ X + 20 * rows @ rows.T, 5.0)[1]
    np.testing.assert_allclose(found, 20 * np.concatenate(new, axis=1) @ rows.T @ inverse, atol=5e-5)


def test_without_content_nothing_can_be_placed_and_content_needs_some():
    assert not hasattr(Ease().fit(data_with()), "embed_items")
    with pytest.raises(UserError, match="needs item text vectors or item features"):
        Ease(content=1.0).fit(data_with(FEATURES[:, :0], None))


def test_users_of_long_ago_weigh_less():
    last = np.array([LOG.timestamps[LOG.user_rows == user].max() for user in range(USERS)])
    weights = 0.5 ** ((LOG.timestamps.max() - last) / DAY / 2.0)
    expected = X @ by_hand(X.T @ (weights[:, None] * X), 5.0)[0]
    np.testing.assert_allclose(scores_of(Ease(l2=5.0, half_life=2.0).fit(data_with())), expected, atol=2e-5)
    assert weights.min() < 0.5


def test_users_with_many_items_weigh_less_and_all_together_the_same():
    lengths = X.sum(axis=1)
    weights = lengths**-0.5
    weights *= lengths.sum() / (weights @ lengths)
    expected = X @ by_hand(X.T @ (weights[:, None] * X), 5.0)[0]
    np.testing.assert_allclose(scores_of(Ease(l2=5.0, by_length=0.5).fit(data_with())), expected, atol=2e-5)
    assert lengths.min() < lengths.max()


def test_both_weights_of_users_are_multiplied():
    last = np.array([LOG.timestamps[LOG.user_rows == user].max() for user in range(USERS)])
    recent, lengths = 0.5 ** ((LOG.timestamps.max() - last) / DAY / 2.0), X.sum(axis=1)
    weights = recent * lengths**-0.5
    weights *= (recent @ lengths) / (weights @ lengths)
    expected = X @ by_hand(X.T @ (weights[:, None] * X), 5.0)[0]
    ranker = Ease(l2=5.0, half_life=2.0, by_length=0.5).fit(data_with())
    np.testing.assert_allclose(scores_of(ranker), expected, atol=2e-5)


def test_dropout_is_what_rebuilding_hidden_items_from_the_rest_comes_to():
    """Against the least squares over many draws of histories with a quarter hidden, each scaled to be as long."""
    draw = np.random.default_rng(0)
    gram, seen = X.T @ X, np.zeros((ITEMS, ITEMS))
    for _ in range(4_000):
        kept = X * (draw.random(X.shape) < 0.75) / 0.75
        seen += kept.T @ kept / 4_000
    np.testing.assert_allclose(np.diag(seen), np.diag(gram) / 0.75, rtol=0.02)
    expected = by_hand(gram + np.diag(np.diag(gram)) * 0.25 / 0.75, 5.0)[0]
    np.testing.assert_allclose(by_hand(seen, 5.0)[0], expected, atol=0.02)
    np.testing.assert_allclose(scores_of(Ease(l2=5.0, dropout=0.25).fit(data_with())), X @ expected, atol=2e-5)


@pytest.mark.parametrize("value", [-0.5, float("nan"), float("inf")])
@pytest.mark.parametrize("option", ["l2", "content", "nearby", "by_length"])
def test_options_that_count_something_are_finite_and_not_negative(option, value):
    with pytest.raises(UserError, match=rf"Ease.*{option}.*(0 or more|above 0)"):
        Ease(**{option: value}).fit(data_with())


@pytest.mark.parametrize("dropout", [-0.1, 1.0, float("nan")])
def test_dropout_is_a_share(dropout):
    with pytest.raises(UserError, match=r"Ease.dropout=.* at least 0 and below 1"):
        Ease(dropout=dropout).fit(data_with())


@pytest.mark.parametrize("odd", [{"l2": 0.0}, {"window": 1}, {"half_life": 0.0}, {"half_life": float("nan")}])
def test_other_options_out_of_range_are_refused_before_any_work(odd):
    with pytest.raises(UserError, match=f"Ease.*{next(iter(odd))}"):
        Ease(**odd).fit(data_with())


def test_the_name_says_what_is_read():
    assert [Ease(content=1.0).name, Ease(content=1.0, tau=2.0).name] == ["EASE+content", "EASE+content-recency"]
    assert Ease(nearby=1.0, dropout=0.2, by_length=0.5).name == "EASE+nearby+dropout"


def test_runs_of_consecutive_events_count_beside_users():
    runs = []
    for user in range(USERS):
        mine = LOG.user_rows == user
        items = LOG.item_rows[mine][np.argsort(LOG.timestamps[mine], kind="stable")]
        for start in range(-2, len(items), 2):  # four at a time, each begun in the middle of the one before
            run = np.zeros(ITEMS)
            run[items[max(start, 0) : start + 4]] = 1
            runs.append(run)
    runs = np.array(runs)
    expected = X @ by_hand(X.T @ X + 0.5 * runs.T @ runs, 5.0)[0]
    found = Ease(l2=5.0, nearby=0.5, window=4).fit(data_with())
    np.testing.assert_allclose(scores_of(found), expected, atol=5e-5)
