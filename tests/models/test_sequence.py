from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.models import sequence
from jaxrec.models.sequence import SequenceModel, Tokens

pytestmark = pytest.mark.usefixtures("quick_compile_all")

ITEMS, DIM = 13, 8
KINDS = {
    "distance": {"positions": "distance"},
    "end": {"positions": "end"},
    "all signals": {"time_gaps": True, "waits": True, "weighted": True, "heads": 2},
    "post-norm": {"pre_norm": False},
}


@pytest.fixture(params=KINDS, scope="module")
def model(request):
    return SequenceModel(dim=DIM, length=12, dropout=0.0, **KINDS[request.param])


@pytest.fixture(scope="module")
def table():
    return jnp.asarray(np.random.default_rng(0).normal(size=(ITEMS, DIM)), jnp.float32)


@pytest.fixture(scope="module")
def params(model, table):
    params = jax.jit(model.init)({"params": jax.random.key(0)}, table, tokens([[-1, 1, 2]]))["params"]
    return jax.tree.map(lambda p: p + 0.3 * jnp.cos(jnp.arange(p.size, dtype=p.dtype)).reshape(p.shape), params)


def tokens(rows, segments=None) -> Tokens:
    """Each row is one sequence, or those of `segments`; times and weights are made from the items."""
    rows = np.asarray(rows, np.int32)
    segments = np.zeros_like(rows) if segments is None else np.asarray(segments, np.int32)
    later = (segments[:, :, None] == segments[:, None, :]) & np.triu(np.ones((rows.shape[1],) * 2, bool), 1)
    days = np.where(rows >= 0, rows / 3, 0).astype(np.float32)
    return Tokens(rows, segments, later.sum(-1).astype(np.int32), days, days / 2, 1 + days)


@partial(jax.jit, static_argnames=("model", "train", "queries"))
def applied(model, params, table, asked, train, queries):
    return model.apply({"params": params}, table, asked, train=train)


def states(model, params, table, asked, train=False):
    return np.asarray(applied(model, params, table, asked, train, sequence.QUERIES))


def test_a_later_event_changes_no_earlier_state(model, params, table):
    before = states(model, params, table, tokens([[-1, 4, 2, 9, 1, 5]]))[0]
    after = states(model, params, table, tokens([[-1, 4, 2, 9, 3, 5]]))[0]
    np.testing.assert_array_equal(before[:4], after[:4])
    assert (np.abs(before[4:] - after[4:]).max(1) > 1e-3).all()


def test_an_earlier_event_changes_all_later_states(model, params, table):
    before = states(model, params, table, tokens([[-1, 4, 2, 9, 1, 5]]))[0]
    after = states(model, params, table, tokens([[-1, 3, 2, 9, 1, 5]]))[0]
    assert (np.abs(before[1:] - after[1:]).max(1) > 1e-4).all()


def test_sequences_in_one_row_do_not_see_each_other(model, params, table):
    rows = ([-1, 4, 2, -1], [-1, 7, 8, 1], [-1, 6, -1, -1])
    alone = states(model, params, table, tokens(rows, [[0, 0, 0, -1], [0] * 4, [0, 0, -1, -1]]))
    alone = [alone[0, :3], alone[1], alone[2, :2]]
    side_by_side = tokens([[-1, 4, 2, -1, 7, 8, 1, -1, 6, -1, -1]], [[0, 0, 0, 1, 1, 1, 1, 2, 2, -1, -1]])
    found = states(model, params, table, side_by_side)[0]
    np.testing.assert_allclose(found[:9], np.concatenate(alone), atol=1e-5)


@pytest.mark.parametrize("queries", [4, 50])
def test_attention_in_parts_is_attention(model, params, table, queries, monkeypatch):
    monkeypatch.setattr(sequence, "QUERIES", queries)
    asked = tokens([[-1, 4, 2, 9, 1, 5, 7, -1, 3, 2]], [[0] * 7 + [1] * 3])
    whole, parts = (states(model, params, table, asked, train) for train in (False, True))
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_distances_are_the_same_at_every_place(table):
    """Without places in the table, the event just before counts alike wherever it stands: attention is by distance."""
    model = SequenceModel(dim=DIM, length=12, dropout=0.0, blocks=1)
    asked = tokens([[-1, 4, 2, -1, 4, 2]], [[0, 0, 0, 1, 1, 1]])
    params = jax.jit(model.init)({"params": jax.random.key(0)}, table, asked)["params"]
    found = states(model, params, table, asked)[0]
    np.testing.assert_allclose(found[:3], found[3:], atol=1e-6)


def test_dropout_keeps_the_mean_and_drops_its_share():
    model = SequenceModel(dim=64, length=50, dropout=0.25, blocks=0)
    table = jnp.ones((1, 64))
    asked = Tokens(*(np.zeros((40, 50), t) for t in (np.int32,) * 3 + (np.float32,) * 3))
    variables = model.init({"params": jax.random.key(0)}, table, asked)
    kept = jax.jit(lambda key: model.apply(variables, table, asked, train=True, rngs={"dropout": key}))
    whole = np.asarray(kept(jax.random.key(1)))
    assert abs((whole < 0).mean() - 0.25) < 0.01  # after the last norm what was dropped stands below the mean
