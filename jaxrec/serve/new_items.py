"""Items that training never saw, placed by the item tower from their text and features."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.text_vectors import unit_text_vectors
from jaxrec.data.words import find_keywords
from jaxrec.errors import DataError, UserError
from jaxrec.item_axis import item_axis, map_items, take_items
from jaxrec.serve.loaded import Loaded, Named, power_of_two
from jaxrec.serve.stored import StoredItems

BATCH = 1_024


def new_items(loaded: Loaded, table: pa.Table, text_vectors: np.ndarray | None) -> tuple[Named, StoredItems]:
    """(the items' arrays, the catalog), both with the rows of `table` behind those of the catalog; the arrays grow only
    where they have no room left, see `with_room`.

    The same encoder that made the training catalog's titles, texts, tags and features reads the table.
    text_vectors: float32 [rows, item_text] in place of the artifact's own encoder; they are brought to length 1.
    Raises DataError for a missing, empty, doubled or known id; UserError where the ranker has no item tower.
    """
    embed = loaded.functions["embed_items"]
    ids = _ids(loaded, table)
    table = table.set_column(table.column_names.index("item_id"), "item_id", ids)
    most = loaded.manifest.max_items
    if most is not None and len(loaded.catalog) + len(ids) > most:
        raise UserError(f"this artifact's functions take at most {most} items, {len(ids)} new ones are too many")
    encoder = loaded.item_features
    titles, texts = encoder.describe(table)
    features, tags = encoder.encode(table), encoder.read_tags(table)
    text = _vectors(loaded, texts, text_vectors)
    blocks = []
    for start in range(0, len(ids), BATCH):
        here = slice(start, min(start + BATCH, len(ids)))
        size = here.stop - start
        padded = power_of_two(size)
        rows = embed(loaded.shared, _padded(text[here], padded), _padded(features[here], padded))
        blocks.append(take_items(jax.tree.map(np.asarray, rows), slice(size)))
    missing = next((name for name in loaded.items if name not in blocks[0]), None)
    if missing is not None:
        raise DataError(f"the item tower of this artifact makes no {missing!r}: export it again")
    first = len(loaded.catalog)
    items = with_room(loaded.items, first + len(ids))
    for name, leaf in items.items():
        axis = item_axis(name)
        fresh = np.concatenate([block[name] for block in blocks], axis)
        items[name] = _written(leaf, jnp.asarray(fresh, leaf.dtype), first, axis=axis)
    words = find_keywords(texts, loaded.catalog.words.names)
    return items, loaded.catalog.extended(ids, titles.cast(pa.string()), texts.cast(pa.string()), tags, words)


def _ids(loaded: Loaded, table: pa.Table) -> pa.Array:
    if "item_id" not in table.column_names:
        raise DataError(
            f"new items: no column 'item_id' among {table.column_names}; name it with --map item_id=THEIR_NAME"
        )
    if not table.num_rows:
        raise DataError("new items: the table has no rows")
    ids = table["item_id"].combine_chunks().cast(pa.string())
    if ids.null_count or pc.any(pc.equal(ids, "")).as_py():
        raise DataError("new items: an item_id is empty")
    known = np.flatnonzero(loaded.catalog.ids.find(ids) >= 0)
    if known.size:
        raise DataError(
            f"new items: {known.size} ids are in the catalog already, first: {ids[int(known[0])].as_py()!r}"
        )
    if len(pc.unique(ids)) != len(ids):
        twice = next(c["values"] for c in pc.value_counts(ids).to_pylist() if c["counts"] > 1)
        raise DataError(f"new items: the id {twice!r} stands more than once")
    return ids


def _vectors(loaded: Loaded, texts: pa.Array, given: np.ndarray | None) -> np.ndarray:
    width = loaded.manifest.item_text
    if given is not None:
        if given.shape != (len(texts), width):
            raise UserError(f"text_vectors: shape {given.shape}, expected {(len(texts), width)}")
        return unit_text_vectors(np.asarray(given, np.float32))
    if not width:
        return np.zeros((len(texts), 0), np.float32)
    return loaded.encode_text(pc.fill_null(texts, "").to_pylist())


def _padded(rows: np.ndarray, size: int) -> np.ndarray:
    out = np.zeros((size, rows.shape[1]), np.float32)
    out[: len(rows)] = rows
    return out


def with_room(items: Named, rows: int) -> Named:
    """The arrays with room for at least so many items: zeros behind their own, for items to come. While there is room,
    shapes stay as they are, and with them the compiled programs."""

    def padded(axis: int, leaf: jax.Array) -> jax.Array:
        more = max(0, rows - leaf.shape[axis])
        return jnp.pad(leaf, [(0, more if axis == of else 0) for of in range(leaf.ndim)])

    return map_items(padded, items)


@partial(jax.jit, static_argnames="axis")
def _written(leaf: jax.Array, rows: jax.Array, first: jax.Array, *, axis: int) -> jax.Array:
    return jax.lax.dynamic_update_slice_in_dim(leaf, rows, first, axis)
