"""Texts to vectors: order, caching, export, files; and every refusal with its message."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
import pytest
from jax import export

from jaxrec import embed
from jaxrec.data.tokens import TokenTable
from jaxrec.embed import embed_file, embed_texts, hidden_states, read_texts
from jaxrec.errors import DataError, UserError
from jaxrec.text_encoder import BagOfWords, TextEncoder, find_encoder

sys.path.insert(0, str(Path(__file__).parent / "models"))
import golden_checkpoints as checkpoints  # noqa: E402
import make_bert_golden as golden  # noqa: E402

TEXTS = ["电影很好看", "films", "", "我很喜欢这个电影的情节" * 3, "film", "生", "films", "喜欢"]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXREC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "embeddings"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """A tiny BERT shaped as bert-base-chinese: prefixed keys, gamma and beta, a vocabulary of characters."""
    config = golden.tiny_config("chinese")
    weights = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
        for name, tensor in golden.tiny_weights(config).items()
    }
    return checkpoints.write(tmp_path_factory.mktemp("bert"), config, weights, golden.chinese_vocab())


@pytest.fixture(scope="module")
def loaded(directory):
    return TextEncoder(str(directory)).load()


def test_vectors_are_those_of_each_text_alone(loaded):
    """Bucketing, padding and the removal of double texts change nothing, and the order is kept."""
    together = embed_texts(TEXTS, loaded, cache=False)
    assert together.shape == (8, 24) and together.dtype == np.float32
    for row, text in enumerate(TEXTS):
        table = loaded.tokenizer.tokenize([text])
        alone = loaded.encode(loaded.params, table.ids, table.mask())
        np.testing.assert_allclose(together[row], alone[0], atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_pools_and_normalization_are_those_of_the_last_hidden_state(directory):
    states = hidden_states(TEXTS, TextEncoder(str(directory)))
    last, mask = states.hidden_states[-1], states.mask[:, :, None]
    expected = {
        "mean": (last * mask).sum(1) / mask.sum(1),
        "cls": last[:, 0],
        "max": np.where(mask, last, -np.inf).max(1),
    }
    for pool, vectors in expected.items():
        ours = embed_texts(TEXTS, TextEncoder(str(directory), pool=pool, normalize=False))
        np.testing.assert_allclose(ours, vectors, atol=5e-6)


def test_texts_are_cut_at_max_length_and_at_the_positions_of_the_model(directory, loaded):
    assert loaded.max_length == 20  # asked for 256
    long, longer = "电影" * 9, "电影" * 30
    vectors = embed_texts([long, longer], loaded, cache=False)
    np.testing.assert_array_equal(vectors[0], vectors[1])
    short = embed_texts(["电影电", long], TextEncoder(str(directory), max_length=5), cache=False)
    np.testing.assert_array_equal(short[0], short[1])


@dataclass(frozen=True)
class Given:
    """A tokenizer that has its answer ready."""

    table: TokenTable

    def tokenize(self, texts):
        return self.table


def test_hidden_states_are_the_same_whatever_the_batch(directory, monkeypatch):
    config = golden.tiny_config("chinese")
    ids, mask, _ = golden.tiny_inputs(config)
    loaded = TextEncoder(str(directory), tokens_per_batch=36).load()  # three of four rows at a time
    loaded = replace(loaded, tokenizer=Given(TokenTable(ids, mask.sum(1).astype(np.int32))))
    states = hidden_states([""] * 4, loaded)
    alone = np.stack(loaded.hidden(loaded.params, ids, mask))
    assert states.hidden_states.shape == (3, 4, 12, 24)
    np.testing.assert_allclose(states.hidden_states, alone, atol=5e-6)
    monkeypatch.setattr(embed, "_HIDDEN_LIMIT", 1_000)
    with pytest.raises(UserError, match="hidden states of 4 texts of up to 12 tokens take"):
        hidden_states([""] * 4, loaded)


def test_the_cache_answers_without_the_weights(directory, cache, monkeypatch):
    first = embed_texts(TEXTS, TextEncoder(str(directory)))
    (stored,) = cache.glob("*")
    monkeypatch.setattr(TextEncoder, "load", lambda self: pytest.fail("loaded again"))
    done = []
    again = embed_texts(TEXTS, TextEncoder(str(directory)), progress=lambda *counts: done.append(counts))
    np.testing.assert_array_equal(again, first)
    assert done == [(8, 8)] and stored.suffix == ".npy"


def test_a_damaged_cache_file_is_made_anew(directory, cache):
    first = embed_texts(TEXTS, TextEncoder(str(directory)))
    (stored,) = cache.glob("*")
    whole = stored.read_bytes()
    for damage in (b"", whole[:-4], b"not numpy"):
        stored.write_bytes(damage)
        np.testing.assert_array_equal(embed_texts(TEXTS, TextEncoder(str(directory))), first)
        assert stored.read_bytes() == whole


@pytest.mark.parametrize(
    "place", [0, 9, 60, 130, -33, -1], ids=["magic", "length", "header", "first", "last", "digest"]
)
def test_a_flipped_bit_in_the_cache_is_never_believed(cache, place):
    right = embed_texts(TEXTS, BagOfWords(16))
    (stored,) = cache.glob("*")
    whole = bytearray(stored.read_bytes())
    flipped = bytearray(whole)
    flipped[place] ^= 1
    stored.write_bytes(flipped)
    np.testing.assert_array_equal(embed_texts(TEXTS, BagOfWords(16)), right)
    assert stored.read_bytes() == whole and list(cache.glob("*")) == [stored]


def test_what_decides_the_vectors_decides_the_key(directory, cache, tmp_path):
    base = TextEncoder(str(directory))
    same = TextEncoder(str(directory), tokens_per_batch=64)
    others = [TextEncoder(str(directory), pool="cls"), TextEncoder(str(directory), normalize=False)]
    others += [TextEncoder(str(directory), max_length=8), TextEncoder(str(directory), dtype="bfloat16")]
    config = golden.tiny_config("chinese")
    weights = golden.tiny_weights(config, seed=1)
    others.append(TextEncoder(str(checkpoints.write(tmp_path, config, weights, golden.chinese_vocab()))))
    others += [BagOfWords(dim=8), BagOfWords(dim=9)]
    assert base.digest() == same.digest() == base.load().digest
    assert len({encoder.digest() for encoder in (base, *others)}) == len(others) + 1
    for texts in (TEXTS, TEXTS[:-1], [*TEXTS[:-1], "喜", "欢"]):
        embed_texts(texts, base)
    assert len(list(cache.glob("*"))) == 3


def test_progress_counts_texts_up_to_all(loaded):
    done = []
    embed_texts([str(n) for n in range(30)], loaded, cache=False, progress=lambda *counts: done.append(counts))
    assert done[-1] == (30, 30) and done == sorted(done)
    with embed.progress_bar("Encoding") as progress:
        progress(1, 2)


@pytest.mark.parametrize("encoder", [BagOfWords(dim=16), None])
def test_encode_exports_for_all_platforms_with_free_batch_and_tokens(encoder, loaded):
    ready = encoder.load() if encoder else loaded
    shapes = ready.argument_shapes()
    stored = export.export(jax.jit(ready.encode), platforms=("cpu", "cuda", "tpu"))(*shapes).serialize()
    again = export.deserialize(stored)
    assert again.platforms == ("cpu", "cuda", "tpu")
    assert len(stored) < 200_000  # the weights are arguments
    for texts in (["film"], TEXTS):
        table = ready.tokenizer.tokenize(texts)
        ours = again.call(ready.params, table.ids, table.mask())
        expected = ready.encode(ready.params, table.ids, table.mask())
        assert ours.shape == (len(texts), ready.dim)
        np.testing.assert_allclose(ours, expected, atol=2e-6)


def test_bag_of_words_puts_texts_with_common_words_near():
    texts = [
        "a funny film for a rainy evening",
        "Rainy evening? A film!",
        "tax law of the province",
        "",
        "电影好看",
        "好看的电影",
    ]
    vectors = embed_texts(texts, BagOfWords(), cache=False)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.6 and cosines[4, 5] > 0.6
    assert abs(cosines[0, 2]) < 0.25 and abs(cosines[2, 4]) < 0.25
    np.testing.assert_array_equal(vectors[3], 0)
    np.testing.assert_array_equal(vectors, embed_texts(texts, BagOfWords(), cache=False))
    with pytest.raises(UserError, match="this encoder has no layers"):
        hidden_states(texts, BagOfWords())


def test_embed_file_writes_vectors_and_all_layers(directory, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_bytes("\ufeff电影\r\n\r\nfilms\n喜欢".encode())
    written = embed_file(
        str(directory), texts, tmp_path / "new" / "v.npy", pool="cls", hidden_states=tmp_path / "all.npz", max_length=9
    )
    vectors, layers = np.load(tmp_path / "new" / "v.npy"), np.load(tmp_path / "all.npz")
    assert written == (4, 24, tmp_path / "new" / "v.npy", tmp_path / "all.npz")
    np.testing.assert_allclose(vectors, layers["hidden_states"][-1][:, 0], atol=5e-6)
    assert layers["hidden_states"].shape == (3, 4, 4, 24)
    np.testing.assert_array_equal(layers["mask"].sum(1), [4, 2, 4, 4])  # film ##s are two
    assert layers["token_ids"].shape == (4, 4)
    assert not list(tmp_path.rglob("*.partial"))


def test_lines_are_split_at_line_ends_only(tmp_path):
    (tmp_path / "t.txt").write_text("a\x0bb\u2028c\n\nd\n\n", "utf-8")
    assert read_texts(tmp_path / "t.txt") == ["a\x0bb\u2028c", "", "d", ""]


def test_what_cannot_be_embedded_is_named_before_anything_is_written(directory, tmp_path):
    texts, out = tmp_path / "texts.txt", tmp_path / "v.npy"
    with pytest.raises(UserError, match=r"texts.txt: no such file"):
        embed_file(str(directory), texts, out)
    texts.write_bytes(b"film\n" + "电影".encode("gbk"))
    with pytest.raises(DataError, match=r"texts.txt, line 2: not UTF-8 .*; save the file as UTF-8"):
        embed_file(str(directory), texts, out)
    texts.write_bytes(b"")
    with pytest.raises(DataError, match=r"texts.txt: empty"):
        embed_file(str(directory), texts, out)
    texts.write_text("film\n")
    with pytest.raises(UserError, match=r"v.txt: the file to write must end in .npy"):
        embed_file(str(directory), texts, tmp_path / "v.txt")
    with pytest.raises(UserError, match=r"encoder.pool='sum'; it is one of mean, cls, max"):
        embed_file(str(directory), texts, out, pool="sum")
    with pytest.raises(UserError, match=r"encoder.max_length=2; at least 3"):
        embed_file(str(directory), texts, out, max_length=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["texts.txt"]


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    config = golden.tiny_config("chinese")
    checkpoints.write(tmp_path, config, golden.tiny_weights(config), [*golden.chinese_vocab(), "more"])
    with pytest.raises(DataError, match=r"the tokenizer has 64 tokens, but config.json has vocab_size"):
        TextEncoder(str(tmp_path)).load()


def test_names_are_looked_up_in_the_hugging_face_cache(directory, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    stored = tmp_path / "models--org--tiny"
    (stored / "refs").mkdir(parents=True)
    (stored / "refs" / "main").write_text("abc")
    (stored / "snapshots").mkdir()
    (stored / "snapshots" / "abc").symlink_to(directory, target_is_directory=True)
    assert find_encoder("org/tiny") == stored / "snapshots" / "abc"
    assert find_encoder(str(directory)) == directory
    with pytest.raises(UserError, match=r"encoder 'org/other': not a directory, not a known name \(minilm\)"):
        find_encoder("org/other")
