from dataclasses import replace

import numpy as np
import pyarrow as pa

from jaxrec.data.cleaning import clean
from jaxrec.data.dataset import index_ids
from jaxrec.data.fingerprint import fingerprint
from jaxrec.data.holdout import RandomPerUser
from jaxrec.data.sources.synthetic import Synthetic

SOURCE = Synthetic(users=12, items=20, tastes=3, events_per_user=8)


def of(tables):
    dataset = index_ids(clean(tables)[0])
    return fingerprint(dataset, RandomPerUser()(dataset))


def test_the_same_files_read_again_give_the_same():
    assert of(SOURCE.load()) == of(SOURCE.load())


def test_any_change_gives_another():
    tables = SOURCE.load()
    log, catalog = tables.interactions, tables.catalog
    shuffled = catalog.take(np.random.default_rng(0).permutation(catalog.num_rows))
    shorter = log.slice(0, log.num_rows - 1)
    where = catalog.column_names.index("title")
    titles = pa.array(["another", *catalog["title"].to_pylist()[1:]])
    renamed = catalog.set_column(where, "title", titles)
    changed = [
        replace(tables, catalog=shuffled),
        replace(tables, interactions=shorter),
        replace(tables, catalog=renamed),
    ]
    assert len({of(tables), *map(of, changed)}) == 4
