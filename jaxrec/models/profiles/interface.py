"""What every profile head takes and gives, for users and for items alike."""

from typing import NamedTuple, Protocol

import jax
from jax import Array


class Known(NamedTuple):
    """What is known of a batch of users or items.

    summary: [batch, width], everything known in one vector (an item's fields added up; a history pooled by attention).
    parts: [batch, parts, width], the same piece by piece: an item's fields, or a user's events, oldest first; None
        unless the head reads them.
    mask: bool [batch, parts], which pieces are there.
    content: [batch, width], what is known without any behaviour: an item's fields; an asker's own words and features.
    behaviour: [batch, dim], the profile learned from behaviour, for heads that imitate it; no gradient flows into it.
    behaviour_mask: bool [batch], who has one (warm items; users with a history).
    counts: float32 [batch, items], what a user chose, for heads that rebuild it; None unless the head reads them.
    """

    summary: Array
    parts: Array | None
    mask: Array
    content: Array
    behaviour: Array
    behaviour_mask: Array
    counts: Array | None = None


class Profile(NamedTuple):
    """vector: [batch, dim]. losses: the head's own losses, each [batch]; names tell them apart in the logs."""

    vector: Array
    losses: dict[str, Array]


class ProfileHead(Protocol):
    """A Linen module that reads what is known and returns a profile of `dim` numbers.

    `reads` names the costly fields of `Known` that it uses ("parts", "counts"); the others may be empty for it.
    """

    dim: int

    @property
    def reads(self) -> tuple[str, ...]: ...

    def __call__(self, known: Known, *, train: bool) -> Profile: ...


def behaviour_target(known: Known) -> Array:
    """The behaviour profile as a fixed target, [batch, dim]."""
    return jax.lax.stop_gradient(known.behaviour)
