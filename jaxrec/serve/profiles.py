"""Profiles for people to read: weighted tags of a user or an item, each with its evidence."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jaxrec.data.interactions import Histories
from jaxrec.serve.stored import StoredItems
from jaxrec.serve.tag_profiles import blended_events, tag_weights

AT_MOST = 5


@dataclass(frozen=True)
class Evidence:
    """An item that carries the tag; weight: of the user's event, or of the likeness to the item."""

    item_id: str
    title: str
    weight: float


@dataclass(frozen=True)
class ProfileTag:
    """weight: bits, see `tag_profiles`. share: how often the subject carries the tag, base: how often everybody does.

    own: the item itself carries the tag; always true for a user.
    """

    tag: str
    weight: float
    share: float
    base: float
    own: bool
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Profile:
    """kind: "user" or "item". id: None for a history without a user. vector: None where the ranker has none."""

    kind: str
    id: str | None
    title: str
    events: int
    tags: tuple[ProfileTag, ...]
    vector: tuple[float, ...] | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> list[str]:
        """The profile as text, one tag per line."""
        head = f"{self.kind} {self.id or 'unnamed'}" + (f" ({self.title})" if self.title else "")
        lines = [f"{head}, from {self.events} events" if self.kind == "user" else head]
        for tag in self.tags:
            seen = ", ".join(e.title for e in tag.evidence[:3])
            likely = "" if tag.own else ", likely"
            lines.append(
                f"  {tag.weight:5.2f}  {tag.tag}{likely}: {tag.share:.0%} here, {tag.base:.0%} elsewhere ({seen})"
            )
        return lines


def user_profile(
    catalog: StoredItems, user: str | None, events: Histories, vector: np.ndarray | None, top: int
) -> Profile:
    """The profile of asker 0 of `events`."""
    rows = events.item_rows
    found = tag_weights(catalog.tags, rows, events.weights, catalog.base, top=top)
    tags = tuple(
        ProfileTag(
            catalog.tags.names[t.tag],
            t.weight,
            t.share,
            t.base,
            True,
            _evidence(catalog, rows, events.weights, t.evidence),
        )
        for t in found
    )
    return Profile("user", user, "", len(rows), tags, _numbers(vector))


def item_profile(
    catalog: StoredItems, row: int, neighbours: np.ndarray, similarity: np.ndarray, vector: np.ndarray | None, top: int
) -> Profile:
    """An item's own tags, and those its neighbours make likely. The item weighs as much as all its neighbours."""
    rows, weights = blended_events(row, neighbours, similarity)
    found = tag_weights(catalog.tags, rows, weights, catalog.base, prior=1.0, top=top)
    own = set(catalog.tags.of(row))
    names = catalog.tags.names
    likeness = np.concatenate([[1.0], similarity])
    tags = tuple(
        ProfileTag(
            names[t.tag], t.weight, t.share, t.base, names[t.tag] in own, _evidence(catalog, rows, likeness, t.evidence)
        )
        for t in found
    )
    return Profile("item", catalog.id(row), catalog.title(row), int(catalog.popularity[row]), tags, _numbers(vector))


def _evidence(catalog: StoredItems, rows: np.ndarray, weights: np.ndarray, which: np.ndarray) -> tuple[Evidence, ...]:
    return tuple(Evidence(catalog.id(rows[e]), catalog.title(rows[e]), float(weights[e])) for e in which[:AT_MOST])


def _numbers(vector: np.ndarray | None) -> tuple[float, ...] | None:
    return None if vector is None else tuple(float(x) for x in vector)
