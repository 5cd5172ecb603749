"""A damaged checkpoint is found out, said, and walked past."""

import re
import shutil

import jax
import numpy as np
import pytest
import toy

from jaxrec.errors import CheckpointError
from jaxrec.parallel.mesh import MeshShape
from jaxrec.parallel.partition import PARAM_RULES, partition_shardings
from jaxrec.parallel.placement import to_host
from jaxrec.train.checkpoints import abstract, restore_params
from jaxrec.train.digests import MANIFEST, first_problem
from jaxrec.train.loop import Train
from jaxrec.train.optimizers import SGD
from jaxrec.train.step import init_key

TRAIN = Train(num_steps=12, batch_size_global=toy.BATCH, log_every=5, checkpoint_every=4)
NAME = "checkpoints"


def run(workdir, **options):
    return toy.run(
        workdir,
        train=TRAIN,
        task=toy.Toy(noise=0.1),
        optimizer=SGD(0.5),
        shape=MeshShape(data=1),
        quiet=False,
        **options,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("finished")
    return workdir, to_host(run(workdir).state)


@pytest.fixture
def workdir(finished, tmp_path):
    shutil.copytree(finished[0], tmp_path / "run")
    return tmp_path / "run"


def largest(folder):
    return max((p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST), key=lambda p: p.stat().st_size)


def truncate(folder):
    path = largest(folder)
    path.write_bytes(path.read_bytes()[:-7])
    return rf"{path.name} has \d+ bytes instead of \d+"


def flip_a_bit(folder):
    path = largest(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    return f"{path.name} was changed: its SHA-256 differs"


def remove_a_file(folder):
    largest(folder).unlink()
    return "is missing"


def empty_the_folder(folder):
    shutil.rmtree(folder)
    folder.mkdir()
    return f"{MANIFEST} is missing, so it was never finished"


def damage_the_manifest(folder):
    (folder / MANIFEST).write_text('{"files": [')
    return f"{MANIFEST} is damaged"


DAMAGES = (truncate, flip_a_bit, remove_a_file, empty_the_folder, damage_the_manifest)


@pytest.mark.parametrize("damage", DAMAGES)
def test_it_falls_back_to_the_one_before_and_says_so(finished, workdir, capsys, damage):
    expected = damage(workdir / NAME / "12")
    result = run(workdir)
    told = capsys.readouterr().err
    assert re.search(rf"warning: checkpoint .*{NAME}/12 is not usable \(.*{expected}.*\); going back to step 8", told)
    assert (result.resumed_from, result.stopped_because) == (8, "num_steps")
    jax.tree.map(np.testing.assert_array_equal, to_host(result.state), finished[1])
    assert first_problem(workdir / NAME / "12") is None
    assert (workdir / "damaged_checkpoints" / "12").is_dir()


def test_two_damaged_ones(workdir, capsys):
    truncate(workdir / NAME / "12")
    flip_a_bit(workdir / NAME / "8")
    assert run(workdir).resumed_from == 4
    assert capsys.readouterr().err.count("going back to step 4") == 2


def test_no_usable_one_is_exit_5_and_leaves_the_files(workdir):
    for step in ("4", "8", "12"):
        flip_a_bit(workdir / NAME / step)
    with pytest.raises(CheckpointError, match="no usable checkpoint in .*step 12: .*step 8: .*step 4: ") as caught:
        run(workdir)
    assert caught.value.exit_code == 5
    assert sorted(p.name for p in (workdir / NAME).iterdir()) == ["12", "4", "8"]


def test_a_kill_in_the_very_first_save_starts_anew(finished, workdir, capsys):
    for step in ("8", "12"):
        shutil.rmtree(workdir / NAME / step)
    (workdir / NAME / "4" / MANIFEST).unlink()
    (workdir / NAME / "8.orbax-checkpoint-tmp").mkdir()
    result = run(workdir)
    assert "starting from the beginning" in capsys.readouterr().err
    assert result.resumed_from == 0
    jax.tree.map(np.testing.assert_array_equal, to_host(result.state), finished[1])


def test_the_best_parameters_are_restored_alone_and_on_another_mesh(tmp_path):
    scores = iter([0.1, 0.3, 0.2])
    train = Train(num_steps=12, batch_size_global=toy.BATCH, evaluate_every=4)
    options = {"train": train, "task": toy.Toy(), "optimizer": SGD(0.5)}
    result = toy.run(tmp_path, shape=MeshShape(data=1), validate=lambda params, _: {"ndcg@10": next(scores)}, **options)
    mesh = MeshShape(model=2).make()
    shapes = jax.eval_shape(toy.Toy().init, init_key(0), toy.constants(), toy.first_batch())
    wanted = abstract(shapes, partition_shardings(shapes, PARAM_RULES, mesh))
    step, params = restore_params(tmp_path, wanted)
    assert step == 8
    assert params["items"]["embedding"].sharding.spec == jax.sharding.PartitionSpec("model")
    jax.tree.map(np.testing.assert_array_equal, to_host(params), to_host(result.params))
    last = toy.run(tmp_path / "plain", shape=MeshShape(data=1), **options)
    step, params = restore_params(tmp_path / "plain", wanted)
    assert step == 12
    jax.tree.map(np.testing.assert_array_equal, to_host(params), to_host(last.state.params))
    with pytest.raises(CheckpointError, match="no checkpoint in .*: train first"):
        restore_params(tmp_path / "nowhere", wanted)
