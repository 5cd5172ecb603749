"""The generated data holds what it says: tastes that show in events and in words, the same for the same seed."""

import numpy as np
import pytest

from jaxrec.data.cleaning import clean
from jaxrec.data.dataset import index_ids
from jaxrec.data.holdout import ColdItems, LeaveLastOut, RandomPerUser, TimeCutoff
from jaxrec.data.sources.synthetic import TASTES, Synthetic
from jaxrec.errors import UserError

TINY = Synthetic(users=40, items=48, tastes=3, events_per_user=12)


def test_the_same_seed_gives_the_same_tables():
    one, two, other = TINY.load(), TINY.load(), Synthetic(40, 48, 3, 12, seed=1).load()
    for name in ("interactions", "catalog", "users"):
        assert getattr(one, name).equals(getattr(two, name))
        assert not getattr(one, name).equals(getattr(other, name))


def test_users_keep_to_their_tastes_and_texts_show_the_kind():
    data = index_ids(clean(Synthetic().load())[0])
    kinds = np.arange(400) % 8
    share = np.zeros((data.num_users, 8))
    np.add.at(share, (data.interactions.user_rows, kinds[data.interactions.item_rows]), 1)
    top_two = np.sort(share / share.sum(1, keepdims=True))[:, -2:].sum(1)
    assert 0.75 < top_two.mean() < 0.9  # two of eight kinds by chance: 0.25
    for row in range(50):
        words = set(TASTES[list(TASTES)[row % 8]].split())
        assert len(words & set(data.catalog.texts[row].as_py().lower().replace(",", "").replace(".", "").split())) >= 4
        assert list(TASTES)[row % 8] in data.catalog.tags.of(row)


def test_new_items_stand_in_the_catalog_alone():
    tables = Synthetic(new_items=0.1).load()
    assert tables.catalog.num_rows == 400 and len(tables.interactions["item_id"].unique()) == 360


@pytest.mark.parametrize("rule", [TimeCutoff(), LeaveLastOut(), RandomPerUser(), ColdItems()], ids=str)
@pytest.mark.parametrize("source", [TINY, Synthetic()], ids=["tiny", "demo"])
def test_every_holdout_can_judge_it(rule, source):
    holdout = rule(index_ids(clean(source.load())[0]))
    assert len(holdout.judged()) >= 10 and len(holdout.judged("valid")) >= 5


def test_ratings_are_higher_inside_the_taste_and_nothing_is_cleaned_away():
    cleaned, report = clean(Synthetic().load())
    assert report.rows_before == report.rows_after > 10_000
    assert set(np.unique(cleaned.interactions["weight"].to_numpy())) == {1, 2, 3, 4, 5}


def test_numbers_that_do_not_fit():
    with pytest.raises(UserError, match="Synthetic needs 2 to 12 tastes"):
        Synthetic(tastes=99).load()
