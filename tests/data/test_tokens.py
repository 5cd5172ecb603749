"""Tokenizers against hand-made vocabularies; batches of like length against their promises."""

import json

import numpy as np
import pytest

from jaxrec.data.tokens import (
    BUCKETS,
    HashedWords,
    TokenTable,
    WordPiece,
    length_batches,
    load_tokenizer,
    tokenizer_from_json,
)
from jaxrec.errors import DataError, UserError

VOCAB = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "电",
    "影",
    "好",
    "看",
    "film",
    "##s",
    "cafe",
    "café",
    "Film",
    "!",
]


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token in VOCAB), "utf-8")
    return tmp_path


def tokens(tokenizer, text):
    table = tokenizer.tokenize([text])
    return [VOCAB[token] for token in table.ids[0, : table.lengths[0]]]


def configure(directory, **options):
    (directory / "tokenizer_config.json").write_text(json.dumps(options))
    return load_tokenizer(directory, 16)


def test_chinese_text_is_split_into_characters(directory):
    assert tokens(configure(directory), "电影 films好看!") == [
        *("[CLS]", "电", "影", "film", "##s", "好", "看", "!", "[SEP]")
    ]


def test_chinese_characters_stay_together_when_the_config_says_so(directory):
    assert tokens(configure(directory, tokenize_chinese_chars=False), "电影") == ["[CLS]", "[UNK]", "[SEP]"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["film", "cafe"]),
        ({"do_lower_case": False}, ["Film", "café"]),
        ({"strip_accents": False}, ["film", "café"]),
        ({"do_lower_case": False, "strip_accents": True}, ["Film", "cafe"]),
    ],
)
@pytest.mark.parametrize("stored", ["vocab.txt", "tokenizer.json"])
def test_case_and_accents_follow_the_config(directory, options, expected, stored):
    if stored == "tokenizer.json":
        (directory / stored).write_text(load_tokenizer(directory, 16).to_json(), "utf-8")
        (directory / "vocab.txt").unlink()
    text = "Film café"
    assert tokens(configure(directory, **options), text) == ["[CLS]", *expected, "[SEP]"]


def test_stored_truncation_and_padding_are_reset(directory):
    stored = json.loads(load_tokenizer(directory, 16).to_json())
    stored["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    fixed = {"strategy": {"Fixed": 12}, "direction": "Right", "pad_to_multiple_of": None}
    stored["padding"] = fixed | {"pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"}
    (directory / "tokenizer.json").write_text(json.dumps(stored))
    table = load_tokenizer(directory, 7).tokenize(["film " * 9, "film film film", ""])
    np.testing.assert_array_equal(table.lengths, [7, 5, 2])
    assert table.ids.shape == (3, 7)
    assert table.ids[0, -1] == VOCAB.index("[SEP]")


def test_a_table_is_padded_at_the_end(directory):
    table = load_tokenizer(directory, 16).tokenize(["film", "", "好看"])
    np.testing.assert_array_equal(table.ids, [[2, 9, 3, 0], [2, 3, 0, 0], [2, 7, 8, 3]])
    np.testing.assert_array_equal(table.mask().sum(1), table.lengths)
    assert (table.ids.dtype, table.lengths.dtype) == (np.int32, np.int32)
    assert load_tokenizer(directory, 16).tokenize([]).ids.shape == (0, 1)


def test_tokenizers_travel_as_json(directory):
    texts = ["Films, 电影!", "", "好" * 40]
    for tokenizer in (load_tokenizer(directory, 9), HashedWords(9)):
        again = tokenizer_from_json(tokenizer.to_json())
        assert again.max_length == 9
        np.testing.assert_array_equal(again.tokenize(texts).ids, tokenizer.tokenize(texts).ids)
        assert tokenizer_from_json(tokenizer.to_json(), 5).tokenize(texts).lengths.max() == 5


def test_hashed_words_are_crc32_of_lower_case_words():
    """0xCBF43926 is the published check value of CRC-32 over "123456789"; one bit is dropped to fit int32."""
    table = HashedWords(4).tokenize(["123456789, Film", "好看 film", "", "a b c d e", "!? 🎬"])
    assert table.ids[0, 0] == 0xCBF43926 & 0x7FFFFFFF
    np.testing.assert_array_equal(table.lengths, [2, 3, 0, 4, 0])
    assert table.ids[0, 1] == table.ids[1, 2]


def test_what_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UserError, match="no tokenizer.json and no vocab.txt"):
        load_tokenizer(tmp_path, 16)
    (tmp_path / "vocab.txt").write_text("film\n[UNK]\n")
    with pytest.raises(DataError, match=r"vocab.txt: has no \[CLS\], \[SEP\]"):
        load_tokenizer(tmp_path, 16)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match=r"tokenizer.json: cannot be read"):
        load_tokenizer(tmp_path, 16)
    with pytest.raises(DataError, match="not a tokenizer"):
        tokenizer_from_json("film")


def test_what_is_not_text_is_named():
    with pytest.raises(DataError, match="text 1 is None, a NoneType"):
        HashedWords().tokenize(["film", None])


def padded_tokens(batches):
    return sum(batch.shape[0] * batch.shape[1] for batch in batches)


@pytest.mark.parametrize("seed", range(5))
def test_length_batches_hold_every_text_once_in_few_shapes(seed):
    rng = np.random.default_rng(seed)
    lengths = np.minimum(2 + rng.geometric(0.03, size=rng.integers(1, 3_000)), 256)
    batches = length_batches(lengths, tokens_per_batch=2_048, max_length=256)
    assert sorted(np.concatenate([batch.rows for batch in batches])) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch.rows) <= batch.shape[0] and lengths[batch.rows].max() <= batch.shape[1]
        assert batch.shape[0] * batch.shape[1] <= 2_048 and batch.shape[0] % 8 == 0
    assert len({batch.shape for batch in batches}) <= len([b for b in BUCKETS if b <= 256]) + 1


def test_padding_costs_little_where_texts_are_many():
    lengths = np.minimum(2 + np.random.default_rng(0).geometric(0.03, size=20_000), 256)
    assert padded_tokens(length_batches(lengths, tokens_per_batch=4_096, max_length=256)) < 1.35 * lengths.sum()
    assert len(lengths) * 256 > 7 * lengths.sum()  # what padding to the longest would cost


def test_a_batch_is_cut_and_padded_from_the_table():
    table = TokenTable.of([[5, 6, 7], [8], [9, 9]])
    (batch,) = length_batches(table.lengths, tokens_per_batch=128, max_length=3)
    ids, mask = batch.of(table)
    assert batch.shape == (8, 3)
    np.testing.assert_array_equal(ids[:3], [[8, 0, 0], [9, 9, 0], [5, 6, 7]])
    np.testing.assert_array_equal(mask.sum(1), [1, 2, 3, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(batch.rows, [1, 2, 0])


def test_no_texts_no_batches():
    assert length_batches(np.zeros(0, np.int32)) == []


def test_word_piece_needs_no_directory(directory):
    assert WordPiece(load_tokenizer(directory, 16).to_json(), 3).tokenize(["film film"]).lengths == [3]
