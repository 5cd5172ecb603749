"""Which options to try next: the method as given, then evenly spread draws, then near the best."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from jaxrec.config import config_fields, did_you_mean, is_config, to_json
from jaxrec.errors import UserError
from jaxrec.method import Between, Method, Ranges, reads_text

Options = dict[str, Any]
PRIMES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
ATTEMPTS = 200
NEAR = 0.12  # standard deviation of a step near the best, as a share of the range


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

    tried: (options, what they scored; None where they failed), in order. The first trial is the method as given; then,
    up to two thirds of `trials`, a randomly shifted Halton sequence (Halton, 1960; Cranley and Patterson, 1976), which
    leaves no part of the ranges out; the last third are steps away from the best so far. Where there are no more
    distinct settings than trials, all of them are tried.
    """
    given, ranges = options_of(method), method.ranges
    if not tried:
        return given
    seen = {to_json(options) for options, _ in tried}
    settings = math.prod(_count(values) for values in ranges.values())
    if settings <= trials:
        every = itertools.product(*(_listed(values) for values in ranges.values()))
        return next((o for o in (dict(zip(ranges, v, strict=True)) for v in every) if to_json(o) not in seen), None)
    scored = [(value, -place, options) for place, (options, value) in enumerate(tried) if value is not None]
    if len(tried) >= math.ceil(2 * trials / 3) and scored:
        best = max(scored, key=lambda entry: entry[:2])[2]
        random = np.random.default_rng((seed, len(tried)))
        near = (_near(ranges, best, random) for _ in range(ATTEMPTS))
        chosen = next((options for options in near if to_json(options) not in seen), None)
        if chosen is not None:
            return chosen
    shift = np.random.default_rng(seed).random(len(ranges))
    spread = (_spread(ranges, number, shift) for number in range(1, ATTEMPTS + 10 * trials))
    return next((options for options in spread if to_json(options) not in seen), None)


def _spread(ranges: Ranges, number: int, shift: np.ndarray) -> Options:
    places = [(_radical_inverse(number, PRIMES[d % len(PRIMES)]) + shift[d]) % 1.0 for d in range(len(ranges))]
    return {path: _value(values, place) for (path, values), place in zip(ranges.items(), places, strict=True)}


def _radical_inverse(number: int, base: int) -> float:
    """The digits of a number in a base, mirrored at the point."""
    inverse, scale = 0.0, 1.0 / base
    while number:
        number, digit = divmod(number, base)
        inverse, scale = inverse + digit * scale, scale / base
    return inverse


def _near(ranges: Ranges, best: Options, random: np.random.Generator) -> Options:
    """One of the options, and about one more, a small step away."""
    moved = random.random(len(ranges)) < 1 / len(ranges)
    moved[random.integers(len(ranges))] = True
    options = {}
    for (path, values), moves in zip(ranges.items(), moved, strict=True):
        options[path] = _step(values, best[path], random) if moves else best[path]
    return options


def _step(values: Between | tuple, value: Any, random: np.random.Generator) -> Any:
    if isinstance(values, Between):
        place = _place(values, value)
        return _value(values, float(np.clip(random.random() if place is None else random.normal(place, NEAR), 0, 1)))
    if value not in values or len(values) == 1:
        return values[random.integers(len(values))]
    at = values.index(value)
    beside = [i for i in (at - 1, at + 1) if 0 <= i < len(values)]
    return values[random.choice(beside)]


def _value(values: Between | tuple, place: float) -> Any:
    """What stands at a place of the range, from 0 to 1; three digits are enough."""
    if not isinstance(values, Between):
        return values[min(int(place * len(values)), len(values) - 1)]
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
