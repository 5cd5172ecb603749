"""Posteriors of user and item factors given ratings: matrix factorisation by variational Bayes, in closed forms.

r_ui = mean + b_u + b_i + p_u . q_i + noise. A factor row is x = (b, factors), of width D. Given the other side's
posteriors, each side's are Gaussian (Lim and Teh, KDD Cup 2007). Each side's prior mean is a linear function of what
is known besides: features, and for users the items they rated at all, as |N(u)|^-1/2 sum_j y_j (SVD++: Koren, KDD
2008). The spread of the priors and the noise are estimated along: only the ridge of those linear functions is chosen.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.sparse.linalg import cg

from jaxrec.data.interactions import Interactions

ROWS_AT_ONCE = 2**13
CG_STEPS = 10  # they go on from the last round's solution
SPREAD = 0.1  # of the random start, and a priori variance that tempers the estimated priors, worth one row


class Gaussians(NamedTuple):
    """mean: float32 [rows, D]; covariance: float32 [rows, D, D]."""

    mean: Array
    covariance: Array


class Moments(NamedTuple):
    """What the other side needs of x = (b, q), with a = (1, q): E[a] [n, D], E[a a^T] [n, D D], E[b a] [n, D], E[b] and
    E[b^2] [n]."""

    line: Array
    square: Array
    shift: Array
    bias: Array
    bias_square: Array


class Ratings(NamedTuple):
    """Rows in chunks [chunks, size], padded with row numbers past the end; ratings are less their mean."""

    user_rows: Array
    item_rows: Array
    ratings: Array


class Prior(NamedTuple):
    """implicit: float32 [items, D] or [0, D]; weights: float32 [features + 1, D], the last for everyone;
    precision: float32 [D, D]."""

    implicit: Array
    weights: Array
    precision: Array


class Fitted(NamedTuple):
    users: Gaussians
    items: Gaussians
    user_prior: Prior
    item_prior: Prior
    noise: Array


def moments(x: Gaussians) -> Moments:
    line = x.mean.at[:, 0].set(1.0)
    factors = x.covariance.at[:, 0, :].set(0.0).at[:, :, 0].set(0.0)
    square = line[:, :, None] * line[:, None, :] + factors
    both = x.covariance[:, 0, :].at[:, 0].set(0.0)
    bias = x.mean[:, 0]
    size = x.mean.shape[1] ** 2
    return Moments(
        line, square.reshape(-1, size), bias[:, None] * line + both, bias, bias * bias + x.covariance[:, 0, 0]
    )


def posterior(square: Array, line: Array, prior_mean: Array, precision: Array, noise: Array) -> Gaussians:
    """square: sum of E[a a^T] [n, D D]; line: sum of E[a (r - b)] [n, D]; over the ratings of each row."""
    dim = precision.shape[0]
    full = precision[None] + square.reshape(-1, dim, dim) / noise
    right = jnp.matmul(prior_mean, precision, precision="highest") + line / noise
    lower = jnp.linalg.cholesky(full)
    eye = jnp.broadcast_to(jnp.eye(dim, dtype=full.dtype), full.shape)
    half = jax.lax.linalg.triangular_solve(lower, eye, left_side=True, lower=True)
    covariance = jnp.einsum("nkd,nke->nde", half, half, precision="highest")
    return Gaussians(jnp.einsum("nde,ne->nd", covariance, right, precision="highest"), covariance)


def fold_in(items: Moments, counts: Array, ratings: Array, prior_mean: Array, precision: Array, noise: Array) -> Array:
    """A user's x, float32 [batch, D], from what they rated: the same closed form as in the fit.

    counts: float32 [batch, items], how often rated; ratings: float32 [batch, items], their sum, less the mean of all.
    """
    square = jnp.matmul(counts, items.square, precision="highest")
    line = jnp.matmul(ratings, items.line, precision="highest")
    line = line - jnp.matmul(counts, items.shift, precision="highest")
    return posterior(square, line, prior_mean, precision, noise).mean


def chunked(log: Interactions, num_users: int, num_items: int) -> tuple[float, Ratings]:
    """(mean, rows by user)."""
    mean = float(log.weights.mean())
    log = log.take(np.argsort(log.user_rows, kind="stable"))
    size = min(ROWS_AT_ONCE, len(log))
    pad = -len(log) % size
    columns = [
        np.pad(log.user_rows, (0, pad), constant_values=num_users),
        np.pad(log.item_rows, (0, pad), constant_values=num_items),
        np.pad(log.weights - np.float32(mean), (0, pad)),
    ]
    return mean, Ratings(*(jnp.asarray(column.reshape(-1, size)) for column in columns))


def _add_up(ours: Array, theirs: Array, rows: int, *tables: Array, scale: Array | None = None) -> Array:
    """Sum of the other side's table rows, by our row: float32 [rows, width]. A second table is scaled row by row, and
    stands at the end of the first; scale: float32 [chunks, size]."""

    def add(total: Array, chunk: tuple) -> tuple[Array, None]:
        ours, theirs, scale = chunk
        values = tables[0].at[theirs].get(mode="fill", fill_value=0.0)
        if len(tables) > 1:
            more = tables[1].at[theirs].get(mode="fill", fill_value=0.0) * scale[:, None]
            values = values.at[:, -more.shape[1] :].add(more)
        return total.at[ours].add(values, mode="drop"), None

    start = jnp.zeros((rows, tables[0].shape[1]), jnp.float32)
    return jax.lax.scan(add, start, (ours, theirs, ours if scale is None else scale))[0]


def _sums(ours: Array, theirs: Array, ratings: Array, rows: int, other: Moments) -> tuple[Array, Array, Array]:
    """By our row: sum of E[a a^T], of E[a (r - b)], and of E[(r - b)^2] - r^2."""
    fixed = jnp.concatenate([other.square, -other.shift, other.bias_square[:, None]], axis=1)
    rated = jnp.concatenate([other.line, -2 * other.bias[:, None]], axis=1)
    total = _add_up(ours, theirs, rows, fixed, rated, scale=ratings)
    cut = other.square.shape[1]
    return total[:, :cut], total[:, cut:-1], total[:, -1]


def _precision(x: Gaussians, prior_mean: Array) -> Array:
    """The inverse of the mean E[(x - prior mean)(x - prior mean)^T]."""
    apart, eye = x.mean - prior_mean, jnp.eye(x.mean.shape[1])
    total = jnp.matmul(apart.T, apart, precision="highest") + x.covariance.sum(0) + SPREAD * eye
    return jnp.linalg.inv(total / (len(apart) + 1))


def _with_one(features: Array) -> Array:
    return jnp.concatenate([features, jnp.ones((features.shape[0], 1), jnp.float32)], axis=1)


def prior_mean(prior: Prior, features: Array, implicit: Array | None = None) -> Array:
    """float32 [n, D]. features: float32 [n, features]; implicit: float32 [n, D], |N(u)|^-1/2 sum_j y_j."""
    known = jnp.matmul(features, prior.weights[:-1], precision="highest") + prior.weights[-1:]
    return known if implicit is None else known + implicit


@partial(jax.jit, static_argnames=("factors", "implicit"))
def fit(
    rows: Ratings,
    user_features: Array,
    item_features: Array,
    key: Array,
    iterations: Array,
    implicit_l2: Array,
    feature_l2: Array,
    *,
    factors: int,
    implicit: bool,
) -> Fitted:
    """Rounds of: user posteriors, their prior, item posteriors, their prior, noise.

    user_features: float32 [users, any], item_features: float32 [items, any]; width 0 for none.
    """
    users, items, dim = user_features.shape[0], item_features.shape[0], factors + 1
    by_user, by_item = (rows.user_rows, rows.item_rows), (rows.item_rows, rows.user_rows)
    real = (rows.user_rows < users).astype(jnp.float32)
    lengths = jnp.zeros(users).at[rows.user_rows].add(real, mode="drop")
    root = 1 / jnp.sqrt(jnp.maximum(lengths, 1.0))[:, None]

    def of_rated(table: Array) -> Array:
        return root * _add_up(*by_user, users, table)

    def known_of_users(guess: Prior) -> Array:
        return prior_mean(guess, user_features, of_rated(guess.implicit) if implicit else None)

    def regress(x: Array, prior: Prior, features: Array) -> Prior:
        """Ridge of x on what is known besides, from where `prior` stands."""
        known, rated = _with_one(features), bool(prior.implicit.shape[0])

        def forward(guess: tuple[Array, Array]) -> Array:
            linear = jnp.matmul(known, guess[1], precision="highest")
            return linear + of_rated(guess[0]) if rated else linear

        def backward(apart: Array) -> tuple[Array, Array]:
            back = _add_up(*by_item, items, root * apart) if rated else prior.implicit
            return back, jnp.matmul(known.T, apart, precision="highest")

        def normal(guess: tuple[Array, Array]) -> tuple[Array, Array]:
            first, second = backward(forward(guess))
            return first + implicit_l2 * guess[0], second + feature_l2 * guess[1]

        start = (prior.implicit, prior.weights)
        return Prior(*cg(normal, backward(x), x0=start, maxiter=CG_STEPS)[0], prior.precision)

    def round_(_: Array, state: Fitted) -> Fitted:
        square, line, _ = _sums(*by_user, rows.ratings, users, moments(state.items))
        prior = state.user_prior
        people = posterior(square, line, known_of_users(prior), prior.precision, state.noise)
        prior = regress(people.mean, prior, user_features)
        user_prior = prior._replace(precision=_precision(people, known_of_users(prior)))
        square, line, rest = _sums(*by_item, rows.ratings, items, moments(people))
        prior = state.item_prior
        goods = posterior(square, line, prior_mean(prior, item_features), prior.precision, state.noise)
        prior = regress(goods.mean, prior, item_features)
        item_prior = prior._replace(precision=_precision(goods, prior_mean(prior, item_features)))
        both = goods.mean[:, :, None] * goods.mean[:, None, :] + goods.covariance
        errors = (rest - 2 * (goods.mean * line).sum(1) + (both.reshape(items, -1) * square).sum(1)).sum()
        noise = (errors + (rows.ratings**2).sum()) / real.sum()
        return Fitted(people, goods, user_prior, item_prior, noise)

    eye = jnp.eye(dim)
    start = SPREAD * jax.random.normal(key, (items, dim)).at[:, 0].set(0.0)
    state = Fitted(
        Gaussians(jnp.zeros((users, dim)), jnp.zeros((users, dim, dim))),
        Gaussians(start, jnp.zeros((items, dim, dim))),
        Prior(jnp.zeros((items if implicit else 0, dim)), jnp.zeros((user_features.shape[1] + 1, dim)), eye),
        Prior(jnp.zeros((0, dim)), jnp.zeros((item_features.shape[1] + 1, dim)), eye),
        jnp.float32(1.0) * (rows.ratings**2).sum() / real.sum(),
    )
    return jax.lax.fori_loop(0, iterations, round_, state)
