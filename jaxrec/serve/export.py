"""A ranker, its data and its text encoder to one artifact directory."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jax import export as jax_export
from jax.experimental import multihost_utils

import jaxrec
from jaxrec.data.dataset import Dataset
from jaxrec.data.features import Tags
from jaxrec.data.interactions import Histories
from jaxrec.data.words import keywords
from jaxrec.errors import UserError
from jaxrec.item_axis import items_per_leaf, take_items
from jaxrec.ranker import Ranker
from jaxrec.serve.artifact import EXPIRY_NOTE, Manifest, write_artifact
from jaxrec.serve.lowering import PLATFORMS, Sizes, TextEncoder, dtype_of, lower_encoder, lowered, named_leaves
from jaxrec.serve.model_card import Card, model_card
from jaxrec.serve.tensors import write_tensors

READABLE_DAYS = 183


def export(
    ranker: Ranker,
    dataset: Dataset,
    path: str | Path,
    *,
    histories: Histories | None = None,
    keep_users: bool = True,
    encoder: TextEncoder | None = None,
    item_text: int | None = None,
    user_text: int = 0,
    user_text_vectors: np.ndarray | None = None,
    item_text_vectors: np.ndarray | None = None,
    name: str = "jaxrec",
    metrics: Mapping[str, Any] | None = None,
    experiment: Mapping[str, Any] | None = None,
    card: Card | None = None,
    k_max: int | None = None,
    asked_at: int | None = None,
) -> Manifest:
    """Write the artifact at `path`, whole or not at all; an older artifact there is replaced at the very end.

    histories: events of the users of `dataset`, whose number for each item, newest time and typical weight are kept;
    keep_users: and the histories themselves, so that users can be asked for by id.
    encoder: for words and for new items. item_text: width of the text vectors that ranker.embed_items takes, by default
    the encoder's; without both the artifact places no new items.
    user_text: width of Query.text that the ranker reads, 0 for none.
    user_text_vectors: float32 [users, user_text], where users have words of their own.
    item_text_vectors: float32 [items, dim], as the encoder reads the items' texts: what a sentence is compared with.
    metrics, experiment: JSON-able, written as they are. k_max: the longest list that may be asked for, by default
    min(items, 100). asked_at: UTC seconds from which ages count, by default the newest event of `histories`.
    Sharded arrays are gathered; with several processes all must call, and the first one writes.
    Item rows of the arrays past the catalog are padding and are left out.
    Raises UserError for a bad k_max, for a path that holds something else, and for a ranker that cannot be exported.
    """
    items = len(dataset.item_map)
    k_max = min(items, 100) if k_max is None else k_max
    if not 1 <= k_max <= items:
        raise UserError(f"k_max is {k_max}: it must lie between 1 and the number of items, {items}")
    shared = {n: gathered(leaf) for n, leaf in named_leaves(ranker.arrays.shared).items()}
    rows = {n: gathered(leaf) for n, leaf in named_leaves(ranker.arrays.items).items()}
    counts = items_per_leaf(rows)
    short = next((n for n, count in counts.items() if count < items), None)
    if short is not None:
        raise ValueError(f"the ranker's items/{short} has {counts[short]} rows, the catalog has {items}")
    rows = take_items(rows, slice(items))
    if item_text is None and encoder is not None:
        item_text = encoder.dim
    sizes = Sizes(
        items=items,
        k_max=k_max,
        history_length=ranker.history_length,
        user_features=dataset.users.features.values.shape[1],
        user_text=user_text if user_text_vectors is None else user_text_vectors.shape[1],
        item_text=item_text,
        item_features=dataset.catalog.features.values.shape[1],
        context=dataset.contexts.width,
    )
    functions, max_items, any_history = lowered(ranker, shared, rows, sizes)
    arrays = {"shared": shared, "items": rows}
    if encoder is not None:
        functions = functions | {"encode_text": lower_encoder(encoder)}
        if item_text_vectors is not None and item_text_vectors.shape[1] == encoder.dim:
            arrays["item_texts"] = {"vectors": np.asarray(item_text_vectors, np.float32)}
        arrays["encoder"] = {n: gathered(leaf) for n, leaf in named_leaves(encoder.params).items()}
    if asked_at is None:
        asked_at = int(histories.timestamps.max(initial=0)) if histories is not None else 0
    kept = histories if keep_users else None
    now = datetime.now(UTC)
    manifest = Manifest(
        name=name,
        created=now.isoformat(timespec="seconds"),
        readable_until=(now + timedelta(days=READABLE_DAYS)).date().isoformat(),
        note=EXPIRY_NOTE,
        jaxrec=jaxrec.__version__,
        jax=jax.__version__,
        calling_convention=jax_export.maximum_supported_calling_convention_version,
        platforms=PLATFORMS,
        **sizes._asdict(),
        max_items=max_items,
        any_history=any_history,
        users=0 if kept is None else kept.num_users,
        asked_at=asked_at,
        default_weight=_typical_weight(histories),
        text_dim=encoder.dim if encoder else 0,
        max_tokens=encoder.max_length if encoder else 0,
        functions={function: f"{function}.stablehlo" for function in functions},
        files={},
    )
    if jax.process_index() != 0:
        return manifest
    popularity = np.zeros(items, np.int64)
    if histories is not None:
        popularity = np.bincount(histories.item_rows, minlength=items)
    texts = {
        "item_features.json": _json(dataset.catalog.features.encoder.to_json()),
        "user_features.json": _json(dataset.users.features.encoder.to_json()),
        "experiment.json": _json(experiment or {}),
        "metrics.json": _json(metrics or {}),
        "README.md": model_card(card or Card(), manifest, metrics or {}, events=int(popularity.sum())),
    }
    if sizes.context:
        texts["context.json"] = _json(dataset.contexts.to_json())
    if encoder is not None:
        texts["tokenizer.json"] = encoder.tokenizer.to_json()

    def write(root: Path) -> Manifest:
        for function, data in functions.items():
            (root / manifest.functions[function]).write_bytes(data)
        for group, tensors in arrays.items():
            write_tensors(root / f"{group}.safetensors", tensors)
        pq.write_table(items_table(dataset, popularity), root / "items.parquet")
        if kept is not None:
            pq.write_table(users_table(dataset, kept, user_text_vectors), root / "users.parquet")
        for file, text in texts.items():
            (root / file).write_text(text, encoding="utf-8")
        return manifest

    return write_artifact(Path(path), write)


def gathered(leaf: Any) -> np.ndarray:
    """An array of any placement, whole and on the host. With several processes all must call."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        leaf = multihost_utils.process_allgather(leaf, tiled=True)
    return np.asarray(leaf).astype(dtype_of(leaf), copy=False)


def items_table(dataset: Dataset, popularity: np.ndarray) -> pa.Table:
    """item_id, title, text, tags, words (lists of strings) and popularity (events known at export), by item row."""
    catalog = dataset.catalog
    return pa.table(
        {
            "item_id": dataset.item_map.ids,
            "title": catalog.titles,
            "text": catalog.texts,
            "tags": _lists(catalog.tags),
            "words": _lists(keywords(catalog.texts, known=catalog.tags.names)),
            "popularity": pa.array(popularity, pa.int64()),
        }
    )


def _lists(tags: Tags) -> pa.ListArray:
    names = pa.array(tags.names, pa.string()).take(pa.array(tags.tag_rows, pa.int32()))
    return pa.ListArray.from_arrays(pa.array(tags.offsets, pa.int32()), names)


def users_table(dataset: Dataset, histories: Histories, text_vectors: np.ndarray | None) -> pa.Table:
    """user_id; item_rows, timestamps and weights: lists of equal length, oldest first; features and text: vectors."""

    def lists(values: np.ndarray, kind: pa.DataType) -> pa.Array:
        return pa.LargeListArray.from_arrays(pa.array(histories.offsets, pa.int64()), pa.array(values, kind))

    def vectors(values: np.ndarray) -> pa.Array:
        flat = pa.array(np.ascontiguousarray(values, np.float32).reshape(-1), pa.float32())
        return pa.LargeListArray.from_arrays(pa.array(np.arange(len(values) + 1) * values.shape[1], pa.int64()), flat)

    columns = {
        "user_id": dataset.user_map.ids,
        "item_rows": lists(histories.item_rows, pa.int32()),
        "timestamps": lists(histories.timestamps, pa.int64()),
        "weights": lists(histories.weights, pa.float32()),
        "features": vectors(dataset.users.features.values),
    }
    if text_vectors is not None:
        columns["text"] = vectors(text_vectors)
    return pa.table(columns)


def _typical_weight(histories: Histories | None) -> float:
    """The median weight, so that an event that comes without a weight counts like an ordinary one."""
    return float(np.median(histories.weights)) if histories is not None and len(histories.weights) else 1.0


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
