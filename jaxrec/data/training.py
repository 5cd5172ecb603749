"""What a method learns from."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from jaxrec.data.dataset import Dataset
from jaxrec.data.holdout import Holdout, HoldoutRule
from jaxrec.data.interactions import Interactions

KEPT = 2**28  # bytes of what is counted once for several fits; what is larger is counted again


@dataclass(frozen=True, eq=False)
class TrainingData:
    """The training part of a holdout, and all that is known of its users and items.

    text: float32 [items, dim], unit vectors of the item texts, or None where nothing is read; user_text: float32
    [users, dim], of the users' own words, or None. holdout: the split that `train` is a part of, for methods that
    stop early on its validation part; None where there is nothing but `train`. rule: how that split was cut, for
    methods that cut `train` once more in the same way. encoder: the loaded text encoder, for methods that train it
    along; None where there is none.
    """

    dataset: Dataset
    train: Interactions
    text: np.ndarray | None = None
    user_text: np.ndarray | None = None
    holdout: Holdout | None = None
    rule: HoldoutRule | None = None
    encoder: Any = None
    _counted: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    @property
    def has_text(self) -> bool:
        return self.text is not None and self.text.shape[1] > 0

    @property
    def has_validation(self) -> bool:
        return self.holdout is not None and len(self.holdout.valid) > 0

    def once(self, key: Hashable, count: Callable[[], Any]) -> Any:
        """The array that `count` gives: the same for all fits to this data that ask by that key, unless it is larger
        than 256 MB."""
        if key in self._counted:
            return self._counted[key]
        array = count()
        if array.nbytes <= KEPT:
            self._counted[key] = array
        return array

    def on(self, holdout: Holdout) -> "TrainingData":
        """The same with the training part of another split."""
        return replace(self, train=holdout.train, holdout=holdout)
