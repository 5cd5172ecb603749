"""MiniLM's real weights against transformers: tokens and hidden states of 50 sentences."""

import jax
import make_bert_golden as golden
import numpy as np
import pytest

from jaxrec.data.fetch import fetch
from jaxrec.data.tokens import load_tokenizer
from jaxrec.errors import JaxrecError
from jaxrec.models.encoders.bert_weights import load_bert


@pytest.fixture(scope="module")
def minilm():
    try:
        return fetch("minilm")
    except JaxrecError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def table(minilm):
    return load_tokenizer(minilm, golden.MAX_LENGTH).tokenize(golden.SENTENCES)


def all_hidden(minilm, table):
    """Hidden states [7, 50, tokens, 384], ten sentences at a time."""
    module, params = load_bert(minilm)
    run = jax.jit(lambda p, ids, mask: module.apply({"params": p}, ids, mask))
    batches = [slice(start, start + 10) for start in range(0, len(table), 10)]
    return np.concatenate([np.stack(run(params, table.ids[b], table.mask()[b])) for b in batches], axis=1)


def test_tokens_equal_transformers(table):
    stored = np.load(golden.GOLDEN / "bert_minilm.npz")
    np.testing.assert_array_equal(table.lengths, stored["lengths"])
    np.testing.assert_array_equal(table.ids[table.mask()], stored["ids"])
    assert table.lengths.max() == golden.MAX_LENGTH > 256
    assert table.lengths.min() == 2  # [CLS] [SEP] of an empty text


def test_hidden_states_equal_transformers(minilm, table):
    """Four dimensions of every hidden state of every layer, at all real and at two padded positions."""
    stored = np.load(golden.GOLDEN / "bert_minilm.npz")["sample"]
    kept = golden.kept(table.lengths, table.ids.shape[1])
    states = all_hidden(minilm, table)[:, kept]
    ours = np.take_along_axis(states, golden.sampled_dims(*states.shape), axis=2)
    assert ours.shape == stored.shape
    real = table.mask()[kept]
    assert np.abs(ours - stored)[:, real].max() < 1e-4
    # what MiniLM says of [PAD] is ill-conditioned: float32 transformers is 3.7e-4 from float64 transformers there
    assert np.abs(ours - stored)[:, ~real].max() < 1e-3


@pytest.mark.oracle
def test_every_hidden_state_equals_the_oracle(minilm, table):
    pytest.importorskip("torch")
    ids, mask, theirs = golden.oracle_minilm(minilm)
    np.testing.assert_array_equal(table.ids, ids)
    np.testing.assert_array_equal(table.mask(), mask)
    ours = all_hidden(minilm, table)
    worst = np.abs(ours - theirs)[:, mask].max(axis=(1, 2))
    print("largest difference at real tokens, by layer:", worst)
    assert worst.max() < 1e-4
    _, _, exact = golden.oracle_minilm(minilm, "float64")
    ours_off, theirs_off = (np.abs(states - exact)[:, ~mask].max() for states in (ours, theirs))
    print(f"at padding, from float64: ours {ours_off:.1e}, transformers in float32 {theirs_off:.1e}")
    assert ours_off < 2 * theirs_off  # rounding alone


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize(
    "kind", ["BertModel", "BertForMaskedLM", "BertForPreTraining", "BertForSequenceClassification"]
)
def test_what_transformers_saves_is_what_we_load(kind, dtype, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    config = golden.tiny_config("chinese")
    model = getattr(transformers, kind)(transformers.BertConfig(**config)).eval().to(getattr(torch, dtype))
    model.save_pretrained(tmp_path, max_shard_size="20KB" if kind == "BertForMaskedLM" else "5GB")
    module, params = load_bert(tmp_path)
    ids, mask, _ = golden.tiny_inputs(config)
    encoder = model.float() if kind == "BertModel" else model.float().bert
    ours = np.stack(module.apply({"params": params}, ids, mask))
    np.testing.assert_allclose(ours, golden.oracle_hidden(encoder, ids, mask), rtol=0, atol=1e-5)


@pytest.mark.oracle
@pytest.mark.parametrize("options", [{}, {"do_lower_case": False}, {"strip_accents": False}])
def test_a_vocabulary_alone_tokenizes_as_transformers_does(options, minilm, tmp_path):
    import json

    transformers = pytest.importorskip("transformers")
    (tmp_path / "vocab.txt").write_bytes((minilm / "vocab.txt").read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", **options}))
    theirs = transformers.BertTokenizer.from_pretrained(tmp_path)(golden.SENTENCES, truncation=True, max_length=64)
    ours = load_tokenizer(tmp_path, 64).tokenize(golden.SENTENCES)
    assert [list(ids[:n]) for ids, n in zip(ours.ids, ours.lengths, strict=True)] == theirs["input_ids"]
