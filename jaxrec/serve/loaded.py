"""An artifact in memory: its arrays, tables and functions, and the calls that the recommender is made of."""

import datetime
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxrec.data.context import Contexts
from jaxrec.data.features import FeatureEncoder, Tags
from jaxrec.data.interactions import Histories
from jaxrec.data.queries import QueryArrays, gather_queries
from jaxrec.data.text_vectors import says_anything, unit_text_vectors
from jaxrec.data.tokens import length_batches, tokenizer_from_json
from jaxrec.errors import DataError, UserError
from jaxrec.item_axis import count_items, items_per_leaf
from jaxrec.serve.artifact import Files, Manifest, read_manifest, verify
from jaxrec.serve.asking import feature_row
from jaxrec.serve.functions import ArtifactWarning, Functions, age_warning
from jaxrec.serve.likely_tags import LikelyTags
from jaxrec.serve.stored import StoredItems, StoredUsers
from jaxrec.serve.tensors import read_tensors

Named = dict[str, Any]
WHOLE = "whole"  # the source of a score that is no sum
BLOCK = 16  # items that are explained at once
MAX_SCORES = 1 << 26  # scores held at once: 256 MB in float32


def power_of_two(n: int, least: int = 1) -> int:
    """The smallest power of two that is at least n and at least `least`."""
    return 1 << max(n - 1, least - 1, 0).bit_length()


def width_of(n: int) -> int:
    """The width that n events are padded to: 16 times a power of four, so that few programs serve all lengths."""
    return max(16, 4 ** ((power_of_two(n).bit_length()) // 2))


def padded_row(rows: np.ndarray) -> np.ndarray:
    """Item rows as int32 [1, width], padded with -1."""
    return np.pad(rows.astype(np.int32), (0, width_of(len(rows)) - len(rows)), constant_values=-1)[None]


def by_blocks(score: Callable[[np.ndarray], Any], rows: np.ndarray) -> Any:
    """What score(int32 [16]) says of all these item rows: its arrays [..., 16] side by side as [..., r]; one program
    for any number of rows."""
    starts = range(0, max(len(rows), 1), BLOCK)
    blocks = [score(np.resize(rows[start : start + BLOCK], BLOCK).astype(np.int32)) for start in starts]
    return jax.tree.map(lambda *parts: np.concatenate(parts, axis=-1)[..., : len(rows)], *blocks)


@dataclass(frozen=True, eq=False)
class Loaded:
    """shared, items: the ranker's arrays by name, on the device. users: None where the artifact keeps none."""

    files: Files
    functions: Functions
    shared: Named
    items: Named
    catalog: StoredItems
    users: StoredUsers | None

    @property
    def manifest(self) -> Manifest:
        return self.files.manifest

    @property
    def room(self) -> int:
        """How many items the arrays have rows for; more than the catalog where items are still to come."""
        return count_items(self.items)

    @classmethod
    def read(cls, root: Path, *, check: bool = True) -> "Loaded":
        """As `Recommender.load`."""
        manifest = read_manifest(root)
        files = Files(root, manifest, check)
        for name in (*manifest.files, *manifest.functions.values()):
            files.listed(name)
        if check:
            verify(root, manifest)
        said = age_warning(manifest, jax.__version__, datetime.datetime.now(datetime.UTC).date())
        if said:
            warnings.warn(said, ArtifactWarning, stacklevel=3)
        catalog = StoredItems.read(files.listed("items.parquet"))
        users = None
        if manifest.users:
            users = StoredUsers.read(files.listed("users.parquet"), manifest.user_features, manifest.user_text)
        items = _on_device(files.listed("items.safetensors"))
        for name, count in items_per_leaf(items).items():
            if count != len(catalog):
                raise DataError(f"{root}/items.safetensors: {name!r} has {count} rows, items.parquet {len(catalog)}")
        functions = Functions(files)
        _ = functions["recommend"]  # read now, so that an artifact that loads can rank
        return cls(files, functions, _on_device(files.listed("shared.safetensors")), items, catalog, users)

    def query(
        self,
        histories: Histories,
        rows: np.ndarray,
        at: int,
        features: np.ndarray,
        text: np.ndarray,
        context: Mapping[str, str] | None = None,
    ) -> QueryArrays:
        """The query of histories' users `rows` (-1 for padding); features, text: float32 [histories' users, width].
        context: what all ask from, by column; the hour and the weekday are those of `at` unless it names them. Raises
        UserError for context that is not read."""
        where = self.contexts.of(context or {}, at) if self.manifest.context or context else None
        if where is not None:
            where = np.broadcast_to(where, (histories.num_users, where.shape[1]))
        length = self.manifest.history_length
        if self.manifest.any_history:
            length = min(length, width_of(int(histories.lengths.max(initial=0))))
        return gather_queries(histories, rows, length, at, features, text, where)

    def seen(self, histories: Histories, rows: np.ndarray) -> np.ndarray:
        """All item rows of histories' users `rows`, int32 [n, width], -1 for padding."""
        longest = int(histories.lengths[rows[rows >= 0]].max(initial=0))
        return gather_queries(histories, rows, width_of(longest), 0).history

    def allowed(self, rows: np.ndarray | None) -> np.ndarray:
        """bool [room]: these rows, or all of the catalog."""
        allowed = np.zeros(self.room, bool)
        allowed[: len(self.catalog) if rows is None else 0] = True
        allowed[rows if rows is not None else slice(0)] = True
        return allowed

    def rank(self, query: QueryArrays, seen: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(scores float32, item rows int32), both [batch, k_max], best first; row -1 where fewer are allowed."""
        best = self.functions["recommend"](self.shared, self.items, query.named(), seen, allowed)
        return np.asarray(best["scores"]), np.asarray(best["rows"])

    def score_rows(self, query: QueryArrays, rows: np.ndarray) -> np.ndarray:
        """Scores float32 [batch, r] of the item rows int32 [r]."""
        return np.asarray(self.functions["score_rows"](self.shared, self.items, query.named(), rows))

    def summands(self, query: QueryArrays, rows: np.ndarray) -> dict[str, np.ndarray]:
        """What adds up to the scores of the item rows int32 [r], float32 [batch, r] by source; the score itself, as
        WHOLE, of a ranker whose score is no sum."""
        if "score_by_source" not in self.functions:
            return {WHOLE: self.score_rows(query, rows)}
        found = self.functions["score_by_source"](self.shared, self.items, query.named(), rows)
        return {source: np.asarray(part) for source, part in found.items()}

    def user_vector(self, query: QueryArrays) -> np.ndarray | None:
        """Profile vector of one asker, float32 [dim]; None for a ranker without them."""
        if "user_profile" not in self.functions:
            return None
        return np.asarray(self.functions["user_profile"](self.shared, self.items, query.named()), np.float32)[0]

    @cached_property
    def item_vectors(self) -> np.ndarray | None:
        """Profile vectors of the catalog, float32 [items, dim]; None for a ranker without them."""
        if "item_profile" not in self.functions:
            return None
        every = np.asarray(self.functions["item_profile"](self.shared, self.items), np.float32)
        return every[: len(self.catalog)]  # without the room for items to come

    @cached_property
    def likely_tags(self) -> LikelyTags | None:
        """What foretells the tags of items without any; None for a ranker without item vectors, or too few tags."""
        return None if self.item_vectors is None else LikelyTags.fit(self.item_vectors, self.catalog.tags)

    @cached_property
    def profile_tags(self) -> Tags:
        """The catalog's tags, and the likely ones of items that carry none."""
        tags = self.catalog.tags
        if not (np.diff(tags.offsets) == 0).any() or self.likely_tags is None:
            return tags
        return self.likely_tags.filled(tags, self.item_vectors)

    @cached_property
    def text_vectors(self) -> np.ndarray | None:
        """Unit vectors of the items' texts, float32 [items, text_dim], zero where nothing is known; None without a text
        encoder. Those that the artifact keeps are read, others are made now."""
        if "encode_text" not in self.functions:
            return None
        name, kept = "item_texts.safetensors", np.zeros((0, self.manifest.text_dim), np.float32)
        if name in self.manifest.files:
            kept = np.array(read_tensors(self.files.unchanged(name))["vectors"])
        later = self.catalog.texts.slice(len(kept)).to_pylist()
        return np.concatenate([kept, self.encode_text([text or "" for text in later])]) if later else kept

    @cached_property
    def item_features(self) -> FeatureEncoder:
        return self._features("item_features.json")

    @cached_property
    def user_features(self) -> FeatureEncoder:
        return self._features("user_features.json")

    @cached_property
    def contexts(self) -> Contexts:
        """What is read of where a request comes from."""
        if not self.manifest.context:
            return Contexts()
        return Contexts.from_json(json.loads(self.files.unchanged("context.json").read_text(encoding="utf-8")))

    @cached_property
    def average_user(self) -> np.ndarray:
        """Features of nobody in particular, float32 [1, user features]."""
        return feature_row({}, self.user_features)

    def _features(self, name: str) -> FeatureEncoder:
        return FeatureEncoder.from_json(json.loads(self.files.unchanged(name).read_text(encoding="utf-8")))

    @cached_property
    def _text(self) -> tuple[Any, Named]:
        tokenizer = tokenizer_from_json(self.files.unchanged("tokenizer.json").read_text(encoding="utf-8"))
        return tokenizer, _on_device(self.files.unchanged("encoder.safetensors"))

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors float32 [texts, dim] by the artifact's own encoder, as training read them: see unit_text_vectors.

        Raises UserError where it has none.
        """
        encode = self.functions["encode_text"]
        tokenizer, params = self._text
        table = tokenizer.tokenize(list(texts))
        rows, blocks = [np.empty(0, np.int64)], [np.empty((0, self.manifest.text_dim), np.float32)]
        for batch in length_batches(table.lengths, max_length=self.manifest.max_tokens):
            rows.append(batch.rows)
            blocks.append(np.asarray(encode(params, *batch.of(table)), np.float32)[: len(batch.rows)])
        return unit_text_vectors(np.concatenate(blocks)[np.argsort(np.concatenate(rows))], texts)

    def asker_text(self, text: str | None) -> np.ndarray:
        """The asker's words as float32 [1, user_text]; zeros where nothing is said.

        Raises UserError where no words are read.
        """
        if not says_anything(text):
            return np.zeros((1, self.manifest.user_text), np.float32)
        if not self.manifest.user_text:
            raise UserError(
                "text: this artifact's ranker reads no words. Ask with a history, or train one that reads words."
            )
        return self.encode_text([text])


def _on_device(path: Path) -> Named:
    # copies: on a CPU jax may keep using the memory it is given, and a mapped file can change
    arrays = read_tensors(path)
    return {name: jax.device_put(np.array(array)) for name, array in arrays.items()}
