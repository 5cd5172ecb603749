"""The rules of the house: who imports whom, names, sizes, and the README's map; run as a script, it prints that map.

The map is the fenced block under "## The house" in the README. A line is a folder and its files, separated by blanks; a
line that begins with a blank goes on with the folder above; "#" begins a remark. Every .py, .sh and .j2 file of
configs/, launch/ and jaxrec/ stands there, but `__init__.py`; tests/ mirrors jaxrec/ and is not listed file by file.
"""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "jaxrec"
FILES = sorted(PACKAGE.rglob("*.py"))
STAGES = {
    "integrations",
    "hybrid",
    "data",
    "models",
    "losses",
    "parallel",
    "classic",
    "tasks",
    "evaluate",
    "train",
    "serve",
    "study",
}
ANY = {path.stem for path in PACKAGE.iterdir()} - {"cli"}
# A stage may import itself, these, and the files that belong to all.
MAY_IMPORT = {
    "data": {"files"},
    "models": {"losses"},
    "losses": set(),
    "parallel": set(),
    "classic": {"data", "parallel", "similarity", "history_matrix"},
    "hybrid": {"data", "classic", "history_matrix"},
    "tasks": {"data", "models", "losses", "similarity", "history_matrix"},
    "evaluate": {"data", "parallel", "files"},
    "train": {"data", "parallel", "tasks", "evaluate", "files", "config"},
    "serve": {"data", "models", "tasks", "classic", "files"},  # models: the language model of the service
    "study": ANY,
    "integrations": {"serve"},
    "files": set(),
    "errors": set(),
    "item_axis": set(),
    "ranker": set(),
    "method": {"data"},
    "similarity": set(),
    "history_matrix": set(),
    "field_types": set(),
    "config": {"field_types"},
}
FOR_ALL = {"errors", "item_axis", "ranker", "method"}
# What an artifact needs to be loaded and asked; the last two only where text or new items are embedded.
SERVING_LIBRARIES = {"jax", "numpy", "pyarrow", "tokenizers", "safetensors"}
SERVING_PARTS = ("jaxrec", "jaxrec.errors", "jaxrec.files", "jaxrec.item_axis", "jaxrec.data", "jaxrec.serve")
HEAVY = ("jax", "flax", "transformers", "orbax", "tensorflow_datasets", "altair", "optax", "grain", "pyarrow")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that the file imports, at the top or inside a function; `from package import module` too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = module_name(path).split(".") if path.name == "__init__.py" else module_name(path).split(".")[:-1]
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            folder = ROOT.joinpath(*source.split("."))
            found.update(f"{source}.{a.name}" if is_module(folder / a.name) else source for a in node.names)
    return frozenset(found)


def is_module(path: Path) -> bool:
    return path.is_dir() or path.with_suffix(".py").is_file()


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_point_one_way(path):
    stage = path.relative_to(PACKAGE).with_suffix("").parts[0]
    if stage not in MAY_IMPORT:
        return  # experiment, embed, cli and the like may import all
    allowed = {stage} | MAY_IMPORT[stage] | FOR_ALL
    parts = {name.split(".")[1] for name in imports(path) if name.startswith("jaxrec.")}
    assert parts <= allowed, f"{relative(path)} imports {sorted(parts - allowed)}; {stage} may import {sorted(allowed)}"


def test_files_needs_the_standard_library_alone():
    assert {name.split(".")[0] for name in imports(PACKAGE / "files.py")} <= sys.stdlib_module_names


def test_every_folder_has_a_rule():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == STAGES, "a new stage needs a row in MAY_IMPORT"


def test_the_recommender_needs_no_model_code():
    """All that serve/recommender.py reaches, directly or not, is of serve/ and data/, and a few libraries."""
    waiting, reached = [PACKAGE / "serve/recommender.py"], set()
    while waiting:
        path = waiting.pop()
        if path in reached:
            continue
        reached.add(path)
        for name in imports(path):
            first = name.split(".")[0]
            if first == "jaxrec":
                fits = name in SERVING_PARTS or name.startswith(("jaxrec.data.", "jaxrec.serve."))
                assert fits, f"{relative(path)}, which the recommender needs, imports {name}"
                file = ROOT.joinpath(*name.split("."))
                waiting.append(file / "__init__.py" if file.is_dir() else file.with_suffix(".py"))
            else:
                fits = first in SERVING_LIBRARIES or first in sys.stdlib_module_names
                assert fits, f"{relative(path)}, which the recommender needs, imports {name}"


def imported_by(statement: str, *names: str) -> set[str]:
    """Which of `names` a new Python has imported after `statement`."""
    code = f"import sys\n{statement}\nprint(*(n for n in {names!r} if n in sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr
    return set(result.stdout.split())


def test_the_command_starts_without_heavy_libraries():
    assert imported_by("import jaxrec.cli", *HEAVY) == set()


def test_data_needs_no_jax():
    modules = ", ".join(module_name(p) for p in FILES if p.is_relative_to(PACKAGE / "data"))
    assert imported_by(f"import {modules}", "jax", "flax", "grain", "tensorflow_datasets", "transformers") == set()


@pytest.mark.parametrize("path", [*FILES, *sorted((ROOT / "configs").glob("*.py"))], ids=relative)
def test_no_pickle_no_configs_no_tests(path):
    roots = {name.split(".")[0] for name in imports(path)}
    assert not roots & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    assert not roots & {"configs", "tests"}, "nothing imports a config or a test"
    assert not re.search(r"allow_pickle\s*=\s*True", path.read_text(encoding="utf-8"))


SOURCES = [p for folder in ("jaxrec", "configs", "launch", "tests") for p in sorted((ROOT / folder).rglob("*.*"))]
SOURCES = [p for p in SOURCES if p.suffix in (".py", ".sh", ".j2") and "__pycache__" not in p.parts]


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_file_is_longer_than_400_lines(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= 400, f"{relative(path)} has {lines} lines: it holds two ideas, name the second one"


def test_names_say_what_a_file_is_for():
    forbidden = {"util", "utils", "common", "helper", "helpers", "misc", "manager", "managers", "base", "v2"}
    named = {
        relative(p) for p in SOURCES if any(forbidden & set(part.split("_")) for part in p.with_suffix("").parts[-3:])
    }
    classes = {
        f"{relative(path)}: {node.name}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef) and re.search(r"(Manager|Utils?|Helper)s?$", node.name)
    }
    assert not named | classes


# --- the map -----------------------------------------------------------------------------------------------------


def tree() -> dict[str, set[str]]:
    """Folder -> its files, of the checkout."""
    files = [p for p in SOURCES if not p.is_relative_to(ROOT / "tests") and p.name != "__init__.py"]
    return {f"{f}/": {p.name for p in files if relative(p.parent) == f} for f in {relative(p.parent) for p in files}}


def map_of(readme: str) -> dict[str, set[str]]:
    """Folder -> its files, as the README tells it."""
    block = re.search(r"^## The house\n.*?^```\w*\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    assert block, "README.md has no fenced block under '## The house'"
    folders: dict[str, set[str]] = {}
    for line in block[1].splitlines():
        words = line.split("#")[0].split()
        if words and not line[0].isspace():
            folder = words.pop(0)
            assert folder.endswith("/") and folder not in folders, f"{line!r}: a line begins with a folder, once"
            files = folders[folder] = set()
        if words:
            files.update(words)
    return {folder: names for folder, names in folders.items() if names and folder != "tests/"}


def test_the_map_is_read():
    readme = (
        "## The house\nwords\n```\na/    x.py y.py   # a remark\n      z.py\n\na/b/  w.j2\ntests/  # mirrors\n```\n"
    )
    assert map_of(readme) == {"a/": {"x.py", "y.py", "z.py"}, "a/b/": {"w.j2"}}


def test_the_readme_map_is_the_tree():
    told = {f + name for f, names in map_of((ROOT / "README.md").read_text(encoding="utf-8")).items() for name in names}
    there = {f + name for f, names in tree().items() for name in names}
    assert told == there, f"not in the map: {sorted(there - told)}; not in the tree: {sorted(told - there)}"


if __name__ == "__main__":
    for folder, names in sorted(tree().items()):
        print(f"{folder:<26}{' '.join(sorted(names))}")
