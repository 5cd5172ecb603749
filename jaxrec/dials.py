"""What the dials of a list cost and give, measured on lists that were judged."""

from collections.abc import Sequence

import numpy as np

from jaxrec.evaluate import metrics
from jaxrec.evaluate.evaluator import Evaluation, Judged
from jaxrec.evaluate.report import Dial
from jaxrec.serve.rerank import Dials, pick, standard, unit

SHOWN = 10
USERS = 1_000  # drawn from those judged, at most
SETTINGS = (
    Dials(),
    *(Dials(**{name: turned}) for name in ("diversity", "calibration", "novelty") for turned in (0.2, 0.5)),
    *(Dials(popularity=turned) for turned in (-0.5, 0.5)),
)


def dial_effects(
    result: Evaluation, judged: Judged, text: np.ndarray, settings: Sequence[Dials] = SETTINGS
) -> tuple[Dial, ...]:
    """What each setting makes of the lists of up to 1,000 judged users: the ten chosen of all that were ranked, which
    are the first hundred where the metrics reach so far.

    text: float32 [items, dim], unit rows, what diversity compares; width 0 for the items' tags. () where the items have
    neither tags nor texts.
    """
    tags = judged.item_tags
    if tags is None and not text.shape[1]:
        return ()
    tags = np.zeros((len(judged.candidates), 1), np.float32) if tags is None else tags
    vectors = text if text.shape[1] else unit(tags)
    users = np.sort(np.random.default_rng(0).permutation(len(judged.user_rows))[:USERS])
    wanted = judged.own_tags[users] if judged.item_tags is not None else np.zeros((len(users), 1))
    return tuple(_effect(result, judged, dials, users, vectors, tags, wanted) for dials in settings)


def _effect(
    result: Evaluation,
    judged: Judged,
    dials: Dials,
    users: np.ndarray,
    vectors: np.ndarray,
    tags: np.ndarray,
    wanted: np.ndarray,
) -> Dial:
    lists = np.full((len(users), SHOWN), -1, np.int32)
    for place, user in enumerate(users):
        rows = result.rows[user][result.rows[user] >= 0]
        chosen = pick(
            standard(result.scores[user][: len(rows)].astype(np.float64)),
            SHOWN,
            dials,
            vectors=vectors[rows],
            tags=tags[rows],
            wanted=wanted[place],
            popularity=judged.share[rows] * judged.num_known_users,
        )
        lists[place, : len(chosen)] = rows[chosen]
    hits, own = judged.hits(lists, users), judged.item_tags is not None
    return Dial(
        _name(dials),
        metrics.mean(metrics.ndcg(hits, judged.positives[users], SHOWN)),
        metrics.coverage(lists, len(judged.candidates), SHOWN),
        metrics.mean(metrics.diversity(lists, vectors, SHOWN)),
        metrics.mean(metrics.miscalibration(lists, wanted, tags, SHOWN)) if own else None,
        metrics.mean(metrics.popularity(lists, judged.share, SHOWN)),
    )


def _name(dials: Dials) -> str:
    turned = (f"{name} {value:g}".replace("-", "−") for name, value in vars(dials).items() if value)
    return ", ".join(turned) or "as ranked"
