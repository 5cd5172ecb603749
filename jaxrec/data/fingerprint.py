"""What a run was trained on, in one digest: the same files read again give the same, a changed row another."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.dataset import Dataset
from jaxrec.data.holdout import Holdout


def fingerprint(dataset: Dataset, holdout: Holdout) -> str:
    """SHA-256, hex, of the ids in row order, the texts and features of both sides, and the three parts of the log."""
    digest = hashlib.sha256()
    for ids in (dataset.item_map.ids, dataset.user_map.ids, dataset.catalog.texts):
        _add_strings(digest, ids)
    for values in (dataset.catalog.features.values, dataset.users.features.values):
        _add(digest, values)
    for part in (holdout.train, holdout.valid, holdout.test):
        for column in (part.user_rows, part.item_rows, part.timestamps, part.weights):
            _add(digest, column)
        if part.context.shape[1]:
            _add(digest, part.context)
    return digest.hexdigest()


def _add(digest, values: np.ndarray) -> None:
    digest.update(f"{values.dtype.str}{values.shape}".encode())
    digest.update(np.ascontiguousarray(values).tobytes())


def _add_strings(digest, strings: pa.StringArray) -> None:
    """Each string with its length before it, so that no two lists of strings read alike."""
    strings = strings.fill_null("")
    _add(digest, pc.binary_length(strings).to_numpy(zero_copy_only=False))
    digest.update("".join(strings.to_pylist()).encode("utf-8", "surrogatepass"))
