"""TensorFlow Datasets without TensorFlow: data sets prepared as array_record, and MovieLens by its TFDS name."""

import importlib.resources
import importlib.resources.abc
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.fetch import cache_dir
from jaxrec.data.sources.tabular import with_ids
from jaxrec.data.tables import Tables, check_mapping, rename_columns, require_columns
from jaxrec.errors import DataError, UserError

ROWS_AT_ONCE = 4096
MOVIELENS_COLUMNS = (
    ("item_id", "movie_id"),
    ("title", "movie_title"),
    ("genres", "movie_genres"),
    ("rating", "user_rating"),
)
MOVIELENS_USER_COLUMNS = ("user_gender", "raw_user_age", "user_occupation_text", "user_zip_code")


@dataclass(frozen=True)
class Tfds:
    """interactions, catalog, users: a prepared folder (with dataset_info.json), or a name ("movielens/1m-ratings").

    split: which part is read. columns: (canonical, theirs) pairs; MovieLens' own are known. item_columns,
    user_columns: columns of the log that tell of the item or the user, where there is no table of them; the first row
    of each counts. Names are downloaded from GroupLens and prepared once; only MovieLens can be prepared without
    TensorFlow. A MovieLens catalog, where not named, is the "-movies" table beside the "-ratings".
    """

    interactions: str = ""
    catalog: str | None = None
    users: str | None = None
    split: str = "train"
    columns: tuple[tuple[str, str], ...] = ()
    item_columns: tuple[str, ...] = ()
    user_columns: tuple[str, ...] = ()

    def load(self) -> Tables:
        """Raises UserError for a wrong name, DataError for a folder that is not prepared so."""
        if not self.interactions:
            raise UserError("no data set: say which with --set source.interactions=FOLDER or movielens/100k-ratings")
        catalog, columns, user_columns = self.catalog, self.columns, self.user_columns
        if "movielens/" in f"{self.interactions}/".lower():
            mapped = dict(self.columns)
            columns += tuple(pair for pair in MOVIELENS_COLUMNS if pair[0] not in mapped)
            user_columns = user_columns or MOVIELENS_USER_COLUMNS
            if catalog is None and self.interactions.endswith("-ratings"):
                catalog = self.interactions.removesuffix("ratings") + "movies"
        raw = [read_tfds(name, self.split) if name else None for name in (self.interactions, catalog, self.users)]
        check_mapping(raw, self.columns, self.interactions)
        log, items, users = (
            None if table is None else with_ids(rename_columns(table, columns), self.interactions) for table in raw
        )
        require_columns(log, ("user_id", "item_id"), self.interactions)
        items, log = _split_off(log, items, "item_id", self.item_columns)
        users, log = _split_off(log, users, "user_id", user_columns)
        return Tables(log, items, users, self.interactions)


def read_tfds(name: str, split: str = "train") -> pa.Table:
    """One TFDS table: text as strings, class labels as their names, sequences as lists."""
    import tensorflow_datasets as tfds  # several hundred milliseconds: only when it is used

    if (Path(name) / "dataset_info.json").exists():
        builder = tfds.builder_from_directory(name)
    elif name.lower().startswith("movielens/"):
        builder = _prepare_movielens(name.split("/", 1)[1])
    else:
        raise UserError(
            f"{name!r} is neither a folder with a prepared TFDS data set (dataset_info.json) nor a name such as "
            "movielens/100k-ratings. Prepare other data sets with file_format='array_record' and give their folder"
        )
    if split not in builder.info.splits:
        raise DataError(f"{name} has no split {split!r}; it has {', '.join(builder.info.splits)}")
    try:
        rows = builder.as_data_source(split)
    except NotImplementedError as error:
        raise DataError(
            f"{name} is stored as {builder.info.file_format}, which only TensorFlow reads; "
            "prepare it again with file_format='array_record'"
        ) from error
    columns: dict[str, list] = {key: [] for key in builder.info.features}
    for start in range(0, len(rows), ROWS_AT_ONCE):
        for row in rows.__getitems__(list(range(start, min(start + ROWS_AT_ONCE, len(rows))))):
            for key, values in columns.items():
                values.append(row[key])
    return pa.table({key: _column(values, builder.info.features[key]) for key, values in columns.items()})


def _column(values: list, feature: Any) -> pa.Array:
    inner = getattr(feature, "feature", None)
    if inner is not None:  # a sequence
        lists = [[] if value is None else list(value) for value in values]
        flat = _column([word for words in lists for word in words], inner)
        offsets = np.concatenate([[0], np.cumsum([len(words) for words in lists])]).astype(np.int32)
        return pa.ListArray.from_arrays(pa.array(offsets), flat)
    if getattr(feature, "names", None):
        return pc.take(pa.array(feature.names), pa.array([int(value) for value in values], pa.int64()))
    if values and isinstance(values[0], bytes):
        return pa.array([value.decode("utf-8", errors="replace") for value in values], pa.string())
    try:
        return pa.array(np.asarray(values)) if np.ndim(values[0]) == 0 else pa.array([np.asarray(v) for v in values])
    except (IndexError, ValueError, pa.ArrowInvalid):
        return pa.array([str(value) for value in values], pa.string())


def _prepare_movielens(config: str) -> Any:
    from tensorflow_datasets.structured import movielens, movielens_parsing

    known = [c.name for c in movielens.Movielens.BUILDER_CONFIGS]
    if config not in known:
        raise UserError(f"TFDS has no MovieLens {config!r}; it has {', '.join(known)}")
    builder = movielens.Movielens(config=config, data_dir=str(cache_dir() / "tfds"), file_format="array_record")
    # the parser needs TensorFlow for tf.io.gfile alone, where plain open does the same; and the builder imports
    # importlib_resources, which TFDS does not declare, for what the standard library has too
    plain = SimpleNamespace(io=SimpleNamespace(gfile=SimpleNamespace(GFile=open)))
    spare = {} if find_spec("importlib_resources") else {"importlib_resources": importlib.resources}
    try:
        with mock.patch.object(movielens_parsing, "tf", plain), mock.patch.dict(sys.modules, spare):
            builder.download_and_prepare()
    except Exception as error:
        raise DataError(
            f"movielens/{config} cannot be downloaded and prepared ({type(error).__name__}: {error}). "
            "The source MovieLens fetches 100k and 1m from the package registry instead"
        ) from error
    return builder


def _split_off(
    log: pa.Table, table: pa.Table | None, key: str, columns: tuple[str, ...]
) -> tuple[pa.Table | None, pa.Table]:
    """The given table, or one of the log's columns about `key`, and the log without these columns."""
    there = [name for name in columns if name in log.column_names]
    if table is None and there:
        codes = pc.dictionary_encode(log[key].combine_chunks()).indices.to_numpy()
        _, first = np.unique(codes, return_index=True)
        table = log.select([key, *there]).take(pa.array(np.sort(first)))
    return table, log.drop_columns(there) if there else log
