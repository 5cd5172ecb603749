"""Text to token ids, once; and batches of texts of like length.

Two tokenizers with one face: WordPiece as BERT has it, and hashed words that need no vocabulary. Each is one JSON
string, so that it travels with a model.
"""

import json
import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from jaxrec.errors import DataError, UserError


@dataclass(frozen=True, eq=False)
class TokenTable:
    """ids: int32 [texts, max], padded at the end. lengths: int32 [texts], real tokens of each text."""

    ids: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.lengths)

    def mask(self) -> np.ndarray:
        """bool [texts, max], true at real tokens."""
        return np.arange(self.ids.shape[1])[None, :] < self.lengths[:, None]

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]], pad_id: int = 0) -> "TokenTable":
        lengths = np.array([len(row) for row in rows], np.int32)
        ids = np.full((len(rows), max(1, int(lengths.max(initial=0)))), pad_id, np.int32)
        for row, tokens in enumerate(rows):
            ids[row, : len(tokens)] = tokens
        return cls(ids, lengths)


class TextTokenizer(Protocol):
    """Anything that turns texts to token ids."""

    max_length: int

    def tokenize(self, texts: Sequence[str]) -> TokenTable: ...

    def to_json(self) -> str: ...


@dataclass(frozen=True, eq=False)
class WordPiece:
    """A `tokenizers` tokenizer as its JSON; texts are cut at `max_length` tokens, [CLS] and [SEP] counted."""

    json: str
    max_length: int

    @cached_property
    def _tokenizer(self):
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_str(self.json)
        tokenizer.no_padding()
        tokenizer.enable_truncation(self.max_length)
        return tokenizer

    @cached_property
    def pad_id(self) -> int:
        return self._tokenizer.token_to_id("[PAD]") or 0

    @property
    def vocab_size(self) -> int:
        """One more than the highest id."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    def tokenize(self, texts: Sequence[str]) -> TokenTable:
        """Token ids with [CLS] first and [SEP] last, also of an empty text. Raises DataError for what is not text."""
        encodings = self._tokenizer.encode_batch_fast(_checked(texts))
        return TokenTable.of([encoding.ids for encoding in encodings], self.pad_id)

    def to_json(self) -> str:
        """A tokenizer.json with the truncation inside: any `tokenizers` reads it."""
        return self._tokenizer.to_str()


_CJK = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORDS = re.compile(rf"[{_CJK}]|[^\W{_CJK}]+")  # a Chinese or Japanese character, or a word of another script


@dataclass(frozen=True)
class HashedWords:
    """Lower-case words as their CRC-32, in 31 bits: no vocabulary, and no two common words collide in practice."""

    max_length: int = 256

    def tokenize(self, texts: Sequence[str]) -> TokenTable:
        """One id for each of the first max_length words; a text without words has length 0."""
        return TokenTable.of([self._ids(text) for text in _checked(texts)])

    def _ids(self, text: str) -> list[int]:
        words = _WORDS.findall(text.lower())[: self.max_length]
        return [zlib.crc32(word.encode("utf-8", "surrogatepass")) & 0x7FFFFFFF for word in words]

    def to_json(self) -> str:
        return json.dumps({"hashed_words": asdict(self)})


def tokenizer_from_json(text: str, max_length: int | None = None) -> WordPiece | HashedWords:
    """The tokenizer that `to_json` wrote; max_length only to cut shorter or longer than it says."""
    try:
        stored = json.loads(text)
    except ValueError as error:
        raise DataError(f"not a tokenizer: not valid JSON ({error})") from None
    if "hashed_words" in stored:
        return HashedWords(max_length or stored["hashed_words"]["max_length"])
    return WordPiece(text, max_length or (stored.get("truncation") or {}).get("max_length", 512))


def load_tokenizer(directory: str | Path, max_length: int) -> WordPiece:
    """The tokenizer of a Hugging Face BERT directory: tokenizer.json, or built from vocab.txt.

    What tokenizer_config.json says of case, accents and Chinese characters holds in both cases, as in transformers;
    truncation and padding stored in tokenizer.json do not. Raises UserError where there is neither file.
    """
    from tokenizers import Tokenizer, normalizers

    directory = Path(directory)
    config = _read_json(directory / "tokenizer_config.json")
    if (directory / "tokenizer.json").is_file():
        try:
            tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        except Exception as error:  # tokenizers raises plain Exception
            raise DataError(f"{directory / 'tokenizer.json'}: cannot be read ({error}); copy it again") from None
    elif (directory / "vocab.txt").is_file():
        tokenizer = _from_vocab(directory / "vocab.txt", config)
    else:
        raise UserError(f"{directory}: no tokenizer.json and no vocab.txt; copy one of them beside config.json")
    if isinstance(tokenizer.normalizer, normalizers.BertNormalizer):
        told = {"do_lower_case": "lowercase", "strip_accents": "strip_accents"}
        told["tokenize_chinese_chars"] = "handle_chinese_chars"
        kept = {ours: getattr(tokenizer.normalizer, ours) for ours in ("clean_text", *told.values())}
        kept |= {ours: config[theirs] for theirs, ours in told.items() if theirs in config}
        tokenizer.normalizer = normalizers.BertNormalizer(**kept)
    return WordPiece(tokenizer.to_str(), max_length)


def _from_vocab(path: Path, config: dict):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    try:
        lines = path.read_text("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 ({error}); save it as UTF-8") from None
    vocab = {line.removesuffix("\r"): row for row, line in enumerate(lines) if line or row < len(lines) - 1}
    names = {role: _token(config.get(f"{role}_token"), f"[{role.upper()}]") for role in ("unk", "cls", "sep")}
    missing = [name for name in names.values() if name not in vocab]
    if missing:
        raise DataError(f"{path}: has no {', '.join(missing)}; one token a line is expected, these among them")
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=names["unk"]))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    cls, sep = names["cls"], names["sep"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls}:0 $A:0 {sep}:0",
        pair=f"{cls}:0 $A:0 {sep}:0 $B:1 {sep}:1",
        special_tokens=[(cls, vocab[cls]), (sep, vocab[sep])],
    )
    special = (*names.values(), *(_token(config.get(f"{role}_token"), f"[{role.upper()}]") for role in ("pad", "mask")))
    tokenizer.add_special_tokens([name for name in special if name in vocab])
    return tokenizer


def _token(stored: str | dict | None, default: str) -> str:
    return stored.get("content", default) if isinstance(stored, dict) else stored or default


def _read_json(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}); copy it again") from None


def _checked(texts: Sequence[str]) -> list[str]:
    texts = list(texts)
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(
                f"text {row} is {text!r}, a {type(text).__name__}; every text is a str, '' where there is none"
            )
    return texts


BUCKETS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)


@dataclass(frozen=True, eq=False)
class LengthBatch:
    """Some texts of like length. rows: int64 [n], which texts; shape: (batch, tokens) to pad to, n <= batch."""

    rows: np.ndarray
    shape: tuple[int, int]

    def of(self, table: TokenTable) -> tuple[np.ndarray, np.ndarray]:
        """(token ids int32, mask bool), both of `shape`; rows that pad the batch are masked out."""
        batch, tokens = self.shape
        ids, mask = np.zeros(self.shape, np.int32), np.zeros(self.shape, bool)
        width = min(tokens, table.ids.shape[1])
        ids[: len(self.rows), :width] = table.ids[self.rows, :width]
        mask[: len(self.rows)] = np.arange(tokens)[None, :] < table.lengths[self.rows, None]
        return ids, mask


def length_batches(lengths: np.ndarray, *, tokens_per_batch: int = 8_192, max_length: int = 512) -> list[LengthBatch]:
    """Every text once, in few shapes and with little padding. lengths: int [texts], none above max_length.

    Texts go to the smallest bucket that holds them, sorted by length; a batch has tokens_per_batch tokens, whatever
    the bucket. A remainder of less than half a batch moves up to the next bucket, so that each bucket has one shape;
    the last remainder is padded to a power of two.
    """
    order = np.argsort(lengths, kind="stable")
    buckets = [*(b for b in BUCKETS if b < max_length), max_length]
    ends = np.searchsorted(lengths[order], buckets, side="right")
    batches, start = [], 0
    for tokens, end in zip(buckets, ends, strict=True):
        batch = max(8, tokens_per_batch // tokens // 8 * 8)
        while end - start >= batch:
            batches.append(LengthBatch(order[start : start + batch], (batch, tokens)))
            start += batch
        last = end == len(order)
        if end > start and (last or 2 * (end - start) >= batch):
            size = min(batch, max(8, 1 << int(end - start - 1).bit_length())) if last else batch
            batches.append(LengthBatch(order[start:end], (size, tokens)))
            start = end
        if last:
            break
    return batches
