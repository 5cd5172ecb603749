"""Implicit ALS against its normal equations in numpy, in float64."""

import jax.numpy as jnp
import numpy as np
import pytest
from test_classic import DATA, ITEMS, LOG, USERS, X, scores_of

from jaxrec.classic import als
from jaxrec.classic.als import ImplicitAls, fit_item_factors
from jaxrec.data.interactions import Histories, Interactions, distinct_pairs
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError

SMALL = ImplicitAls(dim=4, iterations=3, alpha0=0.2, l2=0.05, nu=0.5)


def penalty(options):
    sizes = np.concatenate([X.sum(1) + options.alpha0 * ITEMS, X.sum(0) + options.alpha0 * USERS])
    return options.l2 * sizes.sum() / (sizes**options.nu).sum()


def solved(weights, others, options, totals):
    """Row by row, the vector that the formula asks for."""
    gram = options.alpha0 * others.T @ others
    found = []
    for row, total in zip(weights, totals, strict=True):
        ridge = penalty(options) * (total + options.alpha0 * len(others)) ** options.nu
        left = (others * row[:, None]).T @ others + gram + ridge * np.eye(options.dim)
        found.append(np.linalg.solve(left, others.T @ row))
    return np.array(found)


def factors(options):
    return [np.asarray(f, np.float64) for f in fit_item_factors(distinct_pairs(LOG, ITEMS), USERS, ITEMS, options)]


@pytest.mark.parametrize(("width", "cells"), [(64, 2**22), (4, 7 * 16)])
def test_users_solve_their_normal_equations(monkeypatch, width, cells):
    monkeypatch.setattr(als, "WIDTH", width)
    monkeypatch.setattr(als, "CELLS", cells)
    als._solve_all.clear_cache()
    users, items = factors(SMALL)
    assert (users.shape, items.shape) == ((USERS, 4), (ITEMS, 4))
    np.testing.assert_allclose(users, solved(X, items, SMALL, X.sum(1)), atol=1e-5)
    als._solve_all.clear_cache()


def test_at_the_end_items_solve_theirs_too():
    options = ImplicitAls(dim=4, iterations=200, alpha0=0.2, l2=0.05, nu=0.5)
    users, items = factors(options)
    np.testing.assert_allclose(items, solved(X.T, users, options, X.sum(0)), atol=1e-3)
    assert not items[-1].any() and np.linalg.norm(items[0]) > 0.1


@pytest.mark.parametrize(("width", "many"), [(als.WIDTH, USERS + 1), (3, USERS + 1), (als.WIDTH, USERS)])
def test_a_user_is_solved_from_the_history_when_asked(width, many, monkeypatch):
    ranker = SMALL.fit(TrainingData(DATA, LOG))
    users, items = factors(SMALL)
    assert Histories.of(LOG, USERS).lengths.max() > 2 * 3  # more than two blocks of the narrower
    monkeypatch.setattr(als, "WIDTH", width)
    monkeypatch.setattr(als, "MANY", many)  # as many as these read all vectors, fewer those of the events
    als._fold_in.clear_cache()
    np.testing.assert_allclose(scores_of(ranker), users @ items.T, atol=1e-5)
    als._fold_in.clear_cache()


def test_the_latest_events_weigh_most_when_asked():
    options = ImplicitAls(**{**vars(SMALL), "tau": 3.0, "base": 0.2})
    histories = Histories.of(LOG, USERS)
    weights = np.zeros((USERS, ITEMS))
    for user in range(USERS):
        mine = histories.item_rows[histories.offsets[user] : histories.offsets[user + 1]][::-1]
        for rank, item in enumerate(mine):
            weights[user, item] = max(weights[user, item], 0.2 + np.exp(-rank / 3.0))
    items = factors(SMALL)[1]
    expected = solved(weights, items, SMALL, weights.sum(1)) @ items.T
    np.testing.assert_allclose(scores_of(options.fit(TrainingData(DATA, LOG))), expected, atol=1e-5)


def test_permuted_users_do_not_change_what_items_are_near():
    order = np.random.default_rng(2).permutation(USERS)
    renamed = Interactions(order[LOG.user_rows].astype(np.int32), LOG.item_rows, LOG.timestamps, LOG.weights)
    one, two = (SMALL.fit(TrainingData(DATA, log)).arrays.items["vector"] for log in (LOG, renamed))
    np.testing.assert_allclose(one @ one.T, two @ two.T, atol=1e-4)


def test_two_tastes_are_found():
    users, items = np.meshgrid(np.arange(40), np.arange(20), indexing="ij")
    kept = ((users % 2) == (items % 2)) & (items // 2 != users // 2 % 10)
    log = Interactions(
        users[kept].astype(np.int32), items[kept].astype(np.int32), np.arange(kept.sum()), np.ones(kept.sum())
    )
    users, items = fit_item_factors(distinct_pairs(log, 20), 40, 20, ImplicitAls(dim=2, alpha0=0.1))
    scores = np.array(jnp.matmul(users, items.T))
    scores[log.user_rows, log.item_rows] = -np.inf
    np.testing.assert_array_equal(scores.argmax(1), np.arange(40) // 2 % 10 * 2 + np.arange(40) % 2)


@pytest.mark.parametrize("bad", [{"dim": 0}, {"iterations": 0}, {"alpha0": 0.0}, {"l2": 0.0}])
def test_options_out_of_range_are_refused(bad):
    with pytest.raises(UserError, match=f"needs {next(iter(bad))} of at least"):
        ImplicitAls(**bad).fit(TrainingData(DATA, LOG))
