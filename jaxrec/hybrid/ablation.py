"""What each part of a blend adds: how well it does when it has to do without."""

from collections.abc import Iterable, Sequence
from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.hybrid.learning import fit, fit_further, judge
from jaxrec.hybrid.lessons import Lessons
from jaxrec.hybrid.ranker import Weights
from jaxrec.hybrid.signals import NAMES
from jaxrec.method import Method
from jaxrec.ranker import Share

USERS = 1_000
SIGNALS = "popularity and recency"


def shares(
    lessons: Lessons,
    names: Sequence[str],
    seconds: Sequence[float],
    *,
    strength: float,
    balance: float | None,
    seed: int,
) -> tuple[Share, ...]:
    """What each part is worth, and last the items' signals together; NDCG@10 on what was chosen after inner cuts.

    Of up to 1,000 users one half teaches weights and the other half is judged: by the blend, by the part alone, and by
    the blend without it, whose weights are learned further so that its like may stand in. names, seconds: of the parts;
    strength, balance: as the blend was learned.
    """
    order = np.random.default_rng(seed).permutation(len(lessons.context))[:USERS]
    few = jax.device_put(jax.tree.map(lambda leaf: leaf[order], lessons))
    teach = np.arange(len(order)) % 2 == 0
    counted, held = jnp.asarray(teach, jnp.float32), ~teach if len(order) > 1 else teach

    def reached(weights: Weights, lessons: Lessons) -> float:
        return float(np.asarray(judge(weights, lessons, balance))[held].mean())

    whole = fit(few, counted, strength, balance)
    base, nothing = reached(whole, few), jax.tree.map(jnp.zeros_like, whole)
    found = []
    for at, (name, cost) in enumerate(zip(names, seconds, strict=True)):
        without = few._replace(parts=few.parts.at[..., at].set(0.0))
        adds = base - reached(fit_further(whole, without, counted, strength, balance), without)
        found.append(Share(name, reached(nothing._replace(parts=nothing.parts.at[0, at].set(1.0)), few), adds, cost))
    without = few._replace(signals=few.signals.at[..., : len(NAMES) - 1].set(0.0))  # what is new is still known
    adds = base - reached(fit_further(whole, without, counted, strength, balance), without)
    return (*found, Share(SIGNALS, None, adds, 0.0))


def told_apart(parts: Iterable[Method]) -> list[str]:
    """Their names, with the options that are not the usual ones where two have one name."""
    parts = list(parts)
    names = [part.name for part in parts]
    return [name if names.count(name) == 1 else _with_options(part) for name, part in zip(names, parts, strict=True)]


def _with_options(part: Method) -> str:
    usual = type(part)()
    own = {f.name: getattr(part, f.name) for f in fields(part)}
    options = (f"{name} {value:g}" for name, value in own.items() if value != getattr(usual, name))
    return f"{part.name} ({', '.join(options) or 'as usual'})"
