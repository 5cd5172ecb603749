"""EASE: a linear item to item model in closed form, of the events alone or of the items' content beside them."""

from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.classic.interaction_matrix import (
    ASKING,
    RECENCY,
    all_cooccurrence,
    cooccurrence,
    history_length_of,
    inert_recency,
)
from jaxrec.classic.linear import LinearRanker, check_size, inverse
from jaxrec.data.cuts import place_in_user
from jaxrec.data.interactions import SECONDS_PER_DAY, Interactions, distinct_pairs
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.item_axis import BY_HISTORY
from jaxrec.method import HERE, Between, Ranges, Setting
from jaxrec.ranker import Arrays, PyTree

MATRICES = 4  # of items x items float32, held at the peak of the fit


@dataclass(frozen=True)
class ContentEaseRanker(LinearRanker):
    """Places new items by their content. shared: of "text" and "features", those that were read: {"mean": float32
    [dim], "scale": float32 [], "readout": float32 [known items, dim]}."""

    def embed_items(self, shared: PyTree, text: jax.Array, features: jax.Array | None = None) -> PyTree:
        """What `arrays.items` holds, for new items: the weights of an item that has this content and no event.

        text: float32 [n, dim], unit vectors or zeros; features: float32 [n, features], or None for the mean ones.
        """
        added = jnp.zeros((next(iter(shared.values()))["readout"].shape[0], text.shape[0]), jnp.float32)
        for name, given in (("text", text), ("features", features)):
            if name in shared and given is not None:
                part = shared[name]
                rows = (given - part["mean"][None, :]) * part["scale"]
                added = added + jnp.matmul(part["readout"], rows.T, precision="highest")
        return {BY_HISTORY: added}


@dataclass(frozen=True)
class Ease:
    """min |X - X B|^2 + l2 |B|^2 with diag(B) = 0, solved: P = (X^T X + l2 I)^-1, B_ij = -P_ij / P_jj, B_jj = 0 (Steck,
    WWW 2019). Scores are X B.

    content: with F the items' content, one row per feature, adds content |F - F B|^2 (collective EASE: Jeunen et al.,
    RecSys 2020). Text vectors and features are centred, and scaled to a mean square length of one half each (of one
    where there is one of them), so that `content` counts as so many users of each item. New items can then be placed.
    nearby: with W the runs of `window` consecutive events of a user, one row per run, each begun in the middle of the
    one before, adds nearby |W - W B|^2 in the same way: items that follow each other say more of each other than those
    that lie years apart. Without times the order is that of the file.
    half_life, in days: users weigh 2^(-(end of the data - their last event) / half_life); None for all alike.
    by_length: users weigh n^-by_length, where n is their number of items, in such a way that their items weigh as much
    in all as before: without it, those who have everything say most of what goes with what.
    dropout: the share of a history that is hidden when the rest is to rebuild it, in expectation; adds dropout /
    (1 - dropout) times the diagonal of X^T X to l2, so that popular items are held back more (EDLAE: Steck, NeurIPS
    2020).
    tau, base: the events of a history weigh base + exp(-rank / tau) when asked ("EASE-recency"); see
    `history_matrix.recency`. max_gigabytes: a catalog that needs more is refused. history_length: None for room
    for all.
    """

    l2: float = 200.0
    content: float = 0.0
    nearby: float = 0.0
    window: int = 20
    half_life: float | None = None
    by_length: float = 0.0
    dropout: float = 0.0
    tau: float | None = None
    base: float = 0.1
    max_gigabytes: float = 8.0
    history_length: int | None = None

    asking: ClassVar[tuple[str, ...]] = ASKING
    ranges: ClassVar[Ranges] = {
        "l2": Between(20, 5_000, log=True),
        "content": (0.0, 3.0, 10.0, 30.0, 100.0, 300.0),
        "nearby": (0.0, 0.1, 0.3, 1.0),
        "half_life": (None, 15.0, 60.0, 250.0),
        **RECENCY,
    }
    inert = property(inert_recency)

    @property
    def name(self) -> str:
        beside = "".join(f"+{name}" for name in ("content", "nearby", "dropout") if getattr(self, name))
        return f"EASE{beside}{'' if self.tau is None else '-recency'}"

    @property
    def reads_text(self) -> bool:
        return self.content > 0

    def fit(self, data: TrainingData, setting: Setting = HERE) -> LinearRanker:
        """Raises UserError when an option is out of range, the catalog is too large for an item by item matrix, or
        content is missing."""
        items, users = data.dataset.num_items, data.dataset.num_users
        self._check()
        check_size("EASE", items, items, MATRICES, self.max_gigabytes, "items x items")
        if self.half_life is None and not self.by_length:
            both = all_cooccurrence(data)
        else:
            pairs = distinct_pairs(data.train, items)
            weights = _user_weights(data.train, pairs[0], users, self.half_life, self.by_length)
            both = cooccurrence(pairs, users, items, user_weights=weights)
        both = both + self.dropout / (1 - self.dropout) * jnp.diag(jnp.diag(both))
        if self.nearby:
            both = both + self.nearby * data.once(("runs", self.window), lambda: _in_runs(data, self.window))
        length = history_length_of(self, data.train)
        if not self.content:
            return LinearRanker(Arrays({}, {BY_HISTORY: _solve(both, self.l2)[0]}), length, self.tau, self.base)
        parts = _content(data)
        for part in parts.values():
            both = both + self.content * jnp.matmul(part["rows"], part["rows"].T, precision="highest")
        matrix, solver = _solve(both, self.l2)
        shared = {
            name: {
                "mean": part["mean"],
                "scale": part["scale"],
                "readout": self.content * jnp.matmul(solver, part["rows"], precision="highest"),
            }
            for name, part in parts.items()
        }
        return ContentEaseRanker(Arrays(shared, {BY_HISTORY: matrix}), length, self.tau, self.base)

    def _check(self) -> None:
        if not 0 < self.l2 < np.inf:
            raise UserError(f"Ease needs l2 above 0, not {self.l2:g}: without it the matrix cannot be inverted")
        for name, what in (
            ("content", "how much the items' content counts"),
            ("nearby", "how much runs of events count"),
            ("by_length", "how fast users weigh less by their items"),
        ):
            if not 0 <= getattr(self, name) < np.inf:
                raise UserError(f"Ease.{name}={getattr(self, name):g} is {what}: 0 or more")
        if not 0 <= self.dropout < 1:
            raise UserError(f"Ease.dropout={self.dropout:g} is a share of a history, at least 0 and below 1")
        if self.window < 2:
            raise UserError(f"Ease.window={self.window}: a run is of 2 events or more")
        if self.half_life is not None and not self.half_life > 0:
            raise UserError(f"Ease.half_life={self.half_life:g} is in days, above 0; None weighs all users alike")


@jax.jit
def _solve(both: jax.Array, l2: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(B, P): both is X^T X."""
    eye = jnp.eye(both.shape[0], dtype=both.dtype)
    solver = inverse(both + l2 * eye)
    return jnp.where(eye > 0, 0.0, -solver / jnp.diag(solver)[None, :]), solver


def _in_runs(data: TrainingData, window: int) -> jax.Array:
    """W^T W, float32 [items, items]: in how many runs both items are."""
    runs, in_runs = _runs(data.train, window)
    items = data.dataset.num_items
    return cooccurrence(distinct_pairs(in_runs, items), runs, items)


def _runs(train: Interactions, window: int) -> tuple[int, Interactions]:
    """(how many, the events twice over with the run that they lie in as their user): each half of a run is the other
    half of the next."""
    log = train.by_time()
    half = place_in_user(log) // (window // 2)
    ids = log.user_rows.astype(np.int64) * (half.max(initial=0) + 2) + half
    names, runs = np.unique(np.concatenate([ids, ids + 1]), return_inverse=True)
    return len(names), replace(log.then(log), user_rows=runs.astype(np.int32))


def _user_weights(
    train: Interactions, user_rows: np.ndarray, users: int, half_life: float | None, by_length: float
) -> np.ndarray:
    """float64 [users]: 2^(-age / half_life), where the age of a user is that of the last event, in days before the end,
    times n^-by_length, scaled. user_rows: of the distinct pairs."""
    weights = np.ones(users)
    if half_life is not None:
        last = np.zeros(users, np.int64)
        np.maximum.at(last, train.user_rows, train.timestamps)
        ages = (train.timestamps.max(initial=0) - last) / SECONDS_PER_DAY
        weights = 0.5 ** (ages / half_life)
    lengths = np.bincount(user_rows, minlength=users)
    short = np.maximum(lengths, 1.0) ** -by_length
    return weights * short * (lengths @ weights) / max(lengths @ (weights * short), 1e-12)


def _content(data: TrainingData) -> dict[str, PyTree]:
    """Of "text" and "features", those that there are: {"rows": float32 [items, dim], "mean": [dim], "scale": []}."""
    catalog = data.dataset.catalog
    known = {"text": data.text if data.has_text else None, "features": catalog and catalog.features.values}
    known = {name: np.asarray(rows, np.float32) for name, rows in known.items() if rows is not None and rows.shape[1]}
    if not known:
        raise UserError(
            "Ease with content above 0 needs item text vectors or item features: set an encoder, give a catalog, or "
            "say content=0"
        )
    parts = {}
    for name, rows in known.items():
        mean = rows.mean(axis=0)
        square = np.square(rows - mean).sum(axis=1).mean()
        scale = np.float32(1 / np.sqrt(max(len(known) * square, 1e-12)))
        parts[name] = {"rows": (rows - mean) * scale, "mean": mean, "scale": scale}
    return jax.tree.map(jnp.asarray, parts)
