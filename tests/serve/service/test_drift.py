"""Drift, against its formula and with events of a known kind."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from jaxrec.data.events import Done
from jaxrec.serve.service.drift import SHIFTED, Drift, stability
from jaxrec.serve.service.events import EventLog
from jaxrec.serve.service.live import Live


def test_the_index_is_its_formula():
    new, old = np.array([9.5, 29.5]), np.array([19.5, 19.5])
    assert stability(new, old) == pytest.approx((0.25 - 0.5) * np.log(0.5) + (0.75 - 0.5) * np.log(1.5))
    assert stability(old, old) == 0


def test_events_like_those_of_training_do_not_drift_and_others_do(artifact, tmp_path):
    live, draw = Live.load(artifact), np.random.default_rng(0)
    popularity = live.catalog.popularity

    def drift(name, rows):
        log = EventLog(tmp_path / name)
        log.append([Done(f"u{place % 40}", live.catalog.id(row), "view", None, 1) for place, row in enumerate(rows)])
        return Drift.of(live, log)

    like = drift("like", draw.choice(24, 600, p=popularity / popularity.sum()))
    assert not like.shifted and like.tags < 0.05 and like.unknown_items == like.new_users == 0
    other = drift("other", np.full(600, 14))
    assert other.shifted and other.tags > SHIFTED
    assert Drift.of(live, EventLog(tmp_path / "none")).events == 0
    untold = replace(live.catalog, popularity=np.zeros_like(popularity))
    live = SimpleNamespace(catalog=untold, recommender=live.recommender, mix=live.mix)
    unknown = drift("unknown", [1, 2])
    assert unknown.tags is unknown.popularity is None and not unknown.shifted
