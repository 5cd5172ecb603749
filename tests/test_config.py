"""Configs: loading, overriding by dotted path, JSON there and back, the readable tree."""

import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest

from jaxrec import config
from jaxrec.errors import UserError

TOYS = """
from __future__ import annotations
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol
import flax.linen as nn
if TYPE_CHECKING:
    from nowhere import Missing

class Head(Protocol):
    def loss(self): ...

class Autoencoder(nn.Module):
    dim: int = 32
    dropout: float = 0.1
    widths: tuple[int, ...] = (64,)
    activation: Any = nn.relu

class Identity(nn.Module):
    scale: float | None = None

@dataclass(frozen=True)
class TimeCutoff:
    test_fraction: float = 0.1
    refit: bool = False

@dataclass(frozen=True)
class Given:
    valid: str
    test: str
    refit: bool = False

@dataclass(frozen=True)
class Ease:
    l2: float = 250.0

@dataclass(frozen=True)
class Experiment:
    name: str = "toy"
    head: Head = field(default_factory=Autoencoder)
    holdout: TimeCutoff | Given = TimeCutoff()
    baselines: tuple[Ease, ...] = (Ease(), Ease(500.0))
    columns: tuple[tuple[str, str], ...] = ()
    mesh: tuple[int, int] = (1, 1)
    seed: int = 0
    steps: int | None = None
    compute: Literal["float32", "bfloat16"] = "float32"
    text: str | None = None
    table: str | Path = "a.csv"
    options: dict[str, float] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    limit: float = float("inf")
    label: int | str = 1
    anything: Any = None

    def __post_init__(self):
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, not {self.seed}")

@dataclass(frozen=True)
class Unresolved:
    part: Missing | None = None
    size: int = 3
"""


@dataclass(frozen=True)
class Foreign:
    size: int = 1


@pytest.fixture(scope="module")
def toys():
    module = ModuleType("jaxrec.toy_configs")
    sys.modules[module.__name__] = module
    exec(TOYS, module.__dict__)
    yield module
    del sys.modules[module.__name__]


@pytest.mark.parametrize(
    ("assignment", "path", "expected"),
    [
        ("seed=7", "seed", 7),
        ("name=007", "name", "007"),
        ("head.dim=16", "head.dim", 16),
        ("head.dropout=1e-3", "head.dropout", 1e-3),
        ("head.dropout=0", "head.dropout", 0.0),
        ("head.widths=[128, 64]", "head.widths", (128, 64)),
        ("head.widths=128,64", "head.widths", (128, 64)),
        ("head.widths=(128,)", "head.widths", (128,)),
        ("head.widths=", "head.widths", ()),
        ("mesh=4,2", "mesh", (4, 2)),
        ("holdout.refit=true", "holdout.refit", True),
        ("holdout.refit=No", "holdout.refit", False),
        ("baselines.1.l2=10", "baselines.1.l2", 10.0),
        ('columns=[["item_id", "movieId"]]', "columns", (("item_id", "movieId"),)),
        ("steps=100", "steps", 100),
        ("steps=None", "steps", None),
        ("text=none", "text", None),
        ("text=a=b", "text", "a=b"),
        ("compute=bfloat16", "compute", "bfloat16"),
        ("table=log file.csv", "table", "log file.csv"),
        ('options={"a": 1}', "options", {"a": 1.0}),
        ("names=x,y", "names", ["x", "y"]),
        ("label=3", "label", 3),
        ("label=three", "label", "three"),
        ("anything=[1, 2]", "anything", (1, 2)),
        ("anything=word", "anything", "word"),
    ],
)
def test_values_are_read_by_the_type_of_the_field(toys, assignment, path, expected):
    found = config.override(toys.Experiment(), [assignment])
    for step in path.split("."):
        found = found[int(step)] if step.isdecimal() else getattr(found, step)
    assert found == expected and type(found) is type(expected)


def test_an_override_changes_nothing_else(toys):
    before = toys.Experiment()
    after = config.override(before, ["head.dim=16", "seed=3"])
    assert before == toys.Experiment()
    assert after == replace(before, head=replace(before.head, dim=16), seed=3)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("head.dmi=32", "Autoencoder has no field 'dmi'; did you mean 'dim'?"),
        ("sead=1", "Experiment has no field 'sead'; did you mean 'seed'?"),
        ("holdout.zzzzzz=1", "TimeCutoff has no field 'zzzzzz'; it has: refit, test_fraction"),
        ("head.name=x", "Autoencoder has no field 'name'"),
        ("seed=abc", "seed=abc: 'abc' is not of type int"),
        ("seed=1.5", "seed=1.5: '1.5' is not of type int"),
        ("steps=many", "steps=many: 'many' is not of type int | None"),
        ("mesh=1,2,3", "mesh=1,2,3: '1,2,3' is not of type tuple[int, int]"),
        ("head.widths=1,x", "head.widths=1,x: '1,x' is not of type tuple[int, ...]"),
        ("compute=float16", "'float16' is not one of 'float32', 'bfloat16'"),
        ("seed=-1", "seed=-1: seed must be 0 or more, not -1"),
        ("head=16", "head=16: 'head' is of class Autoencoder; set its fields (dim, dropout, widths, activation)"),
        ("name.x=1", "'name' is 'toy' and has no fields; 'name.x' cannot be set"),
        ("baselines.2.l2=1", "'baselines' has 2 entries: write baselines.0 for the first, not .2"),
        ("holdout=Given", "holdout=Given: Given also needs valid, test"),
        ("head=os:path", "'head' is of class Autoencoder"),
        ("seed", "'seed' is not of the form path.to.field=value"),
    ],
)
def test_a_wrong_override_says_what_is_wrong(toys, assignment, message):
    with pytest.raises(UserError) as error:
        config.override(toys.Experiment(), [assignment])
    assert message in str(error.value)


def test_a_nested_config_is_replaced_by_the_name_of_its_class(toys):
    given = ["holdout=Given", "holdout.valid=v.csv", "holdout.test=007", "holdout.refit=true"]
    assert config.override(toys.Experiment(), given).holdout == toys.Given("v.csv", "007", refit=True)
    full = config.override(toys.Experiment(), ["head=jaxrec.toy_configs:Identity", "head.scale=2"])
    assert full.head == toys.Identity(scale=2.0)


def test_a_class_may_lie_in_a_file_beside():
    from jaxrec.data.given import Given
    from jaxrec.data.holdout import TimeCutoff

    @dataclass(frozen=True)
    class Job:
        holdout: TimeCutoff = TimeCutoff()

    chosen = config.override(Job(), ["holdout=Given", "holdout.valid=v.csv", "holdout.test=t.csv"]).holdout
    assert type(chosen) is Given and chosen.valid == "v.csv"


@pytest.mark.parametrize(
    "assignment, meant",
    [
        ("holdout=RandmPerUser", "RandomPerUser"),
        ("holdout=Gven", "Given"),
        ("method.task.model.scorer=Dott", "Dot"),
        ("method.task.model.scorer=Cosin", "Cosine"),
        ("method.task.loss=Softmx", "FullSoftmax"),
    ],
)
def test_a_class_that_is_not_there_names_the_nearest_beside(assignment, meant):
    experiment = config.load_config(Path(__file__).parents[1] / "configs" / "your_data_two_tower.py")
    with pytest.raises(UserError, match=f"name another class that lies beside it; did you mean '{meant}'"):
        config.override(experiment, [assignment])


def test_a_scorer_in_a_file_of_its_own_is_named_by_its_class():
    experiment = config.load_config(Path(__file__).parents[1] / "configs" / "your_data_two_tower.py")
    assert (
        type(config.override(experiment, ["method.task.model.scorer=Cosine"]).method.task.model.scorer).__name__
        == "Cosine"
    )


def test_an_annotation_that_cannot_be_resolved_is_no_hindrance(toys):
    assert config.override(toys.Unresolved(), ["size=4", "part=none"]) == toys.Unresolved(size=4)


def test_equal_after_json(toys):
    experiment = toys.Experiment(
        name="中文 🎬 </script>",
        head=toys.Autoencoder(dim=8, widths=(3, 2)),
        holdout=toys.Given("v.csv", "t.csv"),
        columns=(("item_id", "movieId"),),
        table=Path("logs/a.csv"),
        options={"a": 0.5},
        names=["x"],
        anything=(1, (2.5, None)),
    )
    again = config.from_json(config.to_json(experiment))
    assert again == experiment
    assert isinstance(again.columns[0], tuple) and isinstance(again.names, list) and again.limit == float("inf")
    assert config.to_json(again) == config.to_json(experiment)
    assert '"$class": "jaxrec.toy_configs:Autoencoder"' in config.to_json(experiment)


def test_fields_added_later_take_their_defaults(toys):
    assert config.from_json('{"$class": "jaxrec.toy_configs:Ease"}') == toys.Ease()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"$class": "subprocess:Popen", "args": "ls"}', "'subprocess:Popen' is not a class of jaxrec"),
        ('{"$class": "jaxrecevil:X"}', "is not a class of jaxrec"),
        ('{"$class": "jaxrec.config:Path"}', "is not a config class of this version of jaxrec"),
        ('{"$class": "jaxrec.config:load_config"}', "is not a config class"),
        ('{"$class": "jaxrec.nothing:X"}', "No module named 'jaxrec.nothing'"),
        ('{"$class": 3}', "is not a class of jaxrec"),
        ('{"$class": "jaxrec.toy_configs:Ease", "l3": 1}', "config: Ease has no field 'l3'; did you mean 'l2'?"),
        ('{"$class": "jaxrec.toy_configs:Given", "test": "t"}', "Given also needs valid"),
        ("{", "not a config in JSON"),
    ],
)
def test_json_makes_only_what_jaxrec_knows(toys, text, message):
    with pytest.raises(UserError) as error:
        config.from_json(text)
    assert message in str(error.value)


def test_what_cannot_be_recorded_is_named(toys):
    with pytest.raises(UserError, match="Experiment.anything is a object, which JSON cannot hold"):
        config.to_json(toys.Experiment(anything=object()))
    with pytest.raises(UserError, match="only classes of jaxrec"):
        config.to_json(toys.Experiment(anything=Foreign()))
    with pytest.raises(UserError, match="Experiment.limit is nan, which is no number"):
        config.to_json(toys.Experiment(limit=float("nan")))


def test_the_tree_marks_what_differs_from_the_default(toys):
    lines = config.describe(toys.Experiment(head=toys.Autoencoder(dim=8), holdout=toys.Given("v", "t"))).splitlines()
    assert lines[0] == "Experiment"
    assert "    name: 'toy'" in lines
    assert "    head: Autoencoder" in lines
    assert "      * dim: 8   (default 32)" in lines
    assert "  * holdout: Given   (default TimeCutoff)" in lines
    assert "        valid: 'v'" in lines


def test_a_config_file_is_loaded_and_shrunk(tmp_path, toys):
    path = tmp_path / "toy job.py"
    path.write_text(
        "import dataclasses\nfrom jaxrec.toy_configs import Experiment\n"
        "def get_config():\n    return Experiment(seed=3)\n"
        "def debug(experiment):\n    return dataclasses.replace(experiment, steps=2)\n"
    )
    assert config.load_config(path) == toys.Experiment(seed=3)
    assert config.load_config(str(path), debug=True) == toys.Experiment(seed=3, steps=2)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("def get_config(:\n  pass", "line 1: invalid syntax"),
        ("\nimport nothing_here", "line 2: ModuleNotFoundError: No module named 'nothing_here'"),
        ("x = 1", "has no function get_config()"),
        ("def get_config():\n    return 3", "get_config() must return an Experiment, not int"),
        ("def get_config():\n    raise ValueError('bad')", "line 2: ValueError: bad"),
    ],
)
def test_a_config_file_that_fails_says_where(tmp_path, source, message):
    path = tmp_path / "job.py"
    path.write_text(source)
    with pytest.raises(UserError) as error:
        config.load_config(path)
    assert str(error.value).startswith(str(path)) and message in str(error.value)


def test_a_missing_config_file_names_its_neighbour(tmp_path):
    (tmp_path / "movielens_100k.py").touch()
    with pytest.raises(UserError, match="no config file '.*movielens_100.py'; did you mean 'movielens_100k.py'?"):
        config.load_config(tmp_path / "movielens_100.py")


def test_did_you_mean():
    assert config.did_you_mean("TRIAN", ["train", "evaluate"]) == "; did you mean 'train'?"
    assert config.did_you_mean("zzz", ["train", "evaluate"]) == "; it has: evaluate, train"
    assert config.did_you_mean("zzz", []) == ""


def test_importing_config_does_not_import_flax():
    code = "import sys, jaxrec.config; print(sorted({'jax', 'flax', 'pydantic'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
