"""What each part of a blend adds: how well it does when it has to do without."""

from collections.abc import Sequence
from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np

from jaxrec.hybrid.learning import fit, fit_further, judge
from jaxrec.hybrid.lessons import Lessons, some_users
from jaxrec.hybrid.ranker import Weights
from jaxrec.hybrid.signals import NEW
from jaxrec.method import Method
from jaxrec.ranker import Share

USERS = 1_000
PLAIN = (bool, int, float, str, type(None))
SIGNALS = "popularity, recency and numbers"


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
    few = jax.device_put(some_users(lessons, USERS, seed))
    teach = np.arange(len(few.standing)) % 2 == 0
    counted, held = jnp.asarray(teach, jnp.float32), ~teach if len(teach) > 1 else teach

    def reached(weights: Weights, lessons: Lessons) -> float:
        return float(np.asarray(judge(weights, lessons, balance))[held].mean())

    whole = fit(few, counted, strength, balance)
    base, nothing = reached(whole, few), jax.tree.map(jnp.zeros_like, whole)
    found = []
    for at, (name, cost) in enumerate(zip(names, seconds, strict=True)):
        without = few._replace(parts=few.parts.at[..., at].set(0.0))
        adds = base - reached(fit_further(whole, without, counted, strength, balance), without)
        found.append(Share(name, reached(nothing._replace(parts=nothing.parts.at[0, at].set(1.0)), few), adds, cost))
    without = few._replace(signals=few.signals.at[..., :NEW].set(0.0))  # what is new is still known
    adds = base - reached(fit_further(whole, without, counted, strength, balance), without)
    return (*found, Share(SIGNALS, None, adds, 0.0))


def told_apart(parts: Sequence[Method]) -> list[str]:
    """Their names; where several have one name with the plain options in which they differ, or else with a number."""
    found: list[str] = []
    for part in parts:
        alike = [other for other in parts if other.name == part.name]
        options = _differing(part, alike)
        name = f"{part.name} ({', '.join(options)})" if options else part.name
        same = sum(other == name or other.startswith(f"{name} #") for other in found)
        found.append(f"{name} #{same + 1}" if same else name)
    return found


def _differing(part: Method, alike: Sequence[Method]) -> list[str]:
    plain = [f.name for f in fields(part) if all(isinstance(getattr(other, f.name, None), PLAIN) for other in alike)]
    varied = (name for name in plain if len({getattr(other, name, None) for other in alike}) > 1)
    return [f"{name} {_short(getattr(part, name))}" for name in varied]


def _short(value: bool | int | float | str | None) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
