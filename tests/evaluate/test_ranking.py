from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxrec.data.interactions import Histories, Interactions
from jaxrec.data.queries import gather_queries
from jaxrec.evaluate.ranking import _compiled, rank_in_blocks, rank_users, user_blocks
from jaxrec.ranker import Arrays, Query, rank

USERS, ITEMS, DIM = 37, 53, 4


@dataclass(frozen=True)
class MeanOfHistory:
    """Whole numbers only, so that sums are exact and ties are many."""

    arrays: Arrays
    history_length: int = 100

    def user(self, arrays, query):
        vectors = arrays.items["vectors"][jnp.maximum(query.history, 0)]
        return (vectors * (query.history >= 0)[:, :, None]).sum(1)

    def score(self, shared, items, user):
        return user @ items["vectors"].T


def make(seed=0):
    draw = np.random.default_rng(seed)
    arrays = Arrays({}, {"vectors": jnp.asarray(draw.integers(-2, 3, (ITEMS, DIM)), jnp.float32)})
    lengths = draw.integers(1, ITEMS - 5, USERS)
    users = np.repeat(np.arange(USERS), lengths)
    items = np.concatenate([draw.permutation(ITEMS)[:n] for n in lengths])
    log = Interactions(
        users.astype(np.int32), items.astype(np.int32), np.arange(len(users)), np.ones(len(users), np.float32)
    )
    return MeanOfHistory(arrays), Histories.of(log, USERS), log


def by_hand(ranker, log, allowed, k):
    """Stable sort in numpy, one user at a time."""
    vectors = np.asarray(ranker.arrays.items["vectors"])
    answer = np.full((USERS, k), -1)
    for user in range(USERS):
        mine = log.item_rows[log.user_rows == user]
        scores = vectors @ vectors[mine].sum(0)
        order = [i for i in np.argsort(-scores, kind="stable") if allowed[i] and i not in mine]
        answer[user, : len(order[:k])] = order[:k]
    return answer


@pytest.mark.parametrize("item_block", [None, 1, 7, 10, 53, 1000])
@pytest.mark.parametrize("k", [3, 60])
def test_every_block_size_gives_the_same_ranking_ties_included(item_block, k):
    ranker, histories, log = make()
    allowed = np.arange(ITEMS) % 5 != 0
    asked = np.zeros(USERS, np.int64)
    found = rank_users(
        ranker, histories, np.arange(USERS), allowed, k=k, asked_at=asked, users_per_block=8, item_block=item_block
    )
    np.testing.assert_array_equal(found.rows, by_hand(ranker, log, allowed, k))


def test_blocks_agree_with_rank_in_scores_and_rows():
    ranker, histories, _ = make()
    query = Query(*jax.tree.map(jnp.asarray, gather_queries(histories, np.arange(8), 64, 0)))
    allowed = jnp.ones(ITEMS, bool)
    whole = rank(ranker, ranker.arrays, query, query.history, allowed, k=5)
    parts = rank_in_blocks(ranker, ranker.arrays, query, query.history, allowed, k=5, item_block=6)
    np.testing.assert_array_equal(whole.rows, parts.rows)
    np.testing.assert_array_equal(whole.scores, parts.scores)


def test_what_is_seen_stays_out_though_the_ranker_reads_a_short_history():
    ranker, histories, log = make()
    short = MeanOfHistory(ranker.arrays, history_length=2)
    found = rank_users(short, histories, np.arange(USERS), np.ones(ITEMS, bool), k=ITEMS, asked_at=np.zeros(USERS))
    for user in range(USERS):
        rows = found.rows[user][found.rows[user] >= 0]
        assert set(rows) == set(range(ITEMS)) - set(log.item_rows[log.user_rows == user])


@pytest.mark.parametrize("shape", [(8, 1), (4, 2)])
@pytest.mark.parametrize("item_block", [None, 16])
def test_a_mesh_gives_the_ranking_of_one_device(shape, item_block):
    ranker, histories, log = make()
    padded = jnp.pad(ranker.arrays.items["vectors"], ((0, 3), (0, 0)))  # 56 rows, so that two devices share evenly
    allowed = np.arange(56) < ITEMS
    mesh = jax.make_mesh(shape, ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    rows = jax.device_put(padded, NamedSharding(mesh, PartitionSpec("model")))
    sharded = MeanOfHistory(Arrays({}, {"vectors": rows}))
    with jax.transfer_guard("disallow"):
        found = rank_users(
            sharded,
            histories,
            np.arange(USERS),
            allowed,
            k=9,
            asked_at=np.zeros(USERS),
            users_per_block=16,
            item_block=item_block,
        )
    np.testing.assert_array_equal(found.rows, by_hand(ranker, log, allowed[:ITEMS], 9))


def test_new_arrays_do_not_compile_again():
    _, histories, _ = make()
    ask = dict(k=4, asked_at=np.zeros(USERS), users_per_block=16)
    for seed in range(3):
        rank_users(make(seed)[0], histories, np.arange(USERS), np.ones(ITEMS, bool), **ask)
        if seed == 0:
            compiled = _compiled._cache_size()
    assert _compiled._cache_size() == compiled


def test_a_ranker_that_cannot_be_hashed_still_ranks():
    @dataclass(frozen=True)
    class WithList(MeanOfHistory):
        notes: list = None

    ranker, histories, log = make()
    odd = WithList(ranker.arrays, notes=[1])
    found = rank_users(odd, histories, np.arange(USERS), np.ones(ITEMS, bool), k=4, asked_at=np.zeros(USERS))
    np.testing.assert_array_equal(found.rows, by_hand(ranker, log, np.ones(ITEMS, bool), 4))


def test_user_blocks_hold_every_user_once_in_few_widths():
    lengths = np.random.default_rng(0).integers(0, 2_000, 500)
    asked = np.arange(0, 500, 2)
    blocks = list(user_blocks(asked, lengths, 32))
    assert sorted(np.concatenate([b.positions for b in blocks])) == list(range(250))
    assert {b.width for b in blocks} <= {64, 256, 1024, 4096}
    for block in blocks:
        real = block.user_rows[: len(block.positions)]
        np.testing.assert_array_equal(real, asked[block.positions])
        assert (block.user_rows[len(real) :] == -1).all() and len(block.user_rows) == 32
        assert lengths[real].max() <= block.width
