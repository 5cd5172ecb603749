"""Our Bert against transformers' hidden states (golden files made by make_bert_golden.py), and its own invariances."""

import jax
import jax.numpy as jnp
import make_bert_golden as golden
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxrec.models.encoders.bert import Bert, trainable_mask
from jaxrec.models.encoders.bert_weights import bert_of, convert


def tiny(name="english", **options):
    config = golden.tiny_config(name)
    module = bert_of(config, **options)
    return module, convert(module, golden.tiny_weights(config)), golden.tiny_inputs(config)


def apply(module, params, ids, mask, **options):
    return module.apply({"params": params}, ids, mask, **options)


@pytest.mark.parametrize("name", golden.TINY)
def test_hidden_states_equal_transformers_also_at_padding(name):
    module, params, (ids, mask, types) = tiny(name)
    ours = np.stack(apply(module, params, ids, mask, token_types=types))
    theirs = np.load(golden.GOLDEN / "bert_tiny.npz")[name]
    assert ours.shape == theirs.shape == (3, 4, 12, 24)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def test_padding_and_what_stands_in_it_change_nothing():
    module, params, (ids, mask, _) = tiny()
    short = apply(module, params, ids[1:2, :7], mask[1:2, :7])[-1]
    padded = apply(module, params, np.where(mask, ids, 9), mask)[-1]
    np.testing.assert_allclose(padded[1:2, :7], short, atol=2e-6)


def test_a_row_of_padding_stays_finite_also_in_the_gradient():
    module, params, (ids, mask, _) = tiny()
    gradient = jax.grad(lambda p: jnp.square(apply(module, p, ids, np.zeros_like(mask))[-1]).sum())(params)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_token_types_default_to_zero_and_are_felt():
    module, params, (ids, mask, _) = tiny()
    zeros, ones = np.zeros_like(ids), np.ones_like(ids)
    first = apply(module, params, ids, mask)[-1]
    np.testing.assert_array_equal(first, apply(module, params, ids, mask, token_types=zeros)[-1])
    assert np.abs(first - apply(module, params, ids, mask, token_types=ones)[-1]).max() > 0.1


def test_bfloat16_is_near_and_keeps_float32_parameters():
    module, params, (ids, mask, _) = tiny()
    half, _, _ = tiny(dtype="bfloat16")
    exact, near = apply(module, params, ids, mask)[-1], apply(half, params, ids, mask)[-1]
    assert near.dtype == jnp.bfloat16
    assert np.abs(np.asarray(near, np.float32) - exact)[mask].max() < 0.15
    shapes = jax.eval_shape(half.init, jax.random.key(0), ids, mask)
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}


def test_remat_gives_the_same_gradients():
    module, params, (ids, mask, _) = tiny()
    light, _, _ = tiny(remat=True)

    def gradient(m):
        return jax.grad(lambda p: jnp.square(apply(m, p, ids, mask)[-1][:, 0]).mean())(params)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), gradient(module), gradient(light))


def test_dropout_is_random_in_training_and_off_otherwise():
    module, params, (ids, mask, _) = tiny()

    def train(seed):
        return apply(module, params, ids, mask, deterministic=False, rngs={"dropout": jax.random.key(seed)})[-1]

    np.testing.assert_array_equal(train(0), train(0))
    assert np.abs(train(0) - train(1)).max() > 0.1


def test_more_tokens_than_positions_are_refused():
    module, params, _ = tiny()
    with pytest.raises(ValueError, match="21 tokens, but this BERT has 20 positions"):
        apply(module, params, np.zeros((1, 21), np.int32), np.ones((1, 21), bool))


def test_split_over_data_and_model_axes_equals_one_device():
    module, params, (ids, mask, _) = tiny()
    ids, mask = np.tile(ids, (2, 1)), np.tile(mask, (2, 1))
    mesh = jax.make_mesh((4, 2), ("data", "model"), axis_types=(AxisType.Auto,) * 2)

    def spec(path, leaf):
        split = P("model", None) if path[-1].key == "embedding" and leaf.shape[0] % 2 == 0 else P()
        return NamedSharding(mesh, P(None, "model") if path[-1].key == "kernel" else split)

    split_params = jax.device_put(params, jax.tree_util.tree_map_with_path(spec, params))
    split_batch = jax.device_put((ids, mask), NamedSharding(mesh, P("data", None)))
    ours = jax.jit(lambda p, i, m: apply(module, p, i, m)[-1])(split_params, *split_batch)
    np.testing.assert_allclose(ours, apply(module, params, ids, mask)[-1], atol=5e-6)


# BERT-base has 109,482,240 parameters with its pooler of 768 * 768 + 768 (Devlin et al.; transformers counts the same)
@pytest.mark.parametrize(("vocab_size", "parameters"), [(30_522, 109_482_240), (21_128, 102_267_648)])
def test_real_sizes_by_shapes_alone(vocab_size, parameters):
    """BERT-base, and bert-base-chinese with its 21,128 tokens."""
    module = Bert(vocab_size=vocab_size)
    ids, mask = jax.ShapeDtypeStruct((4_096, 512), jnp.int32), jax.ShapeDtypeStruct((4_096, 512), jnp.bool_)
    params = jax.eval_shape(module.init, jax.random.key(0), ids, mask)["params"]
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == parameters - (768 * 768 + 768)
    hidden = jax.eval_shape(lambda p, i, m: apply(module, p, i, m), params, ids, mask)
    assert [h.shape for h in hidden] == [(4_096, 512, 768)] * 13


def frozen_parts(mask):
    assert all(len(set(jax.tree.leaves(part))) == 1 for part in mask.values())
    return {name for name, part in mask.items() if not jax.tree.leaves(part)[0]}


def test_freezing():
    _, params, _ = tiny()
    assert frozen_parts(trainable_mask(params)) == set()
    assert frozen_parts(trainable_mask(params, train="none")) == {"embeddings", "layer_0", "layer_1"}
    assert frozen_parts(trainable_mask(params, freeze_lower=1)) == {"embeddings", "layer_0"}
    assert jax.tree.structure(trainable_mask(params)) == jax.tree.structure(params)
    with pytest.raises(ValueError, match="freeze_lower=3, but this BERT has 2 layers"):
        trainable_mask(params, freeze_lower=3)
    with pytest.raises(ValueError, match="train='some'"):
        trainable_mask(params, train="some")
