"""Every config: its shapes at real size, its JSON, and its debug version from data to artifact."""

import json
import runpy
import time
from dataclasses import replace

import own_data
import pytest

from jaxrec.classic.content import ContentNeighbours
from jaxrec.config import from_json, load_config, override, to_json
from jaxrec.errors import UserError
from jaxrec.experiment import check_shapes
from jaxrec.hybrid.hybrid import Hybrid
from jaxrec.run import prepare
from jaxrec.serve.artifact import read_manifest
from jaxrec.tasks.task import bound
from jaxrec.tasks.tuning import tuned_for
from jaxrec.train.trained import trained_in

CONFIGS = sorted(  # those of comparisons are tested in tests/study
    path for path in (own_data.ROOT / "configs").glob("*.py") if not path.stem.startswith(("compare_", "suite_"))
)
BERT_BASE = 30_522 * 768 + 512 * 768 + 2 * 768 + 2 * 768 + 12 * (4 * (768**2 + 768) + 2 * 768 * 3072 + 3072 + 5 * 768)
"""Parameters of BERT-base without its pooler."""

every_config = pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)


@every_config
def test_it_says_what_it_is(path):
    assert load_config(path).name.replace("-", "_") == path.stem or path.stem.startswith("profile_")
    assert len((runpy.run_path(str(path))["__doc__"] or "").split()) >= 5


@every_config
def test_shapes_at_real_size(path):
    began = time.monotonic()
    sizes = runpy.run_path(str(path)).get("SIZES")
    assert sizes is not None, f"{path.name} names no SIZES"
    for found in check_shapes(load_config(path), sizes):
        assert found.parameters >= sizes.items  # every item has at least a number of its own
        assert found.bytes_per_device < 16e9
    assert time.monotonic() - began < 20


@every_config
def test_json_round_trip(path):
    for config in (load_config(path), load_config(path, debug=True)):
        again = from_json(to_json(config))
        assert again == config


def test_the_pod_fits_its_chips():
    config, sizes = load_config(own_data.ROOT / "configs" / "pod.py"), _pod_sizes()
    (found,) = check_shapes(config, sizes)
    towers = 2 * 10_000_000 * 128 + 768 * 128 + 64 * 128 + 128 + 2 + 32 * 128 + 128
    assert found.parameters == towers + BERT_BASE
    assert found.mesh == (16, 16)
    assert config.method.train.batch_size_global == 8_192
    split = 2 * 10_000_000 * 128 + 30_522 * 768  # tables of ids and words; the rest is whole on every chip
    on_a_chip = found.parameters - split + split / 16
    table = 10_000_000 * (4 * 64 + 4 * 64 + 1) / 16  # features, tokens, warm
    assert found.bytes_per_device == pytest.approx(4 * 4 * on_a_chip + table, rel=1e-3)
    assert found.bytes_per_device < 5e9


def test_a_pod_that_does_not_divide_is_refused():
    config = override(load_config(own_data.ROOT / "configs" / "pod.py"), ["method.train.batch_size_global=8200"])
    with pytest.raises(UserError, match="train.batch_size_global=8200 does not divide by 16"):
        check_shapes(config, _pod_sizes())


def _pod_sizes():
    return runpy.run_path(str(own_data.ROOT / "configs" / "pod.py"))["SIZES"]


def test_shapes_by_the_command():
    said = own_data.jaxrec("shapes", "--config", own_data.ROOT / "configs" / "pod.py")
    assert said.code == 0
    assert "16 x 16 (data x model)" in said.out and "parameters         2,66" in said.out
    said = own_data.jaxrec("shapes", "--config", own_data.ROOT / "configs" / "pod.py", "--set", "mesh.model=7")
    assert said.code == 2 and "cannot be split over mesh.model=7" in said.error


SMALL = [
    "source=jaxrec.data.sources.synthetic:Synthetic",
    *("source.users=60", "source.items=60", "source.tastes=4", "source.events_per_user=16"),
    *("encoder=BagOfWords", "encoder.dim=32", "holdout.refit=false", "show_user=u007", "baselines=[]"),
]
INSTEAD = {
    "pod": ["encoder.encoder=tiny"],
    "your_data_two_tower": ["source.interactions=log.csv", "source.catalog=items.csv", "source.users=users.csv"],
    "your_data": ["source.interactions=log.csv", "source.catalog=items.csv", "source.users=users.csv"],
    "movielens_100k": ["encoder=BagOfWords", "holdout.refit=false"],
}
"""What the debug version is given in place of weights and of data that takes long to read."""


@every_config
def test_debug_from_data_to_artifact(path, tmp_path, monkeypatch):
    own_data.write_tables(tmp_path)
    own_data.tiny_bert(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    options = ["mesh.data=1", *INSTEAD.get(path.stem, SMALL)]
    said = own_data.jaxrec(
        "train", "--config", path, "--debug", "--workdir", "run", *(word for o in options for word in ("--set", o))
    )
    assert said.code == 0, said.err
    assert load_config(path).method.name in said.out
    user = json.loads((tmp_path / "run" / "results.json").read_text())["user"]
    asked = own_data.jaxrec("recommend", "--artifact", "run/artifact", "--user", user, "--k", 3, "--json")
    assert asked.code == 0 and len(json.loads(asked.out)) == 3
    if isinstance(load_config(path).method, Hybrid):
        assert read_manifest(tmp_path / "run" / "artifact").any_history  # short histories are asked about as such
    if path.stem.startswith("hybrid_"):
        assert "adds most" in said.out and "What each part adds" in (tmp_path / "run" / "report.html").read_text()


def test_debug_is_seconds():
    for path in CONFIGS:
        debug, real = load_config(path, debug=True), load_config(path)
        for small, large in zip(trained_in(debug.method), trained_in(real.method), strict=True):
            assert small.train.num_steps <= 100 < large.train.num_steps
            assert small.train.num_steps * small.train.batch_size_global <= 10_000


def test_the_encoder_that_a_config_states_must_be_the_one_that_is_loaded(tmp_path):
    path, tiny = own_data.ROOT / "configs" / "pod.py", own_data.tiny_bert(tmp_path / "tiny")
    pod = override(load_config(path), [f"encoder.encoder={tiny}"])
    with pytest.raises(UserError, match=r"content.encoder.bert.vocab_size is 30522, and the loaded encoder has \d+"):
        tuned_for(pod.method.task, pod.encoder.load(), ["a rocket"])
    debug = override(load_config(path, debug=True), [f"encoder.encoder={tiny}"])
    loaded, task = debug.encoder.load(), debug.method.task
    as_loaded = tuned_for(task, loaded, ["a rocket"]).task.model.item.content.encoder
    assert as_loaded.bert.dtype == "bfloat16" and not as_loaded.bert.remat
    stated = as_loaded.clone(bert=as_loaded.bert.clone(remat=True, dropout=0.0))
    item = task.model.item.clone(content=task.model.item.content.clone(encoder=stated))
    task = replace(task, model=task.model.clone(item=item))
    assert tuned_for(task, loaded, ["a rocket"]).task == task  # how it is trained is the config's to say


def test_a_frozen_encoder_reads_the_items_only_where_something_reads_its_vectors(tmp_path):
    tiny = own_data.tiny_bert(tmp_path / "tiny")
    pod = override(load_config(own_data.ROOT / "configs" / "pod.py", debug=True), [f"encoder.encoder={tiny}"])
    said = []
    prepared = prepare(pod, said.append)
    table = bound(pod.method.task, prepared.data).constants(prepared.data)
    assert prepared.text.shape == (60, 0) and table.tokens.shape[0] == 60 and table.tokens.shape[1] > 0
    assert not [line for line in said if "encoding" in line]
    with_content = prepare(replace(pod, baselines=(ContentNeighbours(),)), said.append)
    assert with_content.text.shape == (60, with_content.encoder.dim)
    assert bound(pod.method.task, with_content.data).constants(with_content.data).text.shape == (60, 0)
