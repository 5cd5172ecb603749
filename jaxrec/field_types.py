"""The types of config fields: found from annotations, and text read by them ("0.1", "true", "none", "1,2")."""

import ast
import dataclasses
import json
import types
from enum import Enum
from functools import lru_cache
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

_NOTHING = ("none", "null")


@lru_cache(maxsize=1024)
def field_hints(cls: type) -> dict[str, Any]:
    """Field name -> annotation; Any where an annotation cannot be resolved."""
    names = [field.name for field in dataclasses.fields(cls)]
    try:
        hints = get_type_hints(cls)
    except Exception:  # a name that only a type checker sees: one unresolved field does not spoil the others
        hints = {f.name: Any if isinstance(f.type, str) else f.type for f in dataclasses.fields(cls)}
    return {name: hints.get(name, Any) for name in names}


def _members(hint: Any) -> tuple[Any, ...]:
    """The members of a union, or the hint alone."""
    if get_origin(hint) is Annotated:
        return _members(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        return tuple(member for arg in get_args(hint) for member in _members(arg))
    return (hint,)


def element_hints(hint: Any, count: int) -> tuple[Any, ...]:
    """One hint for each of `count` elements of a tuple, list or dict (its values) of this hint."""
    for member in _members(hint):
        origin, args = get_origin(member), get_args(member)
        if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
            return (args[0],) * count
        if origin is tuple and len(args) == count:
            return args
        if origin not in (None, tuple, Literal) and args:  # list[x], Sequence[x], dict[str, x]
            return (args[-1],) * count
    return (Any,) * count


def type_name(hint: Any) -> str:
    """An annotation as a person would write it: "int | None"."""
    if len(_members(hint)) > 1:
        return " | ".join(type_name(member) for member in _members(hint))
    if hint is type(None):
        return "None"
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint).replace("typing.", "")


def _order(member: Any) -> int:
    """A union is tried in this order: "3" for `int | str` is the number, "1" for `bool | int` is 1."""
    first = (type(None), int, float, bool)
    if member in first:
        return first.index(member)
    is_path = isinstance(member, type) and issubclass(member, PurePath)
    return len(first) + (1 if member is str else 2 if is_path else 0)


def parse(text: str, hint: Any, *, like: Any = None) -> Any:
    """`text` read as `hint`; where the hint says nothing, as the type of the value `like`, else as JSON or a string.

    Raises ValueError: "'abc' is not of type int".
    """
    members = sorted(_members(hint), key=_order)
    for member in members:
        try:
            return _parse_one(text, member, like)
        except ValueError:
            continue
    only = all(get_origin(member) is Literal for member in members)
    raise ValueError(f"{text!r} is not {'' if only else 'of type '}{type_name(hint)}")


def _parse_one(text: str, hint: Any, like: Any) -> Any:
    origin = get_origin(hint) or hint
    if hint is type(None):
        if text.lower() not in _NOTHING:
            raise ValueError
        return None
    if hint is str:
        return text
    if origin is Literal:
        if text not in map(str, get_args(hint)):
            raise ValueError
        return {str(arg): arg for arg in get_args(hint)}[text]
    if origin in (tuple, list) or getattr(origin, "__name__", "") in ("Sequence", "Iterable"):
        return (list if origin is list else tuple)(_sequence(text, hint))
    if origin is dict:
        entries = json.loads(text)
        if not isinstance(entries, dict):
            raise ValueError
        return {key: parse(_text(part), element_hints(hint, 1)[0]) for key, part in entries.items()}
    if isinstance(origin, type) and (
        origin in (bool, int, float) or issubclass(origin, PurePath) or issubclass(origin, Enum)
    ):
        from pydantic import TypeAdapter

        return TypeAdapter(hint).validate_strings(text)  # pydantic's ValidationError is a ValueError
    if hint is Any or hint is object or not isinstance(hint, type):  # also type variables
        return _guess(text, like)
    raise ValueError


def _sequence(text: str, hint: Any) -> list[Any]:
    bracketed = text[:1] in ("[", "(") and text[-1:] in ("]", ")")
    try:
        parts = json.loads(text) if text.startswith("[") else ast.literal_eval(text) if bracketed else None
    except (ValueError, SyntaxError):
        parts = None
    if parts is None:
        bare = text[1:-1] if bracketed else text
        parts = [part.strip() for part in bare.split(",") if part.strip()]
    if not isinstance(parts, (list, tuple)):
        parts = [parts]
    wanted = [len(get_args(m)) for m in _members(hint) if get_origin(m) is tuple and Ellipsis not in get_args(m)]
    if wanted and len(parts) != wanted[0]:
        raise ValueError
    return [
        parse(_text(part), part_hint) for part, part_hint in zip(parts, element_hints(hint, len(parts)), strict=True)
    ]


def _text(part: Any) -> str:
    return part if isinstance(part, str) else json.dumps(part)


def _guess(text: str, like: Any) -> Any:
    if isinstance(like, (bool, int, float, tuple, list, PurePath)):
        return parse(text, type(like))
    if isinstance(like, str):
        return text
    if dataclasses.is_dataclass(like) and text.lower() not in _NOTHING:
        raise ValueError
    try:
        value = json.loads({"none": "null", "true": "true", "false": "false"}.get(text.lower(), text))
    except json.JSONDecodeError:
        return text
    return tuple(value) if isinstance(value, list) else value
