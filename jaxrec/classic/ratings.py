"""Ratings predicted: biases and factors of users and items, those of a user worked out from the history when asked."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.classic.interaction_matrix import history_length_of
from jaxrec.classic.rating_posterior import Gaussians, Prior, chunked, fit, fold_in, moments, prior_mean
from jaxrec.data.features import Features
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.method import HERE, Between, Ranges, Setting
from jaxrec.ranker import Arrays, PyTree, Query


@dataclass(frozen=True)
class RatingRanker:
    """Scores are ratings, unclipped.

    items: {"mean": float32 [items, D], (bias, factors); "covariance": float32 [items, D, D]; "implicit": float32
    [items, D], only with `implicit`}. shared: {"mean", "noise": float32 []; "user_weights", "item_weights": float32
    [features + 1, D]; "user_precision", "item_precision": float32 [D, D]}.
    """

    arrays: Arrays
    history_length: int
    implicit: bool

    def user(self, arrays: Arrays, query: Query) -> PyTree:
        shared, items = arrays
        known = items["mean"].shape[0]
        batch, width = query.history.shape[0], shared["user_weights"].shape[0] - 1
        rows = jnp.where(query.history < 0, known, query.history)
        at = (jnp.arange(batch)[:, None], rows)
        nothing = jnp.zeros((batch, known), jnp.float32)
        counts = nothing.at[at].add(1.0, mode="drop")
        ratings = nothing.at[at].add(query.weights - shared["mean"], mode="drop")
        implicit = None
        if self.implicit:
            length = jnp.maximum((query.history >= 0).sum(axis=1, keepdims=True), 1)
            implicit = jnp.matmul(counts, items["implicit"], precision="highest") / jnp.sqrt(length)
        prior = Prior(jnp.zeros(0), shared["user_weights"], shared["user_precision"])
        expected = prior_mean(prior, query.features[:, :width], implicit)
        stands = moments(Gaussians(items["mean"], items["covariance"]))
        return fold_in(stands, counts, ratings, expected, prior.precision, shared["noise"])

    def score(self, shared: PyTree, items: PyTree, user: PyTree) -> jax.Array:
        alike = jnp.matmul(user[:, 1:], items["mean"][:, 1:].T, precision="highest")
        return shared["mean"] + user[:, :1] + items["mean"][None, :, 0] + alike

    def embed_items(self, shared: PyTree, text: jax.Array, features: jax.Array | None = None) -> PyTree:
        """What `arrays.items` holds, for new items: what is expected of items of such features. Text is not read."""
        count, width = text.shape[0], shared["item_weights"].shape[0] - 1
        read = jnp.zeros((count, width), jnp.float32) if features is None else features[:, :width]
        spread = jnp.linalg.inv(shared["item_precision"])
        prior = Prior(jnp.zeros(0), shared["item_weights"], shared["item_precision"])
        mean = prior_mean(prior, read)
        placed = {"mean": mean, "covariance": jnp.broadcast_to(spread, (count, *spread.shape))}
        return placed | ({"implicit": jnp.zeros_like(mean)} if self.implicit else {})


@dataclass(frozen=True)
class RatingFactors:
    """r_ui = mu + b_u + b_i + q_i . (p_u + |N(u)|^-1/2 sum_j y_j), as SVD++ (Koren, KDD 2008), the factors as
    distributions (variational Bayes, see `rating_posterior`) and not at one point, so that few ratings do not overfit.

    A user's bias and factors are the posterior mean given the history's ratings: the fit's own closed form, so that
    nothing is lost, users that training never saw are answered, and no table of users is kept. implicit: the y_j, what
    it says to have rated an item at all. features: user and item features shift the biases and factors expected.
    implicit_l2, feature_l2: ridge of these two. iterations: rounds over all ratings.
    """

    factors: int = 10
    iterations: int = 20
    implicit: bool = True
    features: bool = True
    implicit_l2: float = 1.0
    feature_l2: float = 10.0
    history_length: int | None = None

    reads_text: ClassVar[bool] = False
    random: ClassVar[bool] = True
    ranges: ClassVar[Ranges] = {
        "factors": (6, 10, 16, 24),
        "iterations": (10, 20, 40),
        "implicit_l2": Between(0.1, 30, log=True),
        "feature_l2": Between(1, 300, log=True),
    }

    @property
    def name(self) -> str:
        return "Rating factors" if self.implicit else "Rating factors, explicit"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> RatingRanker:
        """Raises UserError where there are no ratings to tell apart, and for options out of range."""
        self._check(data)
        users, items = data.dataset.num_users, data.dataset.num_items
        people = _values(data.dataset.users.features, users) if self.features else np.zeros((users, 0), np.float32)
        goods = _values(data.dataset.catalog.features, items) if self.features else np.zeros((items, 0), np.float32)
        mean, rows = chunked(data.train, users, items)
        fitted = fit(
            rows,
            people,
            goods,
            jax.random.key(setting.seed),
            self.iterations,
            float(self.implicit_l2),
            float(self.feature_l2),
            factors=self.factors,
            implicit=self.implicit,
        )
        shared = {
            "mean": jnp.float32(mean),
            "noise": fitted.noise,
            "user_weights": fitted.user_prior.weights,
            "user_precision": fitted.user_prior.precision,
            "item_weights": fitted.item_prior.weights,
            "item_precision": fitted.item_prior.precision,
        }
        held = {"mean": fitted.items.mean, "covariance": fitted.items.covariance}
        held |= {"implicit": fitted.user_prior.implicit} if self.implicit else {}
        length = history_length_of(self, data.train)
        return RatingRanker(Arrays(shared, held), length, self.implicit)

    def _check(self, data: TrainingData) -> None:
        weights = data.train.weights
        if not len(weights) or weights.min() == weights.max():
            what = "no rows" if not len(weights) else f"one rating only, {weights[0]:g}"
            raise UserError(
                f"{self.name} needs ratings that differ, and the training part has {what}. If a column holds ratings, "
                "name it (--map rating=THEIR_NAME); without ratings, use a method that ranks, such as Ease"
            )
        for option in ("factors", "iterations", "implicit_l2", "feature_l2"):
            if getattr(self, option) <= 0:
                raise UserError(f"{self.name} needs {option} above 0, not {getattr(self, option):g}")


def _values(features: Features | None, rows: int) -> np.ndarray:
    return np.zeros((rows, 0), np.float32) if features is None else np.asarray(features.values, np.float32)
