"""From a request to an answer: what is asked, what may be answered, and how the parts of a score are weighed."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from jaxrec.data.events import Done, disliked, liked
from jaxrec.errors import UserError
from jaxrec.serve.asking import Asked
from jaxrec.serve.explain import Reason
from jaxrec.serve.loaded import padded_row
from jaxrec.serve.recommender import Recommendation
from jaxrec.serve.rerank import Dials, pick, standard
from jaxrec.serve.sentence import Wish, read_wish
from jaxrec.serve.service.assistant import Facts
from jaxrec.serve.service.live import WIDTHS, Live
from jaxrec.serve.service.wire import Asker, Filters, Past, ProfileOf, Recommend

DISLIKE = 1.0  # of the standardised score that somebody with the disliked items would give
UNWANTED = 0.5  # of the cosine with the words that a sentence rules out, beside that with those it asks for
FAME = 0.15  # of the standardised logarithm of popularity, beside a sentence of somebody of whom nothing is known


@dataclass(frozen=True, eq=False)
class Plan:
    """A request as arrays. dislikes: a question as of somebody who has those items, None without any. known: whether
    there is anything to go by but the sentence. ids that are not in the catalog: unknown."""

    live: Live
    request: Recommend
    asked: Asked
    dislikes: Asked | None
    wish: Wish | None
    known: bool
    own: np.ndarray
    unknown: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def dials(self) -> Dials:
        r = self.request
        return Dials(r.diversity, r.calibration, r.popularity, r.novelty)

    @property
    def plain(self) -> bool:
        """Whether the ranker's own order is the answer."""
        return self.known and self.wish is None and self.dislikes is None and not self.dials.any


def asked_of(
    live: Live, asker: Asker, events: Sequence[Done], now: int, **options: Any
) -> tuple[Asked, dict[str, float], np.ndarray, list[str]]:
    """(the question, dislikes and how much each counts, rows of the asker's own items, unknown ids)."""
    against = disliked(events, now) | dict.fromkeys(asker.dislikes, 1.0)
    _, strange = live.rows(against)
    history, unknown = _history(live, asker.history, events, now)
    asked = live.recommender.asked(
        asker.user if live.keeps(asker.user) else None,
        [event for event in history if event[0] not in against],
        features=asker.features,
        text=asker.text or None,
        context=_context(live, asker, now),
        at=live.clock(now),
        **options,
    )
    own = asked.query.history[0]
    return asked, {i: w for i, w in against.items() if i not in strange}, own[own >= 0], [*unknown, *strange]


def _context(live: Live, asker: Asker, now: int) -> dict[str, str]:
    """What the request says of where it comes from, and the hour and the weekday of now where they are read: the clock
    of the data, which ages are counted by, says nothing of them."""
    read, by_time = live.recommender.loaded.contexts, live.recommender.loaded.contexts.by_time(now)
    return {c.name: by_time[c.name] for c in read.columns if c.name in by_time} | asker.context


def _history(
    live: Live, given: Sequence[str | Past], events: Sequence[Done], now: int
) -> tuple[list[tuple[str, float, int]], list[str]]:
    """((item, weight, seconds of the data's time) of what was done and what is given, ids that are not in the
    catalog)."""
    ordinary = live.recommender.manifest.default_weight
    past = [Past(item_id=p) if isinstance(p, str) else p for p in given]
    told = [(p.item_id, ordinary if p.weight is None else p.weight, now if p.at is None else p.at) for p in past]
    history = [(i, w, live.clock(at)) for i, w, at in (*liked(events, ordinary), *told)]
    _, unknown = live.rows(item for item, _, _ in history)
    return [event for event in history if event[0] not in unknown], unknown


def plan_of(
    live: Live, request: Recommend, events: Sequence[Done], now: int | None = None, wish: Wish | None = None
) -> Plan:
    """wish: in place of the request's sentence. Raises UserError for options that the artifact cannot answer."""
    now, most = int(time.time()) if now is None else now, live.recommender.manifest.k_max
    if request.k > most:
        raise UserError(f"k: this artifact answers with up to {most} items; export it with a larger k_max for more")
    exclude, unknown_exclude = live.rows(request.exclude)
    asked, against, own, unknown = asked_of(live, request, events, now, exclude_seen=request.exclude_seen)
    no_rows, _ = live.rows(against)
    never = np.concatenate([exclude, no_rows])
    if wish is None and request.sentence.strip():
        wish = read_wish(request.sentence, live.catalog.tags.names)
    allowed, notes = live.everything, []
    if request.candidates is not None:
        only, unknown_candidates = live.rows(request.candidates)
        unknown = [*unknown, *unknown_candidates]
        allowed = live.recommender.loaded.allowed(only)
    if request.filters != Filters():
        allowed = allowed & filtered(live, request.filters, len(allowed))
    if wish is not None:
        said = Filters(
            all_tags=list(wish.tags), no_tags=list(wish.no_tags), year_from=wish.year_from, year_to=wish.year_to
        )
        strict = allowed & filtered(live, said, len(allowed))
        if strict.any():
            allowed = strict if said != Filters() else allowed
        else:
            notes.append("no item fits all that the sentence names: its tags and years are not held to")
    if len(never):
        allowed = allowed.copy()
        allowed[never] = False
    dislikes = None
    if len(no_rows):
        dislikes = live.recommender.asked(history=list(against.items()), at=live.clock(now))
    known = asked.known or bool(request.features) or bool(request.text) or bool(request.context)
    if request.user is not None and not len(own):
        notes.append("nothing is known of this user yet")
    if asked.seen.shape[1] > WIDTHS[-1]:  # wider than any program is compiled for: left out by the mask
        allowed = allowed.copy()
        allowed[asked.seen[asked.seen >= 0]] = False
        asked = asked._replace(seen=padded_row(asked.seen[0, :0]))
    asked = asked._replace(allowed=allowed)
    unknown = tuple(dict.fromkeys([*unknown, *unknown_exclude]))
    return Plan(live, request, asked, dislikes, wish, known, own, unknown, tuple(notes))


def filtered(live: Live, filters: Filters, size: int) -> np.ndarray:
    """bool [size]: the items that the filters let through. A tag that the catalog has not lets nothing through where it
    is required, and everything where it is forbidden."""
    names = {name.lower(): place for place, name in enumerate(live.catalog.tags.names)}

    def having(tag: str) -> np.ndarray:
        place = names.get(tag.lower())
        return np.zeros(len(live.tags), bool) if place is None else live.tags[:, place]

    fits = np.ones(len(live.tags), bool)
    for tag in filters.all_tags:
        fits &= having(tag)
    if filters.any_tags:
        fits &= np.any([having(tag) for tag in filters.any_tags], axis=0)
    for tag in filters.no_tags:
        fits &= ~having(tag)
    if filters.year_from is not None:
        fits &= live.years >= filters.year_from
    if filters.year_to is not None:
        fits &= (live.years >= 0) & (live.years <= filters.year_to)
    return np.pad(fits, (0, size - len(fits)))


def weighed(plan: Plan, ranked: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, list[dict[str, float]]]:
    """(item rows, scores, parts of each score), best first. ranked: what the ranker itself puts first.

    The candidates are those and the nearest to the sentence; each part is standardised over them, so that the score is
    the sum of its parts: (1 - language) model + language sentence - dislikes, then the dials choose.
    """
    live, request = plan.live, plan.request
    most = live.recommender.manifest.k_max
    rows = ranked[1][ranked[1] >= 0] if plan.known else _popular(plan, most)
    close = None
    if plan.wish is not None:
        close = _closeness(plan)
        rows = np.union1d(rows, _best(plan, close, most))
    if not len(rows):
        return rows, np.zeros(0), []
    language = request.language if plan.wish is not None and plan.known else 1.0 if plan.wish is not None else 0.0
    fame = standard(np.log1p(live.catalog.popularity[rows]))
    parts: dict[str, np.ndarray] = {}
    if language < 1:
        model = standard(live.scores_of(plan.asked, rows).astype(np.float64)) if plan.known else fame
        parts["model"] = (1.0 - language) * model
    if plan.wish is not None:
        parts["sentence"] = language * standard(close[rows])
        if not plan.known:
            parts["popularity"] = FAME * fame
    if plan.dislikes is not None:
        theirs = standard(live.scores_of(plan.dislikes, rows).astype(np.float64))
        parts["dislikes"] = -DISLIKE * np.maximum(theirs, 0.0)
    scores = sum(parts.values(), np.zeros(len(rows)))
    wanted = live.mix[plan.own].sum(axis=0)
    chosen = pick(
        scores,
        request.k,
        plan.dials,
        vectors=live.vectors[rows],
        tags=live.mix[rows],
        wanted=wanted / wanted.sum() if wanted.sum() else wanted,
        popularity=live.catalog.popularity[rows],
    )
    shown = [{name: round(float(values[place]), 4) for name, values in parts.items()} for place in chosen]
    return rows[chosen], scores[chosen], shown


def _closeness(plan: Plan) -> np.ndarray:
    """Cosine of the items' texts with the words that are wanted, less some of that with those that are not."""
    live, wish = plan.live, plan.wish
    close = np.zeros(len(live.catalog))
    for words, share in ((wish.text, 1.0), (wish.unwanted, -UNWANTED)):
        if words:
            wanted = live.encode(words)
            close = close + share * (live.texts @ wanted)
    return close


def _free(plan: Plan) -> np.ndarray:
    """bool [items]: what may be answered, without what the asker has."""
    free = plan.asked.allowed[: len(plan.live.catalog)].copy()
    free[plan.asked.seen[plan.asked.seen >= 0]] = False
    return free


def _best(plan: Plan, values: np.ndarray, count: int) -> np.ndarray:
    order = np.argsort(-np.where(_free(plan), values, -np.inf), kind="stable")[:count]
    return order[_free(plan)[order]]


def _popular(plan: Plan, count: int) -> np.ndarray:
    return _best(plan, plan.live.catalog.popularity.astype(np.float64), count)


def known_by(plan: Plan, scores: np.ndarray) -> Plan:
    """The plan as of somebody unknown, where the ranker can read nothing of what is known: its scores, best first, do
    not tell items apart."""
    there = scores[np.isfinite(scores)]
    return replace(plan, known=plan.known and (len(there) < 2 or bool(there[0] > there[-1])))


def told(
    plan: Plan, rows: np.ndarray, scores: np.ndarray, parts: Sequence[dict[str, float]], why: Sequence[Reason] | None
) -> dict[str, Any]:
    """The answer as JSON."""
    basis = [name for name, there in (("model", plan.known), ("sentence", plan.wish is not None)) if there]
    items = [shown(item) for item in plan.live.recommender.listed(rows, scores, why)]
    for item, share in zip(items, parts, strict=True):
        item["parts"] = share
    answer = {
        "items": items,
        "basis": basis or ["popularity"],
        "unknown_items": list(plan.unknown),
        "notes": list(plan.notes),
        "model": plan.live.version,
    }
    if plan.wish is not None:
        answer["understood"] = {
            "tags": list(plan.wish.tags),
            "no_tags": list(plan.wish.no_tags),
            "year_from": plan.wish.year_from,
            "year_to": plan.wish.year_to,
            "unwanted": plan.wish.unwanted,
        }
    return answer


def shown(item: Recommendation) -> dict[str, Any]:
    """One item as JSON, without a reason where there is none."""
    if item.reason is not None:
        return item.to_json()
    plain = ("item_id", "title", "score", "rank", "tags")
    return {name: getattr(item, name) for name in plain}


def explained(
    live: Live, asked: Asked, own: np.ndarray, rows: np.ndarray
) -> tuple[list[dict[str, Any]], list[Reason | None]]:
    """(the score of each item, and by how much it falls without the history, the words and the features: measured, by
    asking again without each; the reasons)."""
    reasons = live.recommender.why(asked, rows) if len(own) else [None] * len(rows)
    scores = live.scores_of(asked, rows)
    without = {
        "history": asked.query._replace(
            history=np.full_like(asked.query.history, -1),
            weights=np.zeros_like(asked.query.weights),
            ages=np.zeros_like(asked.query.ages),
        ),
        "text": asked.query._replace(text=np.zeros_like(asked.query.text)),
        "features": asked.query._replace(features=np.zeros_like(asked.query.features)),
    }
    if asked.query.context is not None:
        without["context"] = asked.query._replace(context=np.zeros_like(asked.query.context))
    falls = {name: scores - live.scores_of(asked._replace(query=query), rows) for name, query in without.items()}
    found = []
    for place, item in enumerate(live.recommender.listed(rows, scores, reasons)):
        effects = {name: round(float(fall[place]), 5) for name, fall in falls.items()}
        found.append({**shown(item), "falls_without": effects})
    return found, reasons


def facts_of(live: Live, row: int, reason: Reason | None, wish: str = "") -> Facts:
    """What a reason in words may speak of."""
    own = live.catalog.tags.of(row)
    because = tuple(b.title for b in reason.because[:2]) if reason else ()
    shared = reason.tags[:3] if reason and reason.tags else tuple(own[:3])
    return Facts(live.catalog.title(row), because, tuple(shared), wish)


def profiled(live: Live, request: ProfileOf, events: Sequence[Done]) -> dict[str, Any]:
    """Weighted tags of a user, a history or an item."""
    history, _ = _history(live, request.history, events, int(time.time()))
    user = request.user if live.keeps(request.user) else None
    if request.item is None and user is None and not history:
        raise UserError("profile: nothing is known of this user; name a user of the artifact, a history or an item")
    asked = None if request.item is not None and not history and request.user is None else history
    return live.recommender.profile(user, request.item, asked, top=request.top).to_json() | {"model": live.version}
