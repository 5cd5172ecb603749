"""Which options are tried, in which order."""

import math
from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from jaxrec.errors import UserError
from jaxrec.method import Between
from jaxrec.study.search import options_of, propose, with_options


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    places: tuple = (1, 2)


@dataclass(frozen=True)
class Tuned:
    l2: float = 200.0
    count: int = 100
    kind: str = "a"
    inner: Inner = field(default_factory=Inner)

    ranges: ClassVar = {
        "l2": Between(1, 10_000, log=True),
        "count": Between(10, 500, whole=True),
        "kind": ("a", "b", "c"),
        "inner.rate": Between(0, 1),
        "inner.places.1": (2, 4, 8),
    }


@dataclass(frozen=True)
class Few:
    kind: str = "b"
    n: int = 2
    ranges: ClassVar = {"kind": ("a", "b"), "n": Between(1, 3, whole=True)}


@dataclass(frozen=True)
class Lost:
    ranges: ClassVar = {"inner.rat": (1,)}
    inner: Inner = field(default_factory=Inner)


def searched(method, trials, value, seed=0):
    tried = []
    while len(tried) < trials:
        options = propose(method, tried, trials, seed)
        if options is None:
            break
        tried.append((options, value(options)))
    return tried


def test_options_are_read_and_set_by_path():
    method = with_options(Tuned(), {"inner.rate": 0.9, "inner.places.1": 8, "kind": "c"})
    assert method == Tuned(kind="c", inner=Inner(0.9, (1, 8)))
    assert options_of(method) == {"l2": 200.0, "count": 100, "kind": "c", "inner.rate": 0.9, "inner.places.1": 8}
    with pytest.raises(UserError, match="no 'rat'; did you mean 'rate'"):
        options_of(Lost())
    with pytest.raises(UserError, match="no option 'inner.rat'"):
        with_options(Lost(), {"inner.rat": 1})


def test_first_the_method_as_given_then_one_option_at_a_time():
    tried = [options for options, _ in searched(Tuned(), 30, lambda o: 0.0)]
    assert tried[0] == options_of(Tuned()) and len(tried) == 30
    assert len({str(options) for options in tried}) == 30
    for options in tried:
        assert 1 <= options["l2"] <= 10_000 and 10 <= options["count"] <= 500 and 0 <= options["inner.rate"] <= 1
        assert isinstance(options["count"], int) and options["kind"] in "abc" and options["inner.places.1"] in (2, 4, 8)
        assert sum(options[name] != tried[0][name] for name in options) == (options is not tried[0])
    assert [next(name for name in o if o[name] != tried[0][name]) for o in tried[1:6]] == list(tried[0])
    l2 = [options["l2"] for options in tried if options["l2"] != 200]
    assert {2_000.0, 20.0} <= {float(f"{value:.1g}") for value in l2[:2]}  # a quarter of the range to either side
    assert {options["kind"] for options in tried} == set("abc")
    assert any(searched(Tuned(), 3, lambda o: 0.0, seed)[1][0] != tried[1] for seed in (1, 2, 3, 4))


def test_twenty_trials_come_near_the_best_of_separable_options():
    def value(options):
        far = math.log10(options["l2"] / 3_000) ** 2 + (options["inner.rate"] - 0.1) ** 2
        return None if options["count"] > 400 else -far - (options["kind"] != "c") - options["count"] / 5_000

    best = max((v, str(o)) for o, v in searched(Tuned(), 20, value) if v is not None)
    assert best[0] > -0.1, best


def test_each_option_has_a_turn_then_what_makes_it_better_goes_on_and_what_changes_nothing_waits():
    tried = [options for options, _ in searched(Tuned(), 14, lambda o: o["l2"] + (o["kind"] == "b"))]
    for name in Tuned.ranges:
        assert {options[name] for options in tried[:6]} - {tried[0][name]}, name
    assert max(options["l2"] for options in tried[:6]) < max(options["l2"] for options in tried[:8]) == 10_000
    moved = [sum(options[name] != Tuned().count for options in tried) for name in ("count",)]
    assert moved[0] <= 2


def test_a_search_goes_on_as_if_it_had_not_been_interrupted():
    whole = searched(Tuned(), 20, lambda o: -abs(o["inner.rate"] - 0.3))
    assert propose(Tuned(), whole[:7], 20) == whole[7][0]
    assert propose(Tuned(), whole[:16], 20) == whole[16][0]


def test_few_settings_are_all_tried_and_no_more():
    tried = [options for options, _ in searched(Few(), 50, lambda o: 0.0)]
    assert tried[0] == {"kind": "b", "n": 2}
    assert sorted((o["kind"], o["n"]) for o in tried) == [(kind, n) for kind in "ab" for n in (1, 2, 3)]
