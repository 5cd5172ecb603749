import jax
import pytest
from jax.sharding import AxisType

from jaxrec.errors import UserError
from jaxrec.parallel.mesh import MeshShape, start_distributed


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        (MeshShape(), (8, 1)),
        (MeshShape(model=2), (4, 2)),
        (MeshShape(data=2, model=-1), (2, 4)),
        (MeshShape(data=1), (1, 1)),
        (MeshShape(data=3, model=2), (3, 2)),
    ],
)
def test_sizes(shape, sizes):
    mesh = shape.make()
    assert (mesh.shape["data"], mesh.shape["model"]) == sizes
    assert set(mesh.axis_types) == {AxisType.Auto}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (MeshShape(model=3), r"8 devices do not divide by 3 \(mesh.model\); it can be one of \[1, 2, 4, 8\]"),
        (MeshShape(data=16), r"mesh of 16 x 1 needs 16 devices, and there are 8"),
        (MeshShape(data=-1, model=-1), "both -1"),
        (MeshShape(data=0), "mesh.data=0: give a positive number"),
        (MeshShape(model=2, strategy="pmap"), "set mesh.model=1"),
        (MeshShape(strategy="pjit"), "must be 'jit' or 'pmap'"),
    ],
)
def test_a_mesh_that_cannot_be_says_what_can(shape, message):
    with pytest.raises(UserError, match=message):
        shape.make()


def test_several_processes_use_every_device_and_no_pmap(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match="mesh of 4 x 1 leaves 4 of 8 devices idle"):
        MeshShape(data=4).make()
    with pytest.raises(UserError, match="set mesh.strategy='jit'"):
        MeshShape(strategy="pmap").make()


def test_start_distributed_needs_all_or_nothing():
    assert start_distributed(None, None, None) is False
    with pytest.raises(UserError, match="missing: num_processes, process_id"):
        start_distributed("10.0.0.2:8476", None, None)
    with pytest.raises(UserError, match="has no port"):
        start_distributed("10.0.0.2", 2, 0)
    with pytest.raises(UserError, match="process_id 2 is not between 0 and 1"):
        start_distributed("10.0.0.2:8476", 2, 2)
    assert jax.process_count() == 1
