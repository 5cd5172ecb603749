"""Profiles for people to read: weighted tags of a user or an item, each with its evidence."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jaxrec.data.features import Tags
from jaxrec.data.interactions import Histories
from jaxrec.serve.stored import StoredItems
from jaxrec.serve.tag_profiles import TagWeight, base_rates, blended_events, imagined, tag_weights

AT_MOST = 5
# Imagined events per tag of a user. On validation 10 to 100 differ little; 10 shrinks short histories least, and simple
# counting foretells the next choices better than any of them, but begins two profiles in three with the same tag.
EXPECTED = 10.0
EXPECTED_WORDS = 1.0
WORD_ITEMS = 3
LIKELY = 0.15  # of an item's events, half of which is the item itself: 3 in 10 of its neighbours


@dataclass(frozen=True)
class Evidence:
    """An item that carries the tag; weight: of the user's event, or of the likeness to the item."""

    item_id: str
    title: str
    weight: float


@dataclass(frozen=True)
class ProfileTag:
    """weight: bits, see `tag_profiles`. share: how often the subject carries the tag, base: how often everybody does.

    kind: "tag" of the catalog, or "word" of the texts. own: the item itself carries the tag; always true for a user.
    """

    tag: str
    kind: str
    weight: float
    share: float
    base: float
    own: bool
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Profile:
    """kind: "user" or "item". id: None for a history without a user. vector: None where the ranker has none.

    tags: those of the catalog, heaviest first, then words.
    """

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
            name = f'"{tag.tag}"' if tag.kind == "word" else tag.tag
            rates = f"{_percent(tag.share)} here, {_percent(tag.base)} elsewhere"
            lines.append(f"  {tag.weight:5.2f}  {name}{likely}: {rates} ({seen})")
        return lines


def user_profile(
    catalog: StoredItems, user: str | None, events: Histories, vector: np.ndarray | None, top: int, tags: Tags
) -> Profile:
    """The profile of asker 0 of `events`. tags: the catalog's, with likely ones where an item has none.

    Words take up to 3 of 10 places: those that the texts of 3 different items share.
    """
    rows, weights = events.item_rows, events.weights
    base, word_base = base_rates(tags, catalog.popularity), catalog.word_base
    found = tag_weights(tags, rows, weights, base, prior=imagined(base, EXPECTED), top=top)
    words = tag_weights(
        catalog.words,
        rows,
        weights,
        word_base,
        prior=imagined(word_base, EXPECTED_WORDS),
        top=top,
        least_items=WORD_ITEMS,
    )
    words = _without_parts(words, catalog.words.names)[: _places_for_words(top, tags)]
    found = found[: top - len(words)]
    listed = (
        *_listed(catalog, tags, "tag", found, rows, weights, None),
        *_listed(catalog, catalog.words, "word", words, rows, weights, None),
    )
    return Profile("user", user, "", len(rows), listed, _numbers(vector))


def item_profile(
    catalog: StoredItems,
    row: int,
    neighbours: np.ndarray,
    similarity: np.ndarray,
    vector: np.ndarray | None,
    top: int,
    tags: Tags,
) -> Profile:
    """An item's own tags, those at least 3 in 10 of its neighbours carry, and its own words.

    The item weighs as much as all its neighbours. tags: the catalog's, with likely ones where an item has none.
    """
    rows, weights = blended_events(row, neighbours, similarity)
    likeness = np.concatenate([[1.0], similarity])
    found = tag_weights(tags, rows, weights, base_rates(tags, catalog.popularity), prior=1.0, top=top)
    own = set(catalog.tags.of(row))
    found = [t for t in found if t.share >= LIKELY or tags.names[t.tag] in own]
    words = tag_weights(catalog.words, rows, weights, catalog.word_base, prior=1.0, top=len(catalog.words.names))
    mine = set(catalog.words.of(row))
    words = [w for w in words if catalog.words.names[w.tag] in mine]
    words = _without_parts(words, catalog.words.names)[: _places_for_words(top, tags)]
    found = found[: top - len(words)]
    listed = (
        *_listed(catalog, tags, "tag", found, rows, likeness, own),
        *_listed(catalog, catalog.words, "word", words, rows, likeness, mine),
    )
    return Profile("item", catalog.id(row), catalog.title(row), int(catalog.popularity[row]), listed, _numbers(vector))


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else f"{share:.1%}"


def _places_for_words(top: int, tags: Tags) -> int:
    """3 of 10; all where the catalog has no tags."""
    return 3 * top // 10 if tags.names else top


def _without_parts(words: list[TagWeight], names: tuple[str, ...]) -> list[TagWeight]:
    """Without "star" where "star trek" says it: a word that most often comes with one of the pairs."""

    def said(word: TagWeight, pair: TagWeight) -> bool:
        parts = names[pair.tag].split(" ")
        return len(parts) > 1 and names[word.tag] in parts and 2 * len(pair.evidence) >= len(word.evidence)

    return [word for word in words if not any(said(word, pair) for pair in words)]


def _listed(
    catalog: StoredItems,
    tags: Tags,
    kind: str,
    found: list[TagWeight],
    rows: np.ndarray,
    weights: np.ndarray,
    own: set[str] | None,
) -> Iterator[ProfileTag]:
    """own: the names that the subject itself carries; None for all."""
    for t in found:
        name = tags.names[t.tag]
        evidence = _evidence(catalog, rows, weights, t.evidence)
        yield ProfileTag(name, kind, t.weight, t.share, t.base, own is None or name in own, evidence)


def _evidence(catalog: StoredItems, rows: np.ndarray, weights: np.ndarray, which: np.ndarray) -> tuple[Evidence, ...]:
    return tuple(Evidence(catalog.id(rows[e]), catalog.title(rows[e]), float(weights[e])) for e in which[:AT_MOST])


def _numbers(vector: np.ndarray | None) -> tuple[float, ...] | None:
    return None if vector is None else tuple(float(x) for x in vector)
