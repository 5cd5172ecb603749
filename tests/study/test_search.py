"""Which options are tried, in which order."""

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


def test_first_the_method_as_given_then_what_the_ranges_hold():
    tried = [options for options, _ in searched(Tuned(), 30, lambda o: 0.0)]
    assert tried[0] == options_of(Tuned()) and len(tried) == 30
    assert len({str(options) for options in tried}) == 30
    for options in tried:
        assert 1 <= options["l2"] <= 10_000 and 10 <= options["count"] <= 500 and 0 <= options["inner.rate"] <= 1
        assert isinstance(options["count"], int) and options["kind"] in "abc" and options["inner.places.1"] in (2, 4, 8)
    spread = tried[1:20]
    for low in (1, 10, 100, 1_000):  # by its logarithm
        assert sum(low <= options["l2"] < 10 * low for options in spread) >= 3
    assert {options["kind"] for options in spread} == set("abc")
    assert searched(Tuned(), 30, lambda o: 0.0, seed=1)[1] != tried[1]


def test_a_search_goes_on_as_if_it_had_not_been_interrupted():
    whole = searched(Tuned(), 20, lambda o: -abs(o["inner.rate"] - 0.3))
    assert propose(Tuned(), whole[:7], 20) == whole[7][0]
    assert propose(Tuned(), whole[:16], 20) == whole[16][0]


def test_the_last_third_looks_near_the_best():
    def value(options):
        return None if options["count"] > 400 else -((options["inner.rate"] - 0.3) ** 2) - (options["kind"] != "b")

    tried = searched(Tuned(), 30, value)
    best_before = max(v for _, v in tried[:20] if v is not None)
    best = max(tried[:20], key=lambda entry: -9 if entry[1] is None else entry[1])[0]
    after = tried[20][0]
    assert any(after[name] == best[name] for name in best) and after != best
    assert max(v for _, v in tried[20:] if v is not None) > best_before
    near = [abs(options["inner.rate"] - 0.3) for options, _ in tried[20:]]
    assert sorted(near)[len(near) // 2] < 0.15  # a draw from the whole range is 0.29 away


def test_few_settings_are_all_tried_and_no_more():
    tried = [options for options, _ in searched(Few(), 50, lambda o: 0.0)]
    assert tried[0] == {"kind": "b", "n": 2}
    assert sorted((o["kind"], o["n"]) for o in tried) == [(kind, n) for kind in "ab" for n in (1, 2, 3)]
