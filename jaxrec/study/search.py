"""Which options to try next: the method as given, then one option at a time, away from the best so far."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxrec.config import config_fields, did_you_mean, is_config, to_json
from jaxrec.errors import UserError
from jaxrec.method import Between, Method, Ranges, reads_text

Options = dict[str, Any]
STEPS = tuple(0.25 / 2**halvings for halvings in range(7))  # as shares of a range
INERT = 2  # an option that changed nothing waits for so many turns


def options_of(method: Method) -> Options:
    """The values of what may be searched, by dotted path. Raises UserError for a path that leads nowhere."""
    return {path: _get(method, path.split("."), path, method) for path in method.ranges}


def with_options(method: Method, options: Mapping[str, Any]) -> Method:
    """The same with some options set by dotted path; steps are field names and positions in a tuple.

    Raises UserError for a path that leads nowhere and for values that the method refuses.
    """
    for path, value in options.items():
        method = _set(method, path.split("."), path, value)
    return method


def may_read_text(method: Method) -> bool:
    """Whether the method, or one that the search may make of it, looks at the text vectors of the data."""
    choices = ((path, value) for path, values in method.ranges.items() if isinstance(values, tuple) for value in values)
    return reads_text(method) or any(reads_text(with_options(method, {path: value})) for path, value in choices)


def propose(
    method: Method, tried: Sequence[tuple[Options, float | None]], trials: int, seed: int = 0
) -> Options | None:
    """The options of the next trial, None where no setting is left; a function of what was tried, so that a search that
    was interrupted goes on as if it had not been.

    tried: (options, what they scored; None where they failed), in order. The first trial is the method as given. Then
    one option at a time is moved from the best so far, by a quarter of its range to either side, later by halves of
    that (compass search: Kolda, Lewis and Torczon, SIAM Review 2003). Each option has a turn before any has a second:
    what matters most is often the last of them. Then one that has just made it better moves on, else the one with the
    fewest moves is next. Options of rankers are nearly separable, so that twenty trials reach further than draws from
    all ranges at once. seed: which side is first. Where there are no more distinct settings than trials, all of them
    are tried.
    """
    given, ranges = options_of(method), method.ranges
    if not tried:
        return given
    seen = {to_json(options) for options, _ in tried}
    settings = math.prod(_count(values) for values in ranges.values())
    if settings <= trials:
        every = itertools.product(*(_listed(values) for values in ranges.values()))
        return next((o for o in (dict(zip(ranges, v, strict=True)) for v in every) if to_json(o) not in seen), None)
    best, moves, last = _so_far(ranges, tried)
    sides = dict(zip(ranges, np.random.default_rng(seed).choice([-1.0, 1.0], len(ranges)), strict=True))
    moved = {path for path in ranges if any(options[path] != given[path] for options, _ in tried)}
    for path in sorted(ranges, key=lambda path: (path in moved, path != last, moves[path])):
        known = [options[path] for options, _ in tried]
        for value in _beside(ranges[path], best[path], known, sides[path]):
            options = best | {path: value}
            if to_json(options) not in seen:
                return options
    return None


def _so_far(
    ranges: Ranges, tried: Sequence[tuple[Options, float | None]]
) -> tuple[Options, dict[str, int], str | None]:
    """The best options, how many turns each option has had, and the one that made it better in the last trial."""
    (best, value), moves, last = tried[0], dict.fromkeys(ranges, 0), None
    for options, found in tried[1:]:
        moved = [path for path in ranges if options[path] != best[path]]
        last = None
        if found is not None and (value is None or found > value):
            best, value = options, found
            last = moved[0] if len(moved) == 1 else None
            if any(isinstance(ranges[path], tuple) for path in moved):  # what mattered not may matter now
                moves = {path: min(turns, 1) for path, turns in moves.items()}
        elif len(moved) == 1:
            moves[moved[0]] += INERT if found == value else 1
    return best, moves, last


def _beside(values: Between | tuple, value: Any, known: Sequence[Any], side: float) -> Iterator[Any]:
    """Values to try instead, in order: of listed ones the nearest, of two as near the first. known: of earlier trials,
    whatever the other options were; what is too near them is left, and what is listed and known comes last."""
    if not isinstance(values, Between):
        at = values.index(value) if value in values else -1
        others = (v for v in values if v != value)
        yield from sorted(others, key=lambda v: (known.count(v), abs(values.index(v) - at)))
        return
    place = _place(values, value)
    places = [p for p in (_place(values, v) for v in known) if p is not None]
    for step in STEPS:
        for to in (side, -side):
            new = min(max((0.5 if place is None else place) + to * step, 0.0), 1.0)
            if all(abs(new - p) > step / 2 for p in places):
                yield _value(values, new)


def _value(values: Between, place: float) -> float | int:
    """What stands at a place of the range, from 0 to 1; three digits are enough."""
    low, high = values.low, values.high
    value = low * (high / low) ** place if values.log else low + (high - low) * place
    value = min(max(float(f"{value:.3g}"), low), high)
    return round(value) if values.whole else float(value)


def _place(values: Between, value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or (values.log and value <= 0):
        return None
    low, high = values.low, values.high
    place = math.log(value / low) / math.log(high / low) if values.log else (value - low) / (high - low)
    return min(max(place, 0.0), 1.0)


def _count(values: Between | tuple) -> float:
    if isinstance(values, Between):
        return values.high - values.low + 1 if values.whole else math.inf
    return len(values)


def _listed(values: Between | tuple) -> Sequence[Any]:
    return range(int(values.low), int(values.high) + 1) if isinstance(values, Between) else values


def _get(value: Any, steps: list[str], path: str, method: Method) -> Any:
    for step in steps:
        if is_config(value) and step in config_fields(value):
            value = getattr(value, step)
        elif isinstance(value, tuple) and step.isdecimal() and int(step) < len(value):
            value = value[int(step)]
        else:
            known = config_fields(value) if is_config(value) else ()
            raise UserError(f"{type(method).__name__}.ranges names {path!r}: no {step!r}{did_you_mean(step, known)}")
    return value


def _set(value: Any, steps: list[str], path: str, new: Any) -> Any:
    if not steps:
        return new
    step, rest = steps[0], steps[1:]
    if isinstance(value, tuple) and step.isdecimal() and int(step) < len(value):
        at = int(step)
        return (*value[:at], _set(value[at], rest, path, new), *value[at + 1 :])
    if not (is_config(value) and step in config_fields(value)):
        raise UserError(f"there is no option {path!r}")
    try:
        return replace(value, **{step: _set(getattr(value, step), rest, path, new)})
    except (ValueError, TypeError, AssertionError) as error:
        raise UserError(f"{path}={new}: {error}") from error
