import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxrec.errors import UserError
from jaxrec.parallel.mesh import MeshShape
from jaxrec.parallel.placement import data_shard, place, place_batch, place_constants, replicated, to_host


def test_batches_are_split_over_data_and_come_back_whole():
    mesh = MeshShape(model=2).make()
    batch = {"rows": np.arange(8, dtype=np.int32), "text": np.ones((8, 3), np.float32)}
    with jax.transfer_guard("disallow"):
        placed = place_batch(batch, mesh)
    assert placed["rows"].sharding.spec == P("data")
    assert [s.data.shape for s in placed["text"].addressable_shards] == [(2, 3)] * 8
    np.testing.assert_array_equal(to_host(placed)["rows"], batch["rows"])
    assert data_shard(mesh) == (0, 1)


def test_pmap_batches_have_a_device_axis():
    placed = place_batch({"rows": np.arange(16)}, MeshShape().make(), "pmap")
    np.testing.assert_array_equal(placed["rows"], np.arange(16).reshape(8, 2))


def test_a_batch_that_does_not_divide_is_named():
    with pytest.raises(UserError, match=r"'rows' \[6\] does not divide over the 8 devices"):
        place_batch({"rows": np.arange(6)}, MeshShape().make())


def test_constants_follow_rules_and_strays_are_named():
    mesh = MeshShape(model=4).make()
    placed = place_constants({"items": {"text": np.ones((8, 4), np.float32)}, "log_q": np.ones(8, np.float32)}, mesh)
    assert placed["items"]["text"].sharding.spec == P("model")
    assert placed["log_q"].sharding.spec == P()
    with pytest.raises(UserError, match=r"no partition rule matches 'mystery' \[3\]"):
        place_constants({"mystery": np.ones(3)}, mesh)


def test_what_is_donated_does_not_take_its_source_along():
    mesh = MeshShape(data=1).make()
    source = jax.device_put(np.arange(4.0, dtype=np.float32), jax.devices()[0])
    copy = place(source, replicated(mesh), may_alias=False)
    jax.jit(lambda x: x + 1, donate_argnums=0)(copy)
    assert copy.is_deleted() and not source.is_deleted()
    np.testing.assert_array_equal(source, np.arange(4))
