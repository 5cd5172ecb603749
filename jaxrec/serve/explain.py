"""Why an item was recommended: what the score loses without each past item, and the tags they share.

The loss is exact, not estimated: the exported score function runs on the history with one item left out at a time
(leave-one-out; the "influence by deletion" of Koh and Liang, ICML 2017, without their approximation).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from jaxrec.data.queries import QueryArrays
from jaxrec.serve.loaded import WHOLE, by_blocks, power_of_two
from jaxrec.serve.stored import StoredItems

LAST_ITEMS = 50


@dataclass(frozen=True)
class Because:
    """A past item and by how much the score falls without it.

    liked: its latest event weighs at least as much as an ordinary one; a low rating may move a score as well.
    """

    item_id: str
    title: str
    effect: float
    liked: bool = True


@dataclass(frozen=True)
class Reason:
    """text: one sentence. because: past items, strongest first. tags: those the item shares with them.

    text_effect: by how much the score falls without the asker's words; 0 where nothing was said. sources: by how much
    each of `jaxrec.ranker.READS` lifts the score above an average item's; {} for a ranker whose score is no sum.
    """

    text: str
    because: tuple[Because, ...] = ()
    tags: tuple[str, ...] = ()
    text_effect: float = 0.0
    sources: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Effects:
    """past: int [p], distinct item rows, latest first. scores: [r]. falls: [p, r]; text: [r], of the words.

    weights: float [p], of each item's latest event. sources: float [r] by source, what adds up to the scores; {} where
    they are no sum.
    """

    past: np.ndarray
    weights: np.ndarray
    scores: np.ndarray
    falls: np.ndarray
    text: np.ndarray
    sources: Mapping[str, np.ndarray]


def leave_one_out(
    score: Callable[[QueryArrays, np.ndarray], dict[str, np.ndarray]],
    query: QueryArrays,
    rows: np.ndarray,
    last: int = LAST_ITEMS,
) -> Effects:
    """Effects of each of the asker's last items, and of the asker's words, on the scores of `rows`.

    query: one asker ([1, length] fields). score(query of b askers, int32 [r]) -> float32 [b, r] by source, as
    `Loaded.summands`. An item that stands in the history more than once is left out altogether.
    """
    history = query.history[0]
    latest_first = zip(history[::-1].tolist(), query.weights[0][::-1].tolist(), strict=True)
    weight_of: dict[int, float] = {}
    for row, weight in latest_first:
        weight_of.setdefault(row, weight)
    weight_of.pop(-1, None)
    past = np.array(list(weight_of), np.int32)[:last]
    batch = power_of_two(min(len(history), last) + 2)  # by the width: one program for all histories that share it
    fields = {name: np.repeat(values, batch, axis=0) for name, values in query.named().items()}
    for place, row in enumerate(past, start=1):
        kept = np.flatnonzero((history != row) & (history >= 0))
        for name, empty in (("history", -1), ("weights", 0), ("ages", 0)):
            values = getattr(query, name)[0]
            fields[name][place] = empty
            fields[name][place, : len(kept)] = values[kept]
    fields["text"][len(past) + 1] = 0
    each = QueryArrays(**fields)
    summands = by_blocks(lambda block: score(each, block), rows)
    scores = sum(part.astype(np.float64) for part in summands.values())
    falls = scores[0] - scores[1:]
    weights = np.array(list(weight_of.values()))[:last]
    sources = {source: part[0] for source, part in summands.items() if source != WHOLE}
    return Effects(past, weights, scores[0], falls[: len(past)], falls[len(past)], sources)


def reasons(
    items: StoredItems,
    rows: np.ndarray,
    effects: Effects,
    *,
    liked_from: float,
    at_most: int = 3,
) -> list[Reason]:
    """One reason for each of `rows`. liked_from: the weight from which on an event tells of liking."""
    found = [_reason(items, int(row), effects, column, liked_from, at_most) for column, row in enumerate(rows)]
    return [
        replace(reason, sources={source: float(lifts[column]) for source, lifts in effects.sources.items()})
        for column, reason in enumerate(found)
    ]


def _reason(items: StoredItems, row: int, effects: Effects, column: int, liked_from: float, at_most: int) -> Reason:
    falls = effects.falls[:, column]
    strongest = [p for p in np.argsort(-falls, kind="stable")[:at_most] if falls[p] > 0.05 * max(falls.max(), 0) > 0]
    because = tuple(
        Because(
            items.id(effects.past[p]),
            items.title(effects.past[p]),
            float(falls[p]),
            bool(effects.weights[p] >= liked_from),
        )
        for p in strongest
    )
    theirs = {tag for p in strongest for tag in items.tags.of(effects.past[p])}
    reason = Reason("", because, tuple(t for t in items.tags.of(row) if t in theirs), float(effects.text[column]))
    return replace(reason, text=sentence(reason))


def sentence(reason: Reason) -> str:
    """The reason in plain words: "Because you liked A and B; shares Comedy, Drama." """
    strongest = max((b.effect for b in reason.because), default=0.0)
    parts = []
    if reason.text_effect > max(strongest, 0):
        parts.append("Fits your words")
    if reason.because:
        first, *second = reason.because[:2]
        said = f"because you {_verb(first)} {first.title}"
        for other in second:
            said += f" and {other.title}" if other.liked == first.liked else f" and {_verb(other)} {other.title}"
        parts.append(said)
    if reason.tags:
        parts.append(f"shares {', '.join(reason.tags[:4])}")
    if not parts:
        return "No single past item moved its score."
    whole = "; ".join(parts)
    return whole[0].upper() + whole[1:] + "."


def _verb(because: Because) -> str:
    return "liked" if because.liked else "know"
