"""Configs are objects: load one from a Python file, override it by dotted path, write it as JSON and read it back.

A config is a tree of frozen dataclasses (flax.linen modules are such too), tuples, lists, dicts and plain values.
"""

import dataclasses
import importlib
import importlib.util
import json
import math
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from types import ModuleType
from typing import Any

from jaxrec.errors import UserError, closest
from jaxrec.field_types import element_hints, field_hints, parse, type_name

CLASS = "$class"


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """The end of an error message: "; did you mean 'dim'?", or the known words, or nothing where none is known."""
    words = sorted(set(words))
    meant = closest(word, words, cutoff=0.5)  # names of options are short
    if meant is not None:
        return f"; did you mean {meant!r}?"
    return f"; it has: {', '.join(words[:30])}" if words else ""


# --- the config file ---------------------------------------------------------------------------------------------


def load_config(path: str | Path, *, debug: bool = False) -> Any:
    """What `get_config()` of the Python file at `path` returns; with `debug`, passed through its `debug(experiment)`.

    Raises UserError where the file is missing, fails, or has no such function.
    """
    path = Path(path)
    if not path.is_file():
        folder = path.parent
        near = [p.name for p in folder.glob("*.py")] if folder.is_dir() else []
        raise UserError(f"no config file {str(path)!r}{did_you_mean(path.name, near)}")
    config = _call(_module(path), "get_config", path)
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise UserError(f"{path}: get_config() must return an Experiment, not {type(config).__name__}")
    return _call(_module(path), "debug", path, config) if debug else config


def _module(path: Path) -> ModuleType:
    name = f"jaxrec_config_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is not a Python file; a config is a .py file with get_config()")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        raise UserError(f"{path}, line {error.lineno}: {error.msg}") from error
    except Exception as error:
        raise UserError(_where(path, error)) from error
    return module


def _call(module: ModuleType, function: str, path: Path, *args: Any) -> Any:
    if not callable(getattr(module, function, None)):
        raise UserError(f"{path} has no function {function}({'experiment' if args else ''})")
    try:
        return getattr(module, function)(*args)
    except Exception as error:
        raise UserError(_where(path, error)) from error


def _where(path: Path, error: Exception) -> str:
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == path]
    return f"{path}{f', line {lines[-1]}' if lines else ''}: {type(error).__name__}: {error}"


# --- fields --------------------------------------------------------------------------------------------------------


def is_config(value: Any) -> bool:
    """Whether `value` is an instance of a dataclass."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def config_fields(cls: Any) -> dict[str, dataclasses.Field]:
    """The settable fields of a dataclass or an instance of one, by name; not a Linen module's `parent` and `name`."""
    owner = cls if isinstance(cls, type) else type(cls)
    linen = any((base.__module__, base.__name__) == ("flax.linen.module", "Module") for base in owner.__mro__)
    hidden = {"parent", "name"} if linen else set()
    return {f.name: f for f in dataclasses.fields(cls) if f.init and f.name not in hidden}


def default_of(field: dataclasses.Field) -> Any:
    """The field's default, or dataclasses.MISSING where it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


# --- overrides -----------------------------------------------------------------------------------------------------


def override(config: Any, assignments: Sequence[str]) -> Any:
    """`config` with each "a.b=value" applied in order; the value is read by the type of the field.

    Steps of the path are field names, positions in a tuple, or keys of a dict. A nested config is replaced by naming a
    class of the same folder ("holdout=LeaveLastOut") or any of jaxrec's ("holdout=jaxrec.data.given:Given"); the
    fields it needs are taken from the assignments. Raises UserError for an unknown field or a value of another type.
    """
    pairs = []
    for assignment in assignments:
        path, sign, text = assignment.partition("=")
        if not sign or not path.strip():
            raise UserError(f"{assignment!r} is not of the form path.to.field=value")
        pairs.append((path.strip(), text.strip()))
    for path, text in pairs:
        config = _set(config, path.split("."), path, text, Any, pairs)
    return config


def _set(value: Any, steps: list[str], path: str, text: str, hint: Any, pairs: list[tuple[str, str]]) -> Any:
    if not steps:
        return _read(value, path, text, hint, pairs)
    step, rest = steps[0], steps[1:]
    where = path.rsplit(".", len(steps))[0] if path.count(".") >= len(steps) else ""
    if is_config(value):
        fields = config_fields(value)
        if step not in fields:
            raise UserError(f"{type(value).__name__} has no field {step!r}{did_you_mean(step, fields)}")
        new = _set(getattr(value, step), rest, path, text, field_hints(type(value))[step], pairs)
        try:
            return dataclasses.replace(value, **{step: new})
        except (ValueError, TypeError, AssertionError) as error:
            raise UserError(f"{path}={text}: {error}") from error
    if isinstance(value, (tuple, list)):
        if not step.isdecimal() or int(step) >= len(value):
            raise UserError(f"{where!r} has {len(value)} entries: write {where}.0 for the first, not .{step}")
        hints = element_hints(hint, len(value))
        new = _set(value[int(step)], rest, path, text, hints[int(step)], pairs)
        return type(value)([*value[: int(step)], new, *value[int(step) + 1 :]])
    if isinstance(value, dict):
        return {**value, step: _set(value.get(step), rest, path, text, element_hints(hint, 1)[0], pairs)}
    raise UserError(f"{where!r} is {value!r} and has no fields; {path!r} cannot be set")


def _read(value: Any, path: str, text: str, hint: Any, pairs: list[tuple[str, str]]) -> Any:
    if text.startswith(("{", "[")) and CLASS in text:
        return from_json(text)
    cls = _named_class(text, value)
    if cls is not None:
        given = {p.rsplit(".", 1)[1]: t for p, t in pairs if p.rpartition(".")[0] == path}
        hints, fields = field_hints(cls), config_fields(cls)
        chosen = {n: _read(None, f"{path}.{n}", t, hints[n], pairs) for n, t in given.items() if n in fields}
        return _make(cls, chosen, f"{path}={text}")
    try:
        return parse(text, hint, like=value)
    except ValueError as error:
        if is_config(value):
            names = ", ".join(config_fields(value))
            raise UserError(
                f"{path}={text}: {path!r} is of class {type(value).__name__}; "
                f"{f'set its fields ({names}) or ' if names else ''}name another class that lies beside it"
                f"{_meant_class(text, value)}"
            ) from error
        raise UserError(f"{path}={text}: {error}") from error


def _named_class(text: str, value: Any) -> type | None:
    if ":" in text and text.startswith("jaxrec."):
        return _class(text)
    if not (is_config(value) and text.isidentifier()):
        return None
    module = type(value).__module__
    names = [module, *_siblings(module, text)]
    found = (getattr(importlib.import_module(name), text, None) for name in names)
    return next((c for c in found if isinstance(c, type) and dataclasses.is_dataclass(c)), None)


def _meant_class(text: str, value: Any) -> str:
    """The end of an error message, "; did you mean 'Dot'?" or nothing.

    Meant are the config classes in the module of `value`, else those in its folder.
    """
    if not text.isidentifier():
        return ""
    module = type(value).__module__
    # a frozen dataclass without further options, or a Linen module
    config_class = re.compile(r"^(?:@dataclass\(frozen=True\)\nclass (\w+)|class (\w+)\(nn\.Module\))", re.MULTILINE)
    known = {name: {a or b for a, b in config_class.findall(source)} for name, source in _sources(module).items()}
    near = (closest(text, names, cutoff=0.5) for names in (known.get(module, ()), set().union(*known.values())))
    return next((f"; did you mean {name!r}?" for name in near if name), "")


def _siblings(module: str, name: str) -> list[str]:
    """Modules of the same folder that define a class of this name; found by reading, so that no other is imported."""
    defines = re.compile(rf"^class {name}\b", re.MULTILINE)
    return [sibling for sibling, source in _sources(module).items() if defines.search(source)]


def _sources(module: str) -> dict[str, str]:
    """The modules of the same folder and what stands in them; none for a module outside jaxrec."""
    file = getattr(sys.modules[module], "__file__", None)
    if file is None or not module.startswith("jaxrec."):
        return {}
    package = module.rpartition(".")[0]
    return {f"{package}.{f.stem}": f.read_text(encoding="utf-8") for f in sorted(Path(file).parent.glob("*.py"))}


# --- JSON ----------------------------------------------------------------------------------------------------------


def to_json(config: Any) -> str:
    """`config` as JSON text; each dataclass names its import path under "$class", tuples become lists.

    Raises UserError for a class outside jaxrec, for a value that JSON cannot hold (a function, an array) and for nan.
    """
    return json.dumps(_encode(config, type(config).__name__), indent=2, ensure_ascii=False, allow_nan=False)


def from_json(text: str) -> Any:
    """The config that `to_json` wrote, equal to it; fields that are not there take their defaults.

    Only dataclasses of jaxrec are made. Raises UserError for others, unknown fields, and text that is not JSON.
    """
    try:
        tree = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"not a config in JSON: {error}") from error
    return _decode(tree, Any, "config")


def _encode(value: Any, where: str) -> Any:
    if is_config(value):
        module, name = type(value).__module__, type(value).__qualname__
        if module.split(".")[0] != "jaxrec" or not name.isidentifier():
            raise UserError(f"{where} is a {module}:{name}; only classes of jaxrec can be recorded in a config")
        tree = {CLASS: f"{module}:{name}"}
        for field in config_fields(value).values():
            part = getattr(value, field.name)
            if not (callable(part) and not is_config(part) and part is default_of(field)):  # a default function
                tree[field.name] = _encode(part, f"{where}.{field.name}")
        return tree
    if isinstance(value, float) and math.isnan(value):  # which no formula can use, and equals nothing once recorded
        raise UserError(f"{where} is nan, which is no number: give one")
    if isinstance(value, float) and math.isinf(value):
        return {"$float": str(value)}
    if isinstance(value, PurePath):
        return {"$path": str(value)}
    if isinstance(value, (str, bool, int, float)) or value is None:
        return value
    if isinstance(value, (tuple, list)):
        return [_encode(part, f"{where}.{i}") for i, part in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {key: _encode(part, f"{where}.{key}") for key, part in value.items()}
    raise UserError(f"{where} is a {type(value).__name__}, which JSON cannot hold; use a plain value such as a string")


def _decode(tree: Any, hint: Any, where: str) -> Any:
    if isinstance(tree, list):
        hints = element_hints(hint, len(tree))
        parts = [_decode(part, h, f"{where}.{i}") for i, (part, h) in enumerate(zip(tree, hints, strict=True))]
        return parts if type_name(hint).startswith("list") else tuple(parts)
    if not isinstance(tree, dict):
        return tree
    if "$float" in tree:
        return float(tree["$float"])
    if "$path" in tree:
        return Path(tree["$path"])
    if CLASS not in tree:
        value_hint = element_hints(hint, 1)[0]
        return {key: _decode(part, value_hint, f"{where}.{key}") for key, part in tree.items()}
    cls = _class(tree[CLASS])
    fields, hints = config_fields(cls), field_hints(cls)
    for name in tree:
        if name != CLASS and name not in fields:
            raise UserError(f"{where}: {cls.__name__} has no field {name!r}{did_you_mean(name, fields)}")
    return _make(cls, {n: _decode(t, hints[n], f"{where}.{n}") for n, t in tree.items() if n != CLASS}, where)


def _make(cls: type, values: dict[str, Any], where: str) -> Any:
    missing = [n for n, f in config_fields(cls).items() if n not in values and default_of(f) is dataclasses.MISSING]
    if missing:
        raise UserError(f"{where}: {cls.__name__} also needs {', '.join(missing)}")
    try:
        return cls(**values)
    except (ValueError, TypeError, AssertionError) as error:
        raise UserError(f"{where}: {error}") from error


def _class(path: Any) -> type:
    """The dataclass at "jaxrec.module:Class", nothing else."""
    module, _, name = path.partition(":") if isinstance(path, str) else ("", "", "")
    if module.split(".")[0] != "jaxrec":
        raise UserError(f"{path!r} is not a class of jaxrec; a config may name no other (form: jaxrec.module:Class)")
    try:
        cls = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        raise UserError(f"{path!r}: {error}") from error
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__module__ == module):
        raise UserError(f"{path!r} is not a config class of this version of jaxrec")
    return cls


# --- to read -------------------------------------------------------------------------------------------------------


def describe(config: Any) -> str:
    """An indented tree of `config`; "*" marks a value that differs from its class's default, which stands behind it."""
    return "\n".join([type(config).__name__, *_tree(config, "  ")])


def _tree(config: Any, indent: str) -> Iterable[str]:
    for name, field in config_fields(config).items():
        value, default = getattr(config, name), default_of(field)
        changed = default is not dataclasses.MISSING and value != default
        mark = f"* {name}" if changed else f"  {name}"
        note = "" if not changed else f"   (default {type(default).__name__ if is_config(default) else repr(default)})"
        if is_config(value):
            same = type(value) is type(default) or not changed
            yield f"{indent}{'  ' if same else '* '}{name}: {type(value).__name__}{'' if same else note}"
            yield from _tree(value, indent + "    ")
        elif isinstance(value, (tuple, list)) and any(map(is_config, value)):
            yield f"{indent}{mark}:"
            for i, part in enumerate(value):
                yield f"{indent}    {i}: {type(part).__name__ if is_config(part) else repr(part)}"
                yield from _tree(part, indent + "      ") if is_config(part) else ()
        else:
            yield f"{indent}{mark}: {value!r}{note}"
