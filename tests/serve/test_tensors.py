import json

import jax.numpy as jnp
import numpy as np
import pytest

from jaxrec.errors import DataError
from jaxrec.serve.tensors import read_tensors, write_tensors

ARRAYS = {
    "tower/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "half": np.asarray(jnp.asarray([1.5, -2], jnp.bfloat16)),
    "none": np.zeros((0, 4), np.float32),
    "scalar": np.array(7, np.int32),
    "flags": np.array([True, False, True]),
    "ids": np.array([2**40], np.int64),
    "turned": np.arange(6, dtype=np.int8).reshape(2, 3).T,
}


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape
        np.testing.assert_array_equal(a[name], b[name])


def test_round_trip(tmp_path):
    write_tensors(tmp_path / "a", ARRAYS)
    read = read_tensors(tmp_path / "a")
    same(read, ARRAYS)
    assert all(a.ctypes.data % a.dtype.itemsize == 0 for a in read.values() if a.size)
    write_tensors(tmp_path / "b", {})
    assert read_tensors(tmp_path / "b") == {}


def test_the_safetensors_library_agrees(tmp_path):
    library = pytest.importorskip("safetensors.numpy")
    write_tensors(tmp_path / "ours", ARRAYS)
    same(library.load_file(tmp_path / "ours"), ARRAYS)
    library.save_file({n: np.array(a, order="C") for n, a in ARRAYS.items()}, tmp_path / "theirs", {"format": "np"})
    same(read_tensors(tmp_path / "theirs"), ARRAYS)


def test_a_dtype_without_a_name_is_refused(tmp_path):
    with pytest.raises(ValueError, match="array 'z' has dtype complex64"):
        write_tensors(tmp_path / "a", {"z": np.zeros(1, np.complex64)})


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"not json", "has a header that is no safetensors header"),
        (b"[]", "has a header that is no safetensors header"),
        (b'{"a": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}', "no safetensors header"),
        (
            b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
            "array 'a' of shape .* does not fit bytes 0 to 4",
        ),
        (b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}', "does not fit bytes 0 to 8"),
        (b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}', "does not fit bytes -4 to 0"),
    ],
)
def test_a_file_that_lies_is_refused(tmp_path, header, said):
    (tmp_path / "a").write_bytes(len(header).to_bytes(8, "little") + header + b"\0" * 4)
    with pytest.raises(DataError, match=said):
        read_tensors(tmp_path / "a")


def test_a_header_longer_than_the_file_is_refused(tmp_path):
    (tmp_path / "a").write_bytes((10**12).to_bytes(8, "little") + json.dumps({}).encode())
    with pytest.raises(DataError, match="its header claims 1000000000000 bytes of 10"):
        read_tensors(tmp_path / "a")
