"""Named arrays in one safetensors file, with numpy alone.

The format (https://huggingface.co/docs/safetensors): 8 bytes little-endian header length, a JSON header
{name: {dtype, shape, data_offsets}}, then the raw little-endian bytes. No code is ever run by reading it.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxrec.errors import DataError

_DTYPES = {
    "BOOL": np.dtype(bool),
    "U8": np.dtype("uint8"),
    "I8": np.dtype("int8"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(jnp.bfloat16),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_MAX_HEADER = 100_000_000


def write_tensors(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Write named arrays. Raises ValueError for a dtype that safetensors does not have."""
    header, start = {}, 0
    # widest first: then every array begins at a multiple of its item size and can be mapped as it lies
    ordered = sorted(tensors.items(), key=lambda pair: (-pair[1].dtype.itemsize, pair[0]))
    for name, array in ordered:
        if array.dtype not in _NAMES:
            raise ValueError(f"array {name!r} has dtype {array.dtype}, which safetensors cannot hold")
        header[name] = {
            "dtype": _NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [start, start + array.nbytes],
        }
        start += array.nbytes
    encoded = json.dumps(header, ensure_ascii=False).encode()
    encoded += b" " * (-len(encoded) % 8)
    with open(path, "wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for _, array in ordered:
            file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name, mapped from the file and read-only. Raises DataError when the file is not what it says."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, _MAX_HEADER):
            raise DataError(f"{path} is no safetensors file: its header claims {length} bytes of {size}")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            fields = {name: (_DTYPES[f["dtype"]], tuple(f["shape"]), *f["data_offsets"]) for name, f in header.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} has a header that is no safetensors header: {error!r}") from None
    data = np.memmap(path, np.uint8, "r", offset=8 + length) if size > 8 + length else np.empty(0, np.uint8)
    arrays = {}
    for name, (dtype, shape, start, end) in fields.items():
        if not 0 <= start <= end <= len(data) or end - start != math.prod(shape) * dtype.itemsize:
            raise DataError(f"{path}: array {name!r} of shape {shape} does not fit bytes {start} to {end}")
        arrays[name] = data[start:end].view(dtype).reshape(shape)
    return arrays
