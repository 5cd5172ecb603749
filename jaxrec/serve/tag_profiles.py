"""Weighted tags of a user or an item, with the evidence for each. Pure numpy.

The formula, used for both. A subject has events j with weights w_j > 0, scaled to mean 1; their sum W is their number.
Of tag t, n_t is the sum of w_j over the events whose item carries t, and q_t is the base rate: how often everybody's
events carry t. The shrunk share s_t = (n_t + a q_t) / (W + a) is drawn towards q_t by `a` imagined events, and the tag
weighs s_t log2(s_t / q_t) bits: its term of the Kullback-Leibler divergence of the subject from everybody. A tag weighs
much when it is frequent here and rarer elsewhere; below the base rate it is negative.

Items: the same `a` for all tags (Dirichlet smoothing). Users: a_t = c / q_t, so that the lift s_t / q_t is
(n_t + c) / (W q_t + c): c imagined events that carry t beside c expected ones (gamma-Poisson shrinkage: DuMouchel, The
American Statistician 1999), which draws rare tags, of which a few events tell little, further than frequent ones.
"""

from typing import NamedTuple, Protocol

import numpy as np


class Tags(Protocol):
    """Row -> tags, compressed sparse rows: tags of row r are names[t] for t in tag_rows[offsets[r]:offsets[r + 1]]."""

    names: tuple[str, ...]
    offsets: np.ndarray
    tag_rows: np.ndarray


class TagWeight(NamedTuple):
    """tag: its row. weight: bits. share, base: n_t / W and q_t. evidence: positions of the events that carry it."""

    tag: int
    weight: float
    share: float
    base: float
    evidence: np.ndarray


def base_rates(tags: Tags, popularity: np.ndarray) -> np.ndarray:
    """q_t, float64 [tags]: the share of all events whose item carries the tag.

    One imagined event is spread evenly over the catalog, so that no tag of it has a rate of 0.
    popularity: events of each item [rows]; zeros give the plain share of the catalog.
    """
    rows = len(tags.offsets) - 1
    counts = np.asarray(popularity, np.float64) + 1 / max(rows, 1)
    carried = np.repeat(counts, np.diff(tags.offsets))
    return np.bincount(tags.tag_rows, carried, minlength=len(tags.names)) / max(counts.sum(), 1e-12)


def tag_counts(
    tags: Tags, user_rows: np.ndarray, item_rows: np.ndarray, weights: np.ndarray, users: int
) -> tuple[np.ndarray, np.ndarray]:
    """(n_t of every user, float64 [users, tags]; W, float64 [users]), weights scaled to mean 1 by user.

    user_rows, item_rows: int [events]. weights: float [events]; those not above 0 say nothing.
    """
    weights = np.maximum(np.asarray(weights, np.float64), 0)
    totals = np.bincount(user_rows[weights > 0], minlength=users).astype(np.float64)
    mean = np.bincount(user_rows, weights, minlength=users) / np.maximum(totals, 1)
    weights = weights / np.where(mean > 0, mean, 1)[user_rows]
    event, tag = carried_tags(tags, item_rows)
    cells = user_rows[event].astype(np.int64) * len(tags.names) + tag
    counts = np.bincount(cells, weights[event], minlength=users * len(tags.names))
    return counts.reshape(users, len(tags.names)), totals


def carried_tags(tags: Tags, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(event, tag) of every tag that an event's item carries, int [carried]; rows: int [events]."""
    counts = tags.offsets[rows + 1] - tags.offsets[rows]
    event = np.repeat(np.arange(len(rows)), counts)
    within = np.arange(len(event)) - np.repeat(np.cumsum(counts) - counts, counts)
    return event, tags.tag_rows[tags.offsets[rows][event] + within]


def tag_scores(
    counts: np.ndarray, totals: np.ndarray, base: np.ndarray, *, prior: float | np.ndarray = 5.0
) -> np.ndarray:
    """s_t log2(s_t / q_t) of every subject, float64 [subjects, tags].

    counts: n_t, float [subjects, tags]; totals: W, [subjects]; base: q_t, [tags]; prior: a, or a of each tag, [tags].
    """
    shares = (counts + prior * base) / (totals[:, None] + prior)
    return shares * np.log2(np.divide(shares, base, out=np.ones_like(shares), where=(base > 0) & (shares > 0)))


def imagined(base: np.ndarray, expected: float) -> np.ndarray:
    """a_t = c / q_t, float64 [tags]; expected: c, the imagined events that carry each tag."""
    return expected / np.maximum(base, 1e-12)


def tag_weights(
    tags: Tags,
    rows: np.ndarray,
    weights: np.ndarray,
    base: np.ndarray,
    *,
    prior: float | np.ndarray = 5.0,
    top: int = 10,
    least: float = 0.01,
    least_items: int = 1,
) -> list[TagWeight]:
    """The `top` heaviest tags of at least `least` bits, heaviest first.

    rows: int [events], item rows, oldest first. weights: float [events]; those not above 0 say nothing. base: q_t.
    prior: a of the formula, or a of each tag, [tags]. least_items: how many different items must carry a
    tag. Evidence comes heaviest event first, then latest first.
    """
    weights = np.maximum(np.asarray(weights, np.float64), 0)
    if not weights.sum():
        return []
    counts, total = tag_counts(tags, np.zeros(len(rows), np.int64), rows, weights, 1)
    bits = tag_scores(counts, total, base, prior=prior)[0]
    event, tag = carried_tags(tags, rows)
    said = weights[event] > 0
    cells = np.unique(rows[event[said]].astype(np.int64) * len(tags.names) + tag[said])
    items = np.bincount(cells % max(len(tags.names), 1), minlength=len(tags.names))
    best = [t for t in np.argsort(-bits, kind="stable") if bits[t] >= least and items[t] >= least_items][:top]
    order = np.lexsort((-event, -weights[event]))
    share = counts[0] / total[0]
    return [
        TagWeight(int(t), float(bits[t]), float(share[t]), float(base[t]), event[order][tag[order] == t]) for t in best
    ]


def blended_events(row: int, neighbours: np.ndarray, similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An item as a subject: itself with half of the weight, its neighbours with the other half, by similarity.

    Returns (rows, weights) for `tag_weights`, the item first; without a similar neighbour the item stands alone.
    """
    similarity = np.maximum(np.asarray(similarity, np.float64), 0)
    total = similarity.sum()
    if not total:
        return np.array([row]), np.ones(1)
    return np.concatenate([[row], neighbours]), np.concatenate([[1.0], similarity / total])
