"""How a part's scores are spread over a probe of the catalog: what they are standardised by."""

from functools import partial

import jax
import jax.numpy as jnp

from jaxrec.item_axis import BY_HISTORY, PyTree, item_axis_product, take_items

TOP = 256  # directions that are measured each by itself
REST = 128  # random ones, for what lies beside those


def probe_items(items: PyTree, rows: jax.Array) -> PyTree:
    """The items that are asked after for the spread over those of `rows`, int32 [probe]: they themselves, or, where the
    scores are linear in what is stored of items (see `BY_HISTORY`), some few sums of them, as Hutch++ has it (Meyer et
    al., SOSA 2021).

    Of scores s of n items the variance is |C s|^2 / n with C s = s - mean(s). With the scores A^T h of an asker h it is
    |Q^T C A^T h|^2 / n in the directions Q that A C has most of, which are told exactly, and what is left, whose length
    random directions tell within 1 / sqrt(2 REST) of itself: 1 % of the whole, for a fifth of the products.
    """
    some = take_items(items, rows)
    if not _is_linear_in_items(items):
        return some
    return item_axis_product(some, _directions(some[BY_HISTORY], top=min(TOP, len(rows))))


def moments(probe: PyTree, scores: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation over the probe, float32 [batch], by the scores of `probe_items`, [batch, any]."""
    if _is_linear_in_items(probe):
        return scores[:, 0], jnp.linalg.norm(scores[:, 1:], axis=1)
    return scores.mean(axis=1), scores.std(axis=1)


def _is_linear_in_items(items: PyTree) -> bool:
    return isinstance(items, dict) and BY_HISTORY in items


@partial(jax.jit, static_argnames="top")
def _directions(by_history: jax.Array, *, top: int) -> jax.Array:
    """float32 [probe, 1 + top + REST]: the mean, and what the standard deviation is the length of. by_history: float32
    [known, probe]."""
    count = by_history.shape[1]
    dot = partial(jnp.matmul, precision="highest")

    def centred(columns: jax.Array) -> jax.Array:
        return columns - columns.mean(axis=0, keepdims=True)

    def strongest(columns: jax.Array) -> jax.Array:
        return jnp.linalg.qr(dot(by_history.T, dot(by_history, centred(columns))))[0]

    draw, other = jax.random.split(jax.random.key(0))
    basis = jax.random.normal(draw, (count, top))
    for _ in range(3):  # subspace iteration (Halko et al., SIAM Review 2011)
        basis = strongest(basis)
    beside = jax.random.normal(other, (count, REST)) / jnp.sqrt(REST)
    beside = beside - dot(basis, dot(basis.T, beside))
    lengths = centred(jnp.concatenate([basis, beside], axis=1)) / jnp.sqrt(count)
    return jnp.concatenate([jnp.full((count, 1), 1 / count), lengths], axis=1)
