"""Both key styles, other heads, other dtypes and shards load alike; what does not fit is named."""

import json

import golden_checkpoints as checkpoints
import jax
import make_bert_golden as golden
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxrec.errors import DataError, UserError
from jaxrec.models.encoders.bert import Bert
from jaxrec.models.encoders.bert_weights import bert_of, convert, load_bert, weight_files

CONFIG = golden.tiny_config("english")
WEIGHTS = golden.tiny_weights(CONFIG)
HEADS = {
    "bert.pooler.dense.weight": np.ones((24, 24), np.float32),
    "cls.predictions.bias": np.ones(60, np.float32),
    "cls.predictions.transform.LayerNorm.gamma": np.ones(24, np.float32),
    "cls.seq_relationship.weight": np.ones((2, 24), np.float32),
    "bert.embeddings.position_ids": np.arange(20)[None],
}


def old_style(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


STYLES = {
    "plain": WEIGHTS,
    "prefixed": {f"bert.{name}": tensor for name, tensor in WEIGHTS.items()},
    "gamma and beta": {old_style(name): tensor for name, tensor in WEIGHTS.items()},
    "pretraining": {f"bert.{old_style(name)}": tensor for name, tensor in WEIGHTS.items()} | HEADS,
}


def equal(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **(tolerance or {"rtol": 0})), a, b)


@pytest.mark.parametrize("style", STYLES)
def test_every_key_style_gives_the_same_parameters(style, tmp_path):
    module, params = load_bert(checkpoints.write(tmp_path, CONFIG, STYLES[style]))
    assert module == bert_of(CONFIG)
    equal(params, convert(module, WEIGHTS))


def test_parameters_are_exactly_what_the_module_makes():
    module = bert_of(CONFIG)
    ids, mask, _ = golden.tiny_inputs(CONFIG)
    made = jax.eval_shape(module.init, jax.random.key(0), ids, mask)["params"]
    converted = convert(module, WEIGHTS)
    assert jax.tree.map(np.shape, converted) == jax.tree.map(lambda leaf: leaf.shape, made)
    assert {leaf.dtype for leaf in jax.tree.leaves(converted)} == {np.dtype(np.float32)}


@pytest.mark.parametrize(("dtype", "precision"), [(np.float16, 1e-3), (ml_dtypes.bfloat16, 1e-2)])
def test_half_precision_is_widened(dtype, precision, tmp_path):
    half = {name: tensor.astype(dtype) for name, tensor in WEIGHTS.items()}
    module, params = load_bert(checkpoints.write(tmp_path, CONFIG, half))
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
    equal(params, convert(module, WEIGHTS), rtol=precision, atol=1e-6)


def shards(directory):
    names = sorted(WEIGHTS)
    files = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    (directory / "config.json").write_text(json.dumps(CONFIG))
    for file, part in files.items():
        save_file({name: WEIGHTS[name] for name in part}, directory / file)
    index = {"metadata": {}, "weight_map": {name: file for file, part in files.items() for name in part}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    return directory


def test_shards_are_read_together(tmp_path):
    module, params = load_bert(shards(tmp_path))
    equal(params, convert(module, WEIGHTS))


def test_a_missing_shard_and_a_path_outside_are_refused(tmp_path):
    shards(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(DataError, match=r"model-00002-of-00002.safetensors: missing"):
        load_bert(tmp_path)
    index = {"weight_map": {"a": "../outside.safetensors"}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match="'../outside.safetensors', which is not a file of this directory"):
        weight_files(tmp_path)


def test_what_does_not_fit_is_listed_with_shapes():
    tensors = dict(WEIGHTS)
    del tensors["encoder.layer.1.output.dense.bias"]
    tensors["encoder.layer.2.output.dense.bias"] = np.zeros(24, np.float32)
    tensors["embeddings.word_embeddings.weight"] = np.zeros((61, 24), np.float32)
    with pytest.raises(DataError) as caught:
        convert(bert_of(CONFIG), tensors, origin="here")
    assert str(caught.value) == (
        "here: the weights do not fit config.json\n"
        "  missing (1):\n    encoder.layer.1.output.dense.bias (24,)\n"
        "  unexpected (1):\n    encoder.layer.2.output.dense.bias (24,)\n"
        "  wrong shape (1):\n    embeddings.word_embeddings.weight: (61, 24), config.json says (60, 24)"
    )
    assert caught.value.exit_code == 4


def test_a_tensor_that_stands_twice_is_unexpected():
    tensors = WEIGHTS | {"bert.embeddings.LayerNorm.weight": WEIGHTS["embeddings.LayerNorm.weight"]}
    with pytest.raises(DataError, match=r"unexpected \(1\):\n    bert.embeddings.LayerNorm.weight \(24,\)"):
        convert(bert_of(CONFIG), tensors)


def test_a_foreign_checkpoint_lists_the_first_names_only():
    with pytest.raises(DataError, match=r"missing \(37\):[\s\S]*and 17 more[\s\S]*unexpected \(37\):\n    roberta\."):
        convert(bert_of(CONFIG), {f"roberta.{name}": tensor for name, tensor in WEIGHTS.items()})


def test_pickled_weights_are_refused_with_the_way_out(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(UserError, match=r"has pytorch_model.bin but no model.safetensors[\s\S]*save_pretrained"):
        load_bert(tmp_path)


def test_damaged_weights_are_named(tmp_path):
    checkpoints.write(tmp_path, CONFIG, WEIGHTS)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"model.safetensors: damaged .*; copy it again"):
        load_bert(tmp_path)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 90868376\n")
    with pytest.raises(DataError, match="a Git LFS pointer, not the weights"):
        load_bert(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "roberta"}, "a 'roberta' model"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type 'relative_key'"),
        ({"is_decoder": True}, "is_decoder=true"),
        ({"hidden_act": "gelu_x"}, "hidden_act 'gelu_x'; it is one of gelu"),
        ({"num_attention_heads": 5}, "hidden_size 24, not a multiple of num_attention_heads 5"),
    ],
)
def test_variants_that_are_not_built_are_refused(change, message):
    with pytest.raises(UserError, match=message):
        bert_of(CONFIG | change)


def test_config_is_missing_or_broken(tmp_path):
    with pytest.raises(UserError, match=r"config.json: no such file"):
        load_bert(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config.json: not valid JSON"):
        load_bert(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"model.safetensors: no such file"):
        load_bert(tmp_path)


def test_absent_keys_of_a_config_are_those_of_bert_base():
    assert bert_of({"vocab_size": 21_128}) == Bert(vocab_size=21_128)
