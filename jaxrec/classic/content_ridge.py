"""A collaborative ranker's scores carried to items that nobody has yet, by what is known of them."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxrec.classic.content_kernel import Content, ContentKernel, content_of, split_content, text_cosine
from jaxrec.classic.ease import Ease
from jaxrec.classic.interaction_matrix import history_length_of, item_counts
from jaxrec.classic.linear import history_products
from jaxrec.data.training import TrainingData
from jaxrec.errors import UserError
from jaxrec.history_matrix import Held, history_matrix
from jaxrec.item_axis import BY_HISTORY
from jaxrec.method import HERE, Between, Ranges, Setting
from jaxrec.ranker import CONTENT, Arrays, PyTree, Query


@dataclass(frozen=True)
class ContentRidgeRanker:
    """items: {BY_HISTORY: float32 [known items, items], "bias": float32 [items]}: score = h_u by_history + bias.

    shared: {"known": `Content` of the known items, "warm": bool [known items]}, and what `_carried` makes: "carry",
    "mean", "signal", "fame", "mean_fame".
    """

    arrays: Arrays
    history_length: int
    kernel: ContentKernel
    neighbours: float
    neighbour_power: float
    popularity: float
    damping: float
    numbers: int

    reads: ClassVar[str] = CONTENT

    def user(self, arrays: Arrays, query: Query) -> Held:
        matrix = history_matrix(query.history, arrays.shared["mean"].shape[0])
        damped = matrix / jnp.maximum(matrix.sum(axis=1, keepdims=True), 1.0) ** self.damping
        return Held.of(query.history, damped)

    def score(self, shared: PyTree, items: PyTree, user: Held) -> jax.Array:
        return history_products(user, items[BY_HISTORY]) + items["bias"][None, :]

    def embed_items(self, shared: PyTree, text: jax.Array, features: jax.Array | None = None) -> PyTree:
        """What `arrays.items` holds, for new items: text float32 [n, dim], unit vectors; features [n, features]."""
        return _placed(
            shared,
            split_content(text, features, self.numbers),
            self.kernel,
            self.neighbours,
            self.neighbour_power,
            self.popularity,
        )


@dataclass(frozen=True)
class ContentRidge:
    """Every item scored by its content alone, as if nobody had it: s_u(i) = k_i (K + l2 I)^-1 (Y_u - m_u) + m_u.

    Kernel ridge regression (the mean of a Gaussian process) over the items that training has, of what EASE thinks of
    each of them for this user, Y_u = (B^T + signal I) h_u with mean m_u over the items; k is a `ContentKernel`. It is
    linear in h_u, so it is one matrix for all users, in closed form. Popular items get much from everyone, so the
    regression predicts a new item's popularity too.

    neighbours: what is added of sum over j of w_ij ((neighbour_signal B^T + I) h_u)_j, w_ij = max(0, text
    cosine)^neighbour_power, divided by the sum: near namesakes (sequels), which a smooth regression flattens.
    popularity: what is added of the predicted log(1 + users), standardised; damping divides all that is personal by
    the history's length^damping. ease_l2, max_gigabytes, history_length: as in `Ease`.
    """

    kernel: ContentKernel = ContentKernel()
    l2: float = 4.0
    ease_l2: float = 300.0
    signal: float = 0.1
    neighbours: float = 0.3
    neighbour_power: float = 6.0
    neighbour_signal: float = 1.0
    popularity: float = 0.0
    damping: float = 0.0
    max_gigabytes: float = 8.0
    history_length: int | None = None

    ranges: ClassVar[Ranges] = {
        "kernel.text_power": (1.0, 2.0, 3.0, 4.0),
        "kernel.tags": (0.0, 0.1, 0.3, 0.6),
        "kernel.numbers": (0.0, 0.1, 0.3, 0.6),
        "kernel.length": (0.1, 0.2, 0.3, 0.6, 1.0),
        "l2": Between(1, 10, log=True),
        "ease_l2": Between(100, 1_000, log=True),
        "signal": (0.0, 0.1, 0.3),
        "neighbours": (0.0, 0.1, 0.3, 0.5, 1.0),
        "neighbour_power": (5.0, 6.0, 8.0, 10.0),
        "neighbour_signal": (0.0, 1.0, 2.0),
        "popularity": (-0.05, 0.0, 0.05, 0.1),
    }

    @property
    def name(self) -> str:
        return "Content ridge"

    def fit(self, data: TrainingData, setting: Setting = HERE) -> ContentRidgeRanker:
        """Raises UserError when there are no text vectors, l2 is not above 0, or the catalog is too large."""
        content, numbers = content_of(data, self.name)
        if self.l2 <= 0:
            raise UserError(f"ContentRidge needs l2 above 0, not {self.l2:g}: items of equal content cannot be told")
        ease = Ease(self.ease_l2, max_gigabytes=self.max_gigabytes).fit(data).arrays.items[BY_HISTORY]
        counts = jnp.asarray(item_counts(data.train, data.dataset.num_items), jnp.float32)
        shared = _carried(content, counts, ease, self.kernel, self.l2, self.signal, self.neighbour_signal)
        mixed = self.neighbours, self.neighbour_power, self.popularity
        items = _placed(shared, content, self.kernel, *mixed)
        length = history_length_of(self, data.train)
        return ContentRidgeRanker(Arrays(shared, items), length, self.kernel, *mixed, self.damping, numbers)


@jax.jit
def _carried(
    content: Content,
    counts: jax.Array,
    ease: jax.Array,
    kernel: ContentKernel,
    l2: jax.Array,
    signal: jax.Array,
    neighbour_signal: jax.Array,
) -> PyTree:
    """What places an item by its content alone. ease: float32 [items, items], row j is what item j adds to each.

    carry: float32 [items, items] and mean: float32 [items]: kernel values k score by k carry + mean. fame, mean_fame:
    the same for popularity. signal: float32 [items, items], what the items pass on to their neighbours.
    Items that nobody has stay in, so that shapes stay the same, but with a kernel of zero: they change nothing.
    """
    warm = counts > 0
    both, to_item = warm[:, None] & warm[None, :], ease.T
    eye = jnp.eye(len(counts), dtype=jnp.float32)
    share = warm / jnp.maximum(warm.sum(), 1)
    users = jnp.log1p(counts)
    spread = jnp.sqrt(share @ (users - share @ users) ** 2)
    users = (users - share @ users) / jnp.maximum(spread, 1e-9)
    wanted = jnp.concatenate([to_item + signal * eye, users[:, None]], axis=1)
    mean = jnp.matmul(share, wanted, precision="highest")
    system = jnp.where(both, kernel(content, content), 0.0) + jnp.where(warm, l2, 1.0)[:, None] * eye
    left = jnp.where(warm[:, None], wanted - mean[None, :], 0.0)
    solved = jax.scipy.linalg.cho_solve(jax.scipy.linalg.cho_factor(system, lower=True), left)
    return {
        "known": content,
        "warm": warm,
        "carry": solved[:, :-1],
        "mean": mean[:-1],
        "fame": solved[:, -1],
        "mean_fame": mean[-1],
        "signal": neighbour_signal * to_item + eye,
    }


@jax.jit
def _placed(
    shared: PyTree,
    new: Content,
    kernel: ContentKernel,
    neighbours: jax.Array,
    neighbour_power: jax.Array,
    popularity: jax.Array,
) -> PyTree:
    """Rows for items with that content."""
    known = shared["known"]
    alike = kernel(new, known)
    near = jnp.where(shared["warm"][None, :], text_cosine(new, known) ** neighbour_power, 0.0)
    near = near / jnp.maximum(near.sum(axis=1, keepdims=True), 1e-9)
    weights = (
        jnp.matmul(alike, shared["carry"], precision="highest")
        + shared["mean"][None, :]
        + neighbours * jnp.matmul(near, shared["signal"], precision="highest")
    )
    fame = jnp.matmul(alike, shared["fame"], precision="highest") + shared["mean_fame"]
    return {BY_HISTORY: weights.T, "bias": popularity * fame}
