"""Keywords of texts: words and pairs of neighbouring words that a few texts share. Needs no list of stop words."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jaxrec.data.features import Tags

APART = r"[^\p{L}\p{N}'’]+"
SHORTEST = 3
ALWAYS_TOGETHER = 0.8  # the share of a word's texts in which a pair must stand with it to take its place


def keywords(
    texts: pa.Array,
    *,
    known: tuple[str, ...] = (),
    most: float = 0.02,
    least: int = 2,
    at_most: int = 10,
) -> Tags:
    """Words and pairs ("star wars") of each text as tags, by tf-idf, best first.

    Left out: what stands in more than `most` of the texts (and in more than `least`: a small catalog has keywords too)
    or in fewer than `least`; numbers, words of one or two letters, words of a tag in `known`; of a pair, both words
    must be kept. A word gives way to a pair that goes with it in 8 of 10 of its texts. at_most: keywords per text.
    """
    count = len(texts)
    text, word, names = _words(texts)
    ceiling = max(most * count, least)
    spoken = {part for tag in known for part in _parts(tag)}
    usable = np.array([_means_something(name, spoken) for name in names] or [], bool)
    frequency = _texts_with(text, word, len(names))
    kept = usable & (frequency >= least) & (frequency <= ceiling)
    follows = (text[1:] == text[:-1]) & kept[word[1:]] & kept[word[:-1]] if len(word) else np.zeros(0, bool)
    first, second = word[:-1][follows].astype(np.int64), word[1:][follows].astype(np.int64)
    pairs, pair = np.unique(first * max(len(names), 1) + second, return_inverse=True)
    both = _texts_with(text[1:][follows], pair, len(pairs))
    common = both >= least
    for part in (pairs // max(len(names), 1), pairs % max(len(names), 1)):
        kept[part[common & (both >= ALWAYS_TOGETHER * frequency[part])]] = False
    pair_names = [f"{names[p // len(names)]} {names[p % len(names)]}" for p in pairs[common]]
    new = np.cumsum(common) - 1 + len(names)
    there = common[pair]
    single = kept[word]
    text = np.concatenate([text[single], text[1:][follows][there]])
    term = np.concatenate([word[single], new[pair[there]]])
    texts_with = np.concatenate([frequency, both[common]])
    return _best_of_each(text, term, (*names, *pair_names), np.log(count / np.maximum(texts_with, 1)), count, at_most)


def find_keywords(texts: pa.Array, names: tuple[str, ...]) -> Tags:
    """Which of these words and pairs stand in each text: the vocabulary of `keywords` for texts that come later."""
    text, word, found = _words(texts)
    rows = {name: row for row, name in enumerate(names)}
    where = np.array([rows.get(name, -1) for name in found] or [], np.int64)
    single = where[word] if len(word) else np.zeros(0, np.int64)
    together = np.flatnonzero(text[1:] == text[:-1])
    pairs = [rows.get(f"{found[word[p]]} {found[word[p + 1]]}", -1) for p in together]
    text, term = np.concatenate([text, text[together]]), np.concatenate([single, np.array(pairs, np.int64)])
    return _best_of_each(text[term >= 0], term[term >= 0], names, np.zeros(len(names)), len(texts), len(names))


def _words(texts: pa.Array) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(text, word) of every word in order, int64 each, and the words' names."""
    lists = pc.split_pattern_regex(pc.utf8_lower(pc.fill_null(texts.cast(pa.string()), "")), APART)
    flat = pc.utf8_trim(pc.list_flatten(lists), "'’")
    said = pc.not_equal(flat, "").to_numpy(zero_copy_only=False)
    text = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)[said].astype(np.int64)
    coded = flat.filter(pa.array(said)).dictionary_encode()
    return text, coded.indices.to_numpy(zero_copy_only=False).astype(np.int64), coded.dictionary.to_pylist()


def _parts(tag: str) -> list[str]:
    return re.split(r"[^\w'’]+", tag.lower())


def _means_something(word: str, spoken: set[str]) -> bool:
    return len(word) >= SHORTEST and not word.isnumeric() and word not in spoken


def _texts_with(text: np.ndarray, term: np.ndarray, terms: int) -> np.ndarray:
    """In how many texts each term stands, int64 [terms]."""
    distinct = np.unique(text.astype(np.int64) * max(terms, 1) + term)
    return np.bincount(distinct % max(terms, 1), minlength=terms)


def _best_of_each(text, term, names, weight: np.ndarray, texts: int, at_most: int) -> Tags:
    """The terms of each text by frequency in it times weight, at most so many; names that nobody has are dropped."""
    keys, counts = np.unique(text * max(len(names), 1) + term, return_counts=True)
    text, term = keys // max(len(names), 1), keys % max(len(names), 1)
    order = np.lexsort((term, -counts * weight[term], text))
    text, term = text[order], term[order]
    place = np.arange(len(text)) - np.searchsorted(text, text)
    text, term = text[place < at_most], term[place < at_most]
    used, rows = np.unique(term, return_inverse=True)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(text, minlength=texts))]).astype(np.int64)
    return Tags(tuple(names[u] for u in used), offsets, rows.astype(np.int32))
