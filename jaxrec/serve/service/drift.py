"""How far what comes in is from what the artifact was trained on."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jaxrec.serve.service.events import EventLog
from jaxrec.serve.service.live import Live

SHIFTED = 0.25  # the population stability index from which on a shift is called large, by the custom of the field


@dataclass(frozen=True)
class Drift:
    """events: that came in. unknown_items, new_users: shares of them. tags, popularity: population stability index
    sum (p - q) ln(p / q) of the incoming events against those of training, over the catalog's tags, and over tenths of
    the events by the popularity of their items; None before there are events. shifted: whether one is large.
    """

    events: int
    unknown_items: float
    new_users: float
    tags: float | None
    popularity: float | None
    shifted: bool

    @classmethod
    def of(cls, live: Live, log: EventLog) -> "Drift":
        events = [event for own in log.users.values() for event in own]
        if not events:
            return cls(0, 0.0, 0.0, None, None, False)
        rows = live.catalog.ids.find([event.item_id for event in events])
        users = live.recommender.loaded.users
        known = np.zeros(len(events), bool) if users is None else users.ids.find([e.user for e in events]) >= 0
        there, trained = rows[rows >= 0], live.catalog.popularity.astype(np.float64)
        tags = fame = None
        if len(there) and trained.any():
            tags = stability(live.mix[there].sum(axis=0), trained @ live.mix)
            tenth = np.searchsorted(np.cumsum(np.sort(trained)) / trained.sum(), np.arange(0.1, 1, 0.1))
            bucket = np.searchsorted(np.sort(trained)[tenth], trained)
            fame = stability(np.bincount(bucket[there], minlength=10), np.bincount(bucket, trained, minlength=10))
        shifted = any(value is not None and value > SHIFTED for value in (tags, fame))
        return cls(len(events), float((rows < 0).mean()), float((~known).mean()), tags, fame, shifted)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def stability(new: np.ndarray, old: np.ndarray) -> float:
    """The population stability index of counts, smoothed by half an event a bucket."""
    p, q = ((counts + 0.5) / (counts + 0.5).sum() for counts in (new, old))
    return float(((p - q) * np.log(p / q)).sum())
