"""A ranker judged on a holdout: every user, the whole catalog, what was seen left out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from jaxrec.data.dataset import Dataset
from jaxrec.data.features import Tags
from jaxrec.data.holdout import Holdout, Part
from jaxrec.data.interactions import Histories, Interactions, distinct_pairs
from jaxrec.data.queries import asking_context, asking_times
from jaxrec.errors import DataError, DivergedError, UserError
from jaxrec.evaluate import metrics
from jaxrec.evaluate.compare import Interval, bootstrap, cell, finite
from jaxrec.evaluate.ranking import rank_users
from jaxrec.evaluate.segments import Segments
from jaxrec.ranker import Ranker, Ranking, num_items

MAX_TAGS = 256  # of a catalog whose lists are judged for calibration


@dataclass(frozen=True, eq=False)
class Judged:
    """What a part of a holdout asks: the same for every ranker.

    past: what is known when asked (train, and validation when testing); histories: the same by user.
    user_rows: int64 [users], those judged (see `Holdout.positives`), ascending; positives: int64 [users], how many each
    has. keys: int64 [positives], sorted: user position x items + item row. candidates: bool [items].
    asked_at: UTC seconds of all users of the data set. tags: of the items. context: see `asking_context`.
    """

    part: Part
    past: Interactions
    histories: Histories
    user_rows: np.ndarray
    positives: np.ndarray
    keys: np.ndarray
    candidates: np.ndarray
    asked_at: np.ndarray
    tags: Tags | None = None
    context: np.ndarray | None = None

    @classmethod
    def of(cls, dataset: Dataset, holdout: Holdout, part: Part) -> "Judged":
        """Raises DataError when no user can be judged."""
        items = dataset.num_items
        past, wanted = holdout.history(part), holdout.positives(part)
        candidates = holdout.candidates(part)
        held = holdout.valid if part == "valid" else holdout.test
        if not len(wanted):
            raise DataError(
                f"no user can be judged on the {part} part: of its {len(held)} rows none is of a user with known "
                f"events and of one of {int(candidates.sum())} candidates; hold out more, or another way"
            )
        histories = Histories.of(past, dataset.num_users)
        users, rows = distinct_pairs(wanted, items)
        user_rows, positions, positives = np.unique(users, return_inverse=True, return_counts=True)
        keys = positions * items + rows
        asked_at = asking_times(past, held, histories)
        tags = dataset.catalog.tags if dataset.catalog is not None else None
        context = asking_context(dataset.contexts, held, dataset.num_users)
        return cls(part, past, histories, user_rows, positives, keys, candidates, asked_at, tags, context)

    @property
    def lengths(self) -> np.ndarray:
        """Known events of each judged user, int64 [users]."""
        return self.histories.lengths[self.user_rows]

    @property
    def num_known_users(self) -> int:
        """Users of whom anything is known."""
        return int((self.histories.lengths > 0).sum())

    @cached_property
    def share(self) -> np.ndarray:
        """The share of the known users who have each item, float64 [items]."""
        items = len(self.candidates)
        owners = np.sort(self.past.user_rows.astype(np.int64) * items + self.past.item_rows)
        first = np.append(True, owners[1:] != owners[:-1])[: len(owners)]
        return np.bincount(owners[first] % items, minlength=items) / self.num_known_users

    @cached_property
    def own_share(self) -> np.ndarray:
        """The mean of `share` over what each judged user has, float64 [users]; 0 where nothing is known."""
        total = np.bincount(self.past.user_rows, self.share[self.past.item_rows], self.histories.num_users)
        return total[self.user_rows] / np.maximum(self.lengths, 1)

    @cached_property
    def item_tags(self) -> np.ndarray | None:
        """Each item's tags as shares that add up to 1, float32 [items, tags]; None where there are none, or too many
        to hold."""
        if self.tags is None or not 0 < len(self.tags.names) <= MAX_TAGS:
            return None
        tags = self.tags.matrix()
        return tags / np.maximum(tags.sum(axis=1, keepdims=True), 1.0)

    @cached_property
    def own_tags(self) -> np.ndarray:
        """The same of what each judged user has, float64 [users, tags]; zeros where nothing is known."""
        users, rows = self.past.user_rows, self.past.item_rows
        count = self.histories.num_users
        total = np.stack([np.bincount(users, tag[rows], count) for tag in self.item_tags.T], axis=1)[self.user_rows]
        return total / np.maximum(total.sum(axis=1, keepdims=True), 1e-12)

    def hits(self, rows: np.ndarray, users: np.ndarray | None = None) -> np.ndarray:
        """Whether each recommended item (int [users, k], -1 for none) is a positive: bool [users, k]. users: places of
        the judged users whose lists they are, by default all."""
        users = np.arange(len(rows)) if users is None else users
        keys = users[:, None] * len(self.candidates) + rows
        where = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return (self.keys[where] == keys) & (rows >= 0)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a ranker scored, user by user.

    values: metric -> float64 [users] ("ndcg@10", "recall@10", ..., "novelty@10", "popularity@10", "popularity_lift@10";
    "diversity@10" where the items have vectors, "miscalibration@10" where they have tags).
    totals: metric -> one number about all lists together ("coverage@10").
    item_values: "recall@10" among the positives of one item segment ("head", "tail", "warm", "cold"):
    (segment, metric) -> float64 [users], nan for a user without such positives.
    rows: int32 [users, max(ks)], the recommendations; scores: float32, likewise. user_rows, lengths (known events),
    positives: int64 [users].
    """

    name: str
    part: str
    ks: tuple[int, ...]
    user_rows: np.ndarray
    lengths: np.ndarray
    positives: np.ndarray
    rows: np.ndarray
    scores: np.ndarray
    values: Mapping[str, np.ndarray]
    totals: Mapping[str, float]
    item_values: Mapping[tuple[str, str], np.ndarray]
    item_positives: Mapping[str, int]
    num_candidates: int
    num_items: int
    segments: Segments = field(default_factory=Segments)

    @cached_property
    def means(self) -> dict[str, float]:
        return {name: metrics.mean(values) for name, values in self.values.items()} | dict(self.totals)

    @cached_property
    def standard_errors(self) -> dict[str, float]:
        """Over users, of the per-user metrics only."""
        return {name: metrics.standard_error(values) for name, values in self.values.items()}

    def interval(self, metric: str, level: float = 0.95) -> Interval:
        """Bootstrap interval of a per-user metric's mean."""
        return bootstrap(self.values[metric], level=level)

    def __getitem__(self, metric: str) -> float:
        return self.means[metric]

    def by_user_segment(self, metric: str = "ndcg@10") -> list[dict]:
        """Rows {"segment", "cut", "users", "positives", "mean", "standard_error"}; empty segments stay, with None."""
        cuts = self.segments.describe_users()
        return [
            {
                "segment": name,
                "cut": cuts[name],
                "users": int(there.sum()),
                "positives": int(self.positives[there].sum()),
            }
            | _summary(self.values[metric][there])
            for name, there in self.segments.users(self.lengths).items()
        ]

    def by_item_segment(self, metric: str = "recall@10") -> list[dict]:
        """Rows as in `by_user_segment`: recall among the positives of each kind of item, over users who have some."""
        cuts = self.segments.describe_items()
        rows = []
        for (name, written), values in self.item_values.items():
            if written == metric:
                users = int((~np.isnan(values)).sum())
                head = {"segment": name, "cut": cuts[name], "users": users, "positives": self.item_positives[name]}
                rows.append(head | _summary(values))
        return rows

    def to_json(self) -> dict:
        """Everything but the per-user values, as plain data."""
        return {
            "name": self.name,
            "part": self.part,
            "users": len(self.user_rows),
            "positives": int(self.positives.sum()),
            "candidates": self.num_candidates,
            "items": self.num_items,
            "metrics": {metric: cell(self, metric) for metric in self.means},
            "user_segments": {f"ndcg@{k}": self.by_user_segment(f"ndcg@{k}") for k in self.ks},
            "item_segments": {f"recall@{k}": self.by_item_segment(f"recall@{k}") for k in self.ks},
        }


def _summary(values: np.ndarray) -> dict[str, float | None]:
    return {"mean": finite(metrics.mean(values)), "standard_error": finite(metrics.standard_error(values))}


def evaluate(
    ranker: Ranker,
    dataset: Dataset,
    holdout: Holdout,
    part: Part = "valid",
    *,
    ks: tuple[int, ...] = (10, 20, 100),
    name: str = "",
    user_text: np.ndarray | None = None,
    users_per_block: int = 256,
    item_block: int | None = None,
    segments: Segments = Segments(),  # noqa: B008 (frozen)
    judged: Judged | None = None,
    item_vectors: np.ndarray | None = None,
) -> Evaluation:
    """Rank the candidates for every user of a part of the holdout and judge the lists.

    Who is judged on what: `Holdout.positives`. Known: train, and validation when testing; it is left out of the lists.
    When they ask: see `jaxrec.data.queries.asking_times`. user_text: unit vectors float32 [users, text dim], or None.
    item_block: see `rank_users`. judged: `Judged.of(dataset, holdout, part)`, to prepare it once for many rankers.
    item_vectors: float32 [items, dim], of what the items are, for the diversity of the lists; None leaves it out.
    Raises DataError when no user can be judged, DivergedError when scores are not numbers.
    """
    judged = judged or Judged.of(dataset, holdout, part)
    items = dataset.num_items
    if num_items(ranker.arrays) != items:
        raise DataError(f"{name or 'the ranker'} ranks {num_items(ranker.arrays)} items, the data set has {items}")
    features = dataset.users.features
    ranking = rank_users(
        ranker,
        judged.histories,
        judged.user_rows,
        judged.candidates,
        k=max(ks),
        asked_at=judged.asked_at,
        features=None if features is None else features.values,
        text=user_text,
        context=judged.context,
        users_per_block=users_per_block,
        item_block=item_block,
    )
    if np.isnan(ranking.scores).any():
        users = int(np.isnan(ranking.scores).any(1).sum())
        raise DivergedError(f"{name or 'the ranker'} gave scores that are not numbers, for {users} users")
    return _judge(ranking, judged, ks, name, segments, item_vectors)


def check_lengths(ks: tuple[int, ...]) -> None:
    """Raises UserError for lengths that no list has."""
    if not ks or min(ks) < 1:
        raise UserError(f"ks are list lengths from 1 on, not {ks}")


def measured(ks: tuple[int, ...]) -> tuple[str, ...]:
    """The names of all that an evaluation at these list lengths gives."""
    nobody = np.zeros((0, max(ks)), bool)
    users = metrics.accuracy(nobody, np.zeros(0, np.int64), ks)
    others = ("novelty", "popularity", "popularity_lift", "coverage")
    return (*users, *(f"{name}@{k}" for name in others for k in ks))


def _judge(
    ranking: Ranking,
    judged: Judged,
    ks: tuple[int, ...],
    name: str,
    segments: Segments,
    item_vectors: np.ndarray | None = None,
) -> Evaluation:
    items, rows = len(judged.candidates), ranking.rows
    hits = judged.hits(rows)
    values = metrics.accuracy(hits, judged.positives, ks)
    for k in ks:
        values[f"novelty@{k}"] = metrics.novelty(rows, judged.share, judged.num_known_users, k)
        values[f"popularity@{k}"] = metrics.popularity(rows, judged.share, k)
        values[f"popularity_lift@{k}"] = metrics.popularity_lift(rows, judged.share, judged.own_share, k)
        if judged.item_tags is not None:
            values[f"miscalibration@{k}"] = metrics.miscalibration(rows, judged.own_tags, judged.item_tags, k)
        if item_vectors is not None and item_vectors.shape[1]:
            values[f"diversity@{k}"] = metrics.diversity(rows, item_vectors, k)
    item_values, item_positives = {}, {}
    for segment, members in segments.items(np.bincount(judged.past.item_rows, minlength=items)).items():
        owner, item = np.divmod(judged.keys, items)
        wanted = np.bincount(owner[members[item]], minlength=len(rows))
        item_positives[segment] = int(wanted.sum())
        found = hits & members[rows]
        for k in ks:
            recalled = metrics.recall(found, np.maximum(wanted, 1), k)
            item_values[segment, f"recall@{k}"] = np.where(wanted > 0, recalled, np.nan)
    return Evaluation(
        name=name,
        part=judged.part,
        ks=tuple(ks),
        user_rows=judged.user_rows,
        lengths=judged.lengths,
        positives=judged.positives,
        rows=rows,
        scores=ranking.scores,
        values=values,
        totals={f"coverage@{k}": metrics.coverage(rows, items, k) for k in ks},
        item_values=item_values,
        item_positives=item_positives,
        num_candidates=int(judged.candidates.sum()),
        num_items=items,
        segments=segments,
    )
