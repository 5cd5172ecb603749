"""Implicit alternating least squares: factors of users and items, each solved with the other held fixed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg

from jaxrec.classic.interaction_matrix import ASKING, RECENCY, history_length_of, inert_recency
from jaxrec.data.interactions import distinct_pairs
from jaxrec.data.training import TrainingData
from jaxrec.history_matrix import history_matrix, longest, recency
from jaxrec.method import HERE, Between, Ranges, Setting, at_least
from jaxrec.ranker import Arrays, PyTree, Query, products

WIDTH = 64  # events gathered at a time of each row that is solved
CELLS = 2**19  # of the vectors gathered at a time: 2 MB, which a cache holds
INITIAL = 0.1  # standard deviation of a factor's length when it begins
NEAR = 1e-4  # of the right side, what a row's solution may leave over while the other side still moves
EXACT = 1e-6  # when asked
MANY = 64  # askers, from which on a product with all vectors reads each of them once for all
DENSE = 24  # vectors that are multiplied in the time that one is gathered

dot = partial(jnp.matmul, precision="highest")


class Penalty(NamedTuple):
    """What holds a row of n events (or of that total weight) to zero: l2 * (n + unseen)^nu on its squared length.

    unseen: alpha0 times the number of rows on the other side. All three float32 scalars.
    """

    l2: jax.Array
    unseen: jax.Array
    nu: jax.Array

    def of(self, total: jax.Array) -> jax.Array:
        """What it adds to the diagonal of the normal matrix of a row whose events weigh `total`."""
        return self.l2 * (total + self.unseen) ** self.nu


@dataclass(frozen=True)
class AlsRanker:
    """shared: {"gram": float32 [dim], the diagonal of alpha0 V^T V of the items fitted, whose axes are such that there
    is nothing beside it; "penalty": of a user}. items: {"vector": float32 [items, dim]}. A user is solved for from the
    history, so that nobody is unknown."""

    arrays: Arrays
    history_length: int
    tau: float | None = None
    base: float = 1.0

    def user(self, arrays: Arrays, query: Query) -> PyTree:
        return _fold_in(arrays, query.history, self.tau, self.base)

    def score(self, shared: PyTree, items: PyTree, user: PyTree) -> jax.Array:
        return products(user, items["vector"])

    def user_profile(self, arrays: Arrays, query: Query) -> jax.Array:
        return self.user(arrays, query)

    def item_profile(self, shared: PyTree, items: PyTree) -> jax.Array:
        return items["vector"]


@dataclass(frozen=True)
class ImplicitAls:
    """min sum over events (u.v - 1)^2 + alpha0 sum over all pairs (u.v)^2 + the sum over users and items of
    l2 (events + alpha0 * number on the other side)^nu |vector|^2, by turns for all users and for all items
    (Hu et al., ICDM 2008; as Rendle et al., "Revisiting the Performance of iALS", RecSys 2022), each solved by
    conjugate gradients (as Takács et al., RecSys 2011), but until little is left over rather than a fixed few steps.

    l2 is that of nu = 1: for another nu it is scaled so that the penalties add up to the same. tau, base: the events of
    a history weigh base + exp(-rank / tau) when asked; see `history_matrix.recency`. history_length: None for room
    for all.
    """

    dim: int = 64
    iterations: int = 10
    alpha0: float = 0.1
    l2: float = 0.03
    nu: float = 1.0
    tau: float | None = None
    base: float = 0.1
    history_length: int | None = None

    reads_text: ClassVar[bool] = False
    random: ClassVar[bool] = True
    asking: ClassVar[tuple[str, ...]] = ASKING
    ranges: ClassVar[Ranges] = {
        "l2": Between(0.0003, 0.3, log=True),
        "alpha0": Between(0.01, 1, log=True),
        "dim": (128, 64, 32),  # of two as near the first is tried first
        "iterations": (16, 10, 5),
        "nu": (0.0, 0.5, 1.0),
        **RECENCY,
    }
    inert = property(inert_recency)

    @property
    def name(self) -> str:
        return "iALS" if self.tau is None else "iALS-recency"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> AlsRanker:
        """Raises UserError when an option is out of range."""
        users, items = data.dataset.num_users, data.dataset.num_items
        pairs = distinct_pairs(data.train, items)
        gram, vectors, _ = _turned(_alternate(pairs, users, items, self, setting.seed)[2], self.alpha0)
        shared = {"gram": gram, "penalty": _penalty(self, pairs, users, items, items)._asdict()}
        length = history_length_of(self, data.train)
        return AlsRanker(Arrays(shared, {"vector": vectors}), length, self.tau, self.base)


def fit_item_factors(
    pairs: tuple[np.ndarray, np.ndarray], num_users: int, num_items: int, options: ImplicitAls, seed: int = 0
) -> tuple[jax.Array, jax.Array]:
    """(user factors float32 [users, dim], item factors [items, dim]); the users are solved for last, as when asked.

    pairs: from `distinct_pairs`. A user or an item without events is the zero vector.
    """
    lists, of_each, vectors = _alternate(pairs, num_users, num_items, options, seed)
    penalty = _penalty(options, pairs, num_users, num_items, num_items)
    return _solve_all(vectors, of_each, lists, options.alpha0, penalty, EXACT), vectors


def _alternate(
    pairs: tuple[np.ndarray, np.ndarray], users: int, items: int, options: ImplicitAls, seed: int
) -> tuple["Lists", jax.Array, jax.Array]:
    """The users' events, their factors before the items were solved for a last time, and the item factors."""
    at_least(options, dim=1, iterations=1, alpha0=1e-9, l2=1e-9)
    of_users = _lists(*pairs, users, options.dim)
    of_items = _lists(pairs[1], pairs[0], items, options.dim)
    user_penalty, item_penalty = (_penalty(options, pairs, users, items, others) for others in (items, users))
    spread = INITIAL / np.sqrt(options.dim)
    vectors = spread * jax.random.normal(jax.random.key(seed), (items, options.dim), jnp.float32)
    of_each = jnp.zeros((users, options.dim), jnp.float32)
    for _ in range(options.iterations):
        of_each = _solve_all(vectors, of_each, of_users, options.alpha0, user_penalty, NEAR)
        vectors = _solve_all(of_each, vectors, of_items, options.alpha0, item_penalty, NEAR)
    return of_users, of_each, vectors


def _penalty(options: ImplicitAls, pairs: tuple[np.ndarray, np.ndarray], users: int, items: int, others: int):
    lengths = [np.bincount(pairs[0], minlength=users), np.bincount(pairs[1], minlength=items)]
    sizes = np.concatenate([lengths[0] + options.alpha0 * items, lengths[1] + options.alpha0 * users])
    l2 = options.l2 * sizes.sum() / (sizes**options.nu).sum()
    return Penalty(*(jnp.float32(x) for x in (l2, options.alpha0 * others, options.nu)))


class Lists(NamedTuple):
    """Events of each row (a user's items, an item's users), ragged, on the device.

    events: int32 [events], by row. order: int32 [blocks, rows], the rows by their number of events, padded with the
    number of rows; starts, lengths: int32 [blocks, rows], theirs. Alike lengths stand together, to waste little.
    """

    events: jax.Array
    order: jax.Array
    starts: jax.Array
    lengths: jax.Array


def _lists(rows: np.ndarray, others: np.ndarray, count: int, dim: int) -> Lists:
    lengths = np.bincount(rows, minlength=count)
    order = np.argsort(-lengths, kind="stable")
    starts = np.cumsum(lengths) - lengths
    size = max(1, min(count, CELLS // (WIDTH * dim)))
    pad = (0, -count % size)
    block = lambda x, fill: np.pad(x, pad, constant_values=fill).astype(np.int32).reshape(-1, size)  # noqa: E731
    events = others[np.argsort(rows, kind="stable")]
    return Lists(*map(jnp.asarray, (events, block(order, count), block(starts[order], 0), block(lengths[order], 0))))


def _turned(vectors: jax.Array, alpha0: float | jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(diagonal of alpha0 V^T V, the vectors V, axes [dim, dim]) in axes of which alpha0 V^T V is diagonal; products of
    vectors are the same in all axes."""
    diagonal, axes = jnp.linalg.eigh(alpha0 * jnp.matmul(vectors.T, vectors, precision="highest"))
    return jnp.maximum(diagonal, 0.0), jnp.matmul(vectors, axes, precision="highest"), axes


@jax.jit
def _solve_all(
    vectors: jax.Array, old: jax.Array, lists: Lists, alpha0: jax.Array, penalty: Penalty, tolerance: jax.Array
) -> jax.Array:
    """The best vector of each row, given those of the other side, float32 [rows, dim]. old: where to begin."""
    gram, vectors, axes = _turned(vectors, alpha0)
    old = jnp.matmul(old, axes, precision="highest")

    def block(args: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        order, starts, lengths = args
        steps = (lengths.max() + WIDTH - 1) // WIDTH

        def one(start: jax.Array, length: jax.Array, old: jax.Array) -> jax.Array:
            def events(step: jax.Array) -> tuple[jax.Array, jax.Array]:
                at = step * WIDTH + jnp.arange(WIDTH)
                inside = at < length
                return lists.events[jnp.where(inside, start + at, 0)], inside.astype(jnp.float32)

            diagonal = gram + penalty.of(length.astype(jnp.float32))
            sums = _gathered(events, steps, vectors)
            return _solve(sums, diagonal, jnp.where(length > 0, old, 0.0), tolerance)

        return jax.vmap(one)(starts, lengths, old.at[order].get(mode="clip"))

    solved = jax.lax.map(block, (lists.order, lists.starts, lists.lengths)).reshape(-1, old.shape[1])
    solved = jnp.zeros_like(old).at[lists.order.ravel()].set(solved, mode="drop")
    return jnp.matmul(solved, axes.T, precision="highest")


@partial(jax.jit, static_argnames=("tau", "base"))  # traced once, however many parts of a blend ask
def _fold_in(arrays: Arrays, history: jax.Array, tau: float | None, base: float) -> jax.Array:
    """The vectors of askers, float32 [batch, dim], solved for from their histories.

    Gathered rather than sliced: a slice must be known to fit, which in an exported function of any length it is not."""
    vectors = arrays.items["vector"]
    items, length = vectors.shape[0], longest(history)
    weights = _history_weights(history, items, tau, base)
    penalty, steps = Penalty(**arrays.shared["penalty"]), (length + WIDTH - 1) // WIDTH

    def solved(sums: Sums, weights: jax.Array) -> jax.Array:
        diagonal = arrays.shared["gram"] + penalty.of(weights.sum())
        return _solve(sums, diagonal, jnp.zeros_like(diagonal), EXACT)

    def from_events(rows: jax.Array, weights: jax.Array) -> jax.Array:
        def events(step: jax.Array) -> tuple[jax.Array, jax.Array]:
            at = step * WIDTH + jnp.arange(WIDTH)
            return tuple(x.at[at].get(mode="fill", fill_value=0) for x in (rows, weights))

        return solved(_gathered(events, steps, vectors), weights)

    def from_all(row: jax.Array) -> jax.Array:
        return solved(_multiplied(row, vectors), row)

    askers = jnp.asarray(history.shape[0], jnp.int32)
    return jax.lax.cond(
        (askers >= MANY) & (length * DENSE >= items),
        lambda: jax.vmap(from_all)(history_matrix(history, items, weights)),
        lambda: jax.vmap(from_events)(jnp.maximum(history, 0), weights),
    )


class Sums(NamedTuple):
    """What the events of one row add up to, w and v the weight and the vector of each: through(x) = sum w v (v.x), and
    right = sum w v, float32 [dim]."""

    through: Callable[[jax.Array], jax.Array]
    right: jax.Array


def _gathered(events, steps: jax.Array, vectors: jax.Array) -> Sums:
    """Of events(step) -> (rows int32 [WIDTH], weights float32 [WIDTH]): reads the vectors of the events alone."""

    def over_events(add, start: jax.Array) -> jax.Array:
        def step(number: jax.Array, so_far: jax.Array) -> jax.Array:
            rows, weights = events(number)
            return so_far + add(vectors[rows], weights)

        return jax.lax.fori_loop(0, steps, step, start)

    nothing = jnp.zeros_like(vectors[0])
    right = over_events(lambda some, weights: dot(weights, some), nothing)
    return Sums(lambda x: over_events(lambda some, weights: dot(weights * dot(some, x), some), nothing), right)


def _multiplied(weights: jax.Array, vectors: jax.Array) -> Sums:
    """Of weights float32 [items], 0 where there is no event: reads all vectors, of many rows in one product."""
    return Sums(lambda x: dot(weights * dot(vectors, x), vectors), dot(weights, vectors))


def _solve(sums: Sums, diagonal: jax.Array, old: jax.Array, tolerance: float | jax.Array) -> jax.Array:
    """(sum w v v^T + diagonal) x = sum w v of one row: float32 [dim], by conjugate gradients from `old`, which ask for
    `through` some few times, where the matrix of the left side would take [dim, dim] of each row."""

    def left(x: jax.Array) -> jax.Array:
        return sums.through(x) + diagonal * x

    return cg(left, sums.right, old, tol=tolerance, maxiter=2 * len(old), M=lambda x: x / diagonal)[0]


def _history_weights(history: jax.Array, items: int, tau: float | None, base: float) -> jax.Array:
    """The weight of each event, float32 [batch, length]: of an item that stands twice, the later one counts."""
    batch = jnp.arange(history.shape[0])[:, None]
    place = 1 + jnp.arange(history.shape[1])[None, :]
    rows = jnp.where(history < 0, items, history)
    latest = jnp.zeros((history.shape[0], items), jnp.int32).at[batch, rows].max(place, mode="drop")
    weights = jnp.ones(history.shape, jnp.float32) if tau is None else recency(history, tau, base)
    return jnp.where((history >= 0) & (latest[batch, jnp.maximum(history, 0)] == place), weights, 0.0)
