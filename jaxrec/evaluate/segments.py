"""Kinds of users and of items that are judged apart."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Segments:
    """The cuts. A user with fewer than `light` known events is new, with `heavy` or more heavy, between them light.

    `head` is the share of the catalog's items that count as head: the most interacted with, by known events.
    """

    light: int = 10
    heavy: int = 50
    head: float = 0.2

    def users(self, lengths: np.ndarray) -> dict[str, np.ndarray]:
        """lengths: known events per user, int [n]. Segment name -> bool [n]; together they hold every user once."""
        new, heavy = lengths < self.light, lengths >= self.heavy
        return {"new": new, "light": ~new & ~heavy, "heavy": heavy}

    def items(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """counts: known events per item, int [items]. Segment name -> bool [items].

        cold: nobody has it; warm: the others. head: the ceil(head x items) most popular (equal counts: catalog order,
        never cold); tail: the rest of the warm ones.
        """
        warm = counts > 0
        head = np.zeros(len(counts), bool)
        head[np.argsort(-counts, kind="stable")[: int(np.ceil(self.head * len(counts)))]] = True
        head &= warm
        return {"head": head, "tail": warm & ~head, "warm": warm, "cold": ~warm}

    def describe_users(self) -> dict[str, str]:
        """Each segment's cut, in words for tables."""
        return {
            "new": f"under {self.light} known events",
            "light": f"{self.light} to {self.heavy - 1} known events",
            "heavy": f"{self.heavy} known events or more",
        }

    def describe_items(self) -> dict[str, str]:
        return {
            "head": f"the {self.head:.0%} of items with most known events",
            "tail": "the other items with known events",
            "warm": "items with known events",
            "cold": "items without known events",
        }
