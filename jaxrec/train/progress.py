"""What the loop remembers besides the state: the history of metrics, the best step, why it stopped. All JSON."""

import base64
import json
import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from jaxrec.errors import UserError


@dataclass
class Progress:
    """Saved with every checkpoint, so that an interrupted run tells the same story as one left alone.

    history: one entry per log window ("split": "train") or evaluation ("split": "valid"), each with its "step".
    window: metrics of the steps since the last entry. stale: evaluations since the best one.
    """

    history: list[dict[str, Any]] = field(default_factory=list)
    window: list[dict[str, float]] = field(default_factory=list)
    best_step: int | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    stale: int = 0
    stopped_because: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "Progress":
        return cls(**saved)

    def close_window(self, step: int) -> dict[str, Any] | None:
        """Turn the window into a history entry: means, but the last learning rate. None when it is empty."""
        if not self.window:
            return None
        means = {name: float(np.mean([row[name] for row in self.window])) for name in self.window[-1]}
        if "learning_rate" in means:
            means["learning_rate"] = self.window[-1]["learning_rate"]
        means.pop("finite", None)
        self.window = []
        entry = {"step": step, "split": "train"} | {name: _jsonable(value) for name, value in means.items()}
        self.history.append(entry)
        return entry

    def judge(self, step: int, metrics: dict[str, float], metric: str, *, higher_is_better: bool) -> bool:
        """Note an evaluation; True when it is the best so far. Raises UserError when it lacks the metric."""
        if metric not in metrics:
            raise UserError(f"method.train.metric={metric!r} is not evaluated; there are: {', '.join(sorted(metrics))}")
        metrics = {name: _jsonable(float(value)) for name, value in metrics.items()}
        self.history.append({"step": step, "split": "valid"} | metrics)
        value, best = metrics[metric], self.best_metrics.get(metric)
        sign = 1 if higher_is_better else -1
        better = self.best_step is None or (value is not None and (best is None or sign * (value - best) > 0))
        if better:
            self.best_step, self.best_metrics, self.stale = step, metrics, 0
        else:
            self.stale += 1
        return better


def _jsonable(value: float) -> float | None:
    return value if math.isfinite(value) else None


def pack_position(state: Any) -> Any:
    """A data iterator's state as JSON. Raises UserError when it cannot be stored."""
    if isinstance(state, bytes):
        return {"base64": base64.b64encode(state).decode("ascii")}
    try:
        packed = {"json": state}
        json.dumps(packed)
    except TypeError as error:
        raise UserError(f"the data iterator's state cannot be saved as JSON: {error}") from error
    return packed


def unpack_position(packed: Any) -> Any:
    return base64.b64decode(packed["base64"]) if "base64" in packed else packed["json"]


MAY_DIFFER = re.compile(
    r"^(name|baselines|mesh)$|(^|\.)train\.(log_every|checkpoint_every|keep)$|^method(\.parts\.\d+)*\.label$"
)
"""Fields of an experiment that change how it runs and not what it learns; those of training wherever they stand."""


def first_difference(saved: Any, now: Any, path: str = "") -> tuple[str, Any, Any] | None:
    """(field, saved value, present value) of the first field that differs, in the present one's order; None where what
    was trained stands for both. Both: experiments as JSON, see `jaxrec.config.to_json`.
    """
    if MAY_DIFFER.search(path) or saved == now:
        return None
    if isinstance(saved, dict) and isinstance(now, dict):
        for name in [*now, *[name for name in saved if name not in now]]:
            below = f"{path}.{name}" if path and name != "$class" else path or name
            if name not in saved or name not in now:
                if not MAY_DIFFER.search(below):
                    return below, saved.get(name), now.get(name)
            elif found := first_difference(saved[name], now[name], below):
                return found
        return None
    if isinstance(saved, list) and isinstance(now, list) and len(saved) == len(now):
        pairs = enumerate(zip(saved, now, strict=True))
        return next((found for i, (a, b) in pairs if (found := first_difference(a, b, f"{path}.{i}"))), None)
    return path or "experiment", saved, now
