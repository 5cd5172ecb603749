"""How a log is divided into train, validation and test. Each rule states its leak rule and checks it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from jaxrec.data.cuts import (
    check_shares,
    counted_ends,
    cut_ends,
    drawn,
    items_of,
    joined,
    last_rows,
    place_in_user,
    random_parts,
    timed,
)
from jaxrec.data.dataset import Dataset
from jaxrec.data.interactions import Interactions
from jaxrec.data.leaks import (
    check_cold_items,
    check_cold_users,
    check_disjoint,
    check_periods,
    check_time_order,
    check_user_time_order,
    pairs_of,
)
from jaxrec.errors import DataError, UserError

Part = Literal["valid", "test"]


@dataclass(frozen=True, eq=False)
class Holdout:
    """Three parts of one log, which items may be recommended in each judgement, and to whom.

    valid_candidates, test_candidates: bool [items]. known_users: bool [users], those with a training row; only they
    are judged. name: of the protocol ("T", "R", ...). notes: for the report. valid_before, test_before: rows of the
    same period as what is judged, that come before it: known when asked, and trained on when the period is over; None
    where a rule has no such rows.
    After `refit()` train holds train and validation, and validation is empty; what is judged stays the same.
    """

    train: Interactions
    valid: Interactions
    test: Interactions
    valid_candidates: np.ndarray
    test_candidates: np.ndarray
    known_users: np.ndarray
    name: str = ""
    notes: tuple[str, ...] = ()
    valid_before: Interactions | None = None
    test_before: Interactions | None = None

    def refit(self) -> "Holdout":
        """Train on train and validation together; the test stays the same."""
        train = self._until_test().by_time()
        return replace(self, train=train, valid=self.valid.take(np.zeros(0, np.int64)), valid_before=None)

    def _until_test(self) -> Interactions:
        return joined(self.train, self.valid_before, self.valid)

    def history(self, part: Part = "test") -> Interactions:
        """What is known, and left out as seen, when `part` is judged: train, and for the test validation too."""
        if part == "valid":
            return joined(self.train, self.valid_before)
        return joined(self._until_test(), self.test_before)

    def candidates(self, part: Part = "test") -> np.ndarray:
        return self.valid_candidates if part == "valid" else self.test_candidates

    def positives(self, part: Part = "test") -> Interactions:
        """What is judged: held-out rows of candidates, by users with a training row, that are not in their history."""
        held, past = (self.valid if part == "valid" else self.test), self.history(part)
        known = self.candidates(part)[held.item_rows] & self.known_users[held.user_rows]
        return held.take(known & ~np.isin(pairs_of(held), pairs_of(past)))

    def judged(self, part: Part = "test") -> np.ndarray:
        """User rows that are judged, int32, ascending."""
        return np.unique(self.positives(part).user_rows)

    def counts(self) -> dict[str, int]:
        """Sizes, candidates, users and positives judged in the test."""
        return {
            "train": len(self.train),
            "valid": len(self.valid),
            "test": len(self.test),
            "candidates": int(self.test_candidates.sum()),
            "users": len(self.judged()),
            "positives": len(self.positives()),
        }


class HoldoutRule(Protocol):
    """A frozen dataclass. refit: whether the final model is trained on train and validation; the rule ignores it."""

    refit: bool

    def __call__(self, dataset: Dataset) -> Holdout: ...


@dataclass(frozen=True)
class TimeCutoff:
    """T: one cut through all rows by time; the headline protocol, since it is how a recommender is used.

    Leak rule: no training row is later than a validation row, none of these later than a test row. Candidates are the
    items in train. Ties in time keep file order.
    """

    valid_fraction: float = 0.1
    test_fraction: float = 0.1
    refit: bool = False

    def __call__(self, dataset: Dataset) -> Holdout:
        log = timed(dataset, "TimeCutoff")
        first, second = cut_ends(len(log), self.valid_fraction, self.test_fraction)
        parts = log.take(np.arange(first)), log.take(np.arange(first, second)), log.take(np.arange(second, len(log)))
        check_time_order(parts)
        warm = items_of(parts[0], dataset)
        return holdout_of(parts, warm, warm, dataset, "T")


@dataclass(frozen=True)
class TimePerUser:
    """TU: each user's own timeline cut, the latest to test. Leak rule: by user as T; no pair stands in two parts."""

    valid_fraction: float = 0.1
    test_fraction: float = 0.1
    refit: bool = False

    def __call__(self, dataset: Dataset) -> Holdout:
        log = timed(dataset, "TimePerUser")
        lengths = np.bincount(log.user_rows, minlength=dataset.num_users)
        check_shares(self.valid_fraction, self.test_fraction)
        cuts = np.array([counted_ends(n, self.valid_fraction, self.test_fraction) for n in lengths], np.int64)
        place = place_in_user(log)
        part = (place >= cuts[log.user_rows, 0]).astype(np.int8) + (place >= cuts[log.user_rows, 1])
        return _per_user(log, part, dataset, "TU")


@dataclass(frozen=True)
class LeaveLastOut:
    """L: each user's last row is test, the one before validation; users with fewer than 3 rows stay in train.

    Without timestamps the file order is the order. Leak rule: by user, train before validation before test; no pair
    stands in two parts. Other users' later rows are in train: it flatters what reads popularity.
    """

    refit: bool = False

    def __call__(self, dataset: Dataset) -> Holdout:
        log = dataset.interactions.by_time()
        lengths = np.bincount(log.user_rows, minlength=dataset.num_users)[log.user_rows]
        from_end = lengths - 1 - place_in_user(log)
        part = np.where(lengths < 3, 0, np.select([from_end == 0, from_end == 1], [2, 1], 0))
        return _per_user(log, part, dataset, "L")


@dataclass(frozen=True)
class TimeLastOut:
    """G: one cut through all rows by time, and each test user's last item is to be found ("Time to Split", Gusak et
    al., RecSys 2025: global temporal split, last target); validation alike in the period before.

    The cut is the moment of the row at the quantile, so that rows of one moment stay together. What a user does in the
    period before the last row is known when asked, and no row of training. Leak rule: no training row is as late as a
    row of the validation period, none of these as late as one of the test period; a user's target comes last. All
    items are candidates; users need a training row.
    """

    valid_fraction: float = 0.1
    test_fraction: float = 0.1
    refit: bool = False

    def __call__(self, dataset: Dataset) -> Holdout:
        log = timed(dataset, "TimeLastOut")
        moments = log.timestamps[
            np.array(cut_ends(len(log), self.valid_fraction, self.test_fraction)).clip(0, len(log) - 1)
        ]
        period = (log.timestamps >= moments[0]).astype(np.int8) + (log.timestamps >= moments[1])
        periods = [log.take(period == p) for p in range(3)]
        check_periods(periods)
        (valid_before, valid), (test_before, test) = (last_rows(part, dataset) for part in periods[1:])
        everything = items_of(dataset.interactions, dataset)
        holdout = holdout_of((periods[0], valid, test), everything, everything, dataset, "G")
        return replace(holdout, valid_before=valid_before, test_before=test_before)


@dataclass(frozen=True)
class RandomPerUser:
    """R: each user's rows in random order, cut by RecBole's rule of counts, so results compare with published ones.

    Users in string order draw from one `RandomState(seed)`. Leak rule: no (user, item) pair stands in two parts. Time
    is ignored: it flatters.
    """

    valid_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 2024
    refit: bool = False

    def __call__(self, dataset: Dataset) -> Holdout:
        log = dataset.interactions
        part = random_parts(log, dataset, self.valid_fraction, self.test_fraction, np.random.RandomState(self.seed))
        everything = items_of(dataset.interactions, dataset)
        parts = [log.take(part == p) for p in range(3)]
        check_disjoint(parts, dataset)
        return holdout_of(parts, everything, everything, dataset, "R")


@dataclass(frozen=True)
class ColdItems:
    """C: new items, known by their content alone. C-all (candidates="all"): cold and warm items in one ranking.

    Of the items with at least `min_interactions` rows, in string order and permuted by `RandomState(seed)`, the first
    test_fraction * (number of items in the log) are cold for test, the next valid_fraction for validation. "cold":
    their rows are the held-out rows, and only they are candidates. "all": the other rows are divided as in R besides.
    Leak rule: no cold item stands in train, no item cold for test in validation.
    """

    valid_fraction: float = 0.1
    test_fraction: float = 0.2
    min_interactions: int = 5
    candidates: Literal["cold", "all"] = "cold"
    seed: int = 2024
    refit: bool = False

    def __call__(self, dataset: Dataset) -> Holdout:
        log, everything = dataset.interactions, items_of(dataset.interactions, dataset)
        counts = np.bincount(log.item_rows, minlength=dataset.num_items)
        enough = drawn(dataset.item_map, np.flatnonzero(counts >= self.min_interactions), self.seed)
        to_test = int(everything.sum() * self.test_fraction + 1e-9)
        to_valid = round(everything.sum() * self.valid_fraction)
        if to_test + to_valid >= len(enough) or not to_test:
            raise DataError(
                f"ColdItems needs more than {to_test + to_valid} items with {self.min_interactions} interactions, "
                f"there are {len(enough)}; lower holdout.test_fraction or holdout.min_interactions"
            )
        cold = np.zeros((3, dataset.num_items), bool)
        cold[2, enough[:to_test]] = cold[1, enough[to_test : to_test + to_valid]] = True
        part = np.select([cold[2][log.item_rows], cold[1][log.item_rows]], [2, 1], 0)
        if self.candidates == "all":
            warm = np.flatnonzero(part == 0)
            random = np.random.RandomState(self.seed)
            part[warm] = random_parts(log.take(warm), dataset, 0.1, 0.1, random)
        parts = [log.take(part == p) for p in range(3)]
        check_cold_items(parts[0].then(parts[1]), cold[2], dataset)
        check_cold_items(parts[0], cold[1] | cold[2], dataset)
        if self.candidates == "all":
            return holdout_of(parts, everything & ~cold[2], everything, dataset, "C-all")
        return holdout_of(parts, cold[1], cold[2], dataset, "C")


@dataclass(frozen=True)
class ColdUsers:
    """U: new users, known by their first few events alone ("strong generalisation" of Liang et al., WWW 2018, by time).

    Of the users with more than `shown` rows, in string order and permuted by `RandomState(seed)`, the first
    test_fraction * (their number) are new in the test, the next valid_fraction in validation; none of them has a row in
    train. The first `shown` rows of each (by time; ties and logs without times keep file order) are known when asked,
    the others are to be found; shown=0 asks with features and words alone. Leak rule: no user held out stands in train.
    """

    shown: int = 3
    valid_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 2024
    refit: bool = False

    def __call__(self, dataset: Dataset) -> Holdout:
        if self.shown < 0:
            raise UserError(f"holdout.shown={self.shown}: a new user is known by 0 events or more")
        log = dataset.interactions.by_time()
        lengths = np.bincount(log.user_rows, minlength=dataset.num_users)
        enough = drawn(dataset.user_map, np.flatnonzero(lengths > self.shown), self.seed)
        to_test, to_valid = (round(len(enough) * share) for share in (self.test_fraction, self.valid_fraction))
        kind = np.zeros(dataset.num_users, np.int8)
        kind[enough[:to_test]], kind[enough[to_test : to_test + to_valid]] = 2, 1
        part, known = kind[log.user_rows], place_in_user(log) < self.shown
        parts = [log.take((part == p) & (~known | (part == 0))) for p in range(3)]
        valid_before, test_before = (log.take((part == p) & known) for p in (1, 2))
        check_cold_users(parts[0], kind > 0, dataset)
        check_user_time_order((valid_before.then(test_before), parts[1], parts[2]), dataset)
        everything = items_of(dataset.interactions, dataset)
        holdout = holdout_of(parts, everything, everything, dataset, "U", anybody=True)
        return replace(holdout, valid_before=valid_before, test_before=test_before)


def holdout_of(
    parts: Sequence[Interactions],
    valid_candidates: np.ndarray,
    test_candidates: np.ndarray,
    dataset: Dataset,
    name: str,
    notes: tuple[str, ...] = (),
    *,
    anybody: bool = False,
) -> Holdout:
    """A holdout of (train, valid, test). Raises DataError when a part is empty, or nobody in the test can be judged.

    anybody: users without a training row are judged too.
    """
    for word, part in zip(("train", "validation", "test"), parts, strict=True):
        if not len(part):
            raise DataError(f"the {word} part of holdout {name} is empty: too few rows for this holdout")
    known = (np.bincount(parts[0].user_rows, minlength=dataset.num_users) > 0) | anybody
    holdout = Holdout(*parts, valid_candidates, test_candidates, known, name, notes)
    if not len(holdout.judged()):
        raise DataError(
            f"holdout {name}: no user of the test has both a training row and a test item among the candidates, "
            "so nobody can be judged; choose another holdout or larger fractions"
        )
    return holdout


def _per_user(log: Interactions, part: np.ndarray, dataset: Dataset, name: str) -> Holdout:
    """A holdout whose rows are ordered within each user; checks pairs and each user's order in time."""
    everything = items_of(dataset.interactions, dataset)
    parts = [log.take(part == p) for p in range(3)]
    check_user_time_order(parts, dataset)
    check_disjoint(parts, dataset)
    return holdout_of(parts, everything, everything, dataset, name)
