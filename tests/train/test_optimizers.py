import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrec.errors import UserError
from jaxrec.train.optimizers import SGD, Adagrad, AdamW

PARAMS = {"dense": {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}, "critic": {"kernel": jnp.ones((2, 2))}}
ZEROS = jax.tree.map(jnp.zeros_like, PARAMS)
ONES = jax.tree.map(jnp.ones_like, PARAMS)


def first_update(config, grads, trainable=None):
    transform = config.build(10, trainable).transform
    return transform.update(grads, transform.init(PARAMS), PARAMS)[0]


def test_warm_up_is_linear_and_decay_follows_its_formula():
    rate = AdamW(0.1, warmup_steps=4, final_fraction=0.2).build(12).schedule
    np.testing.assert_allclose([rate(s) for s in range(4)], [0.025, 0.05, 0.075, 0.1], rtol=1e-6)
    np.testing.assert_allclose([rate(4), rate(8), rate(12)], [0.1, 0.1 * (0.2 + 0.8 * 0.5), 0.1 * 0.2], rtol=1e-6)
    linear = AdamW(0.1, schedule="linear", final_fraction=0.5).build(10).schedule
    np.testing.assert_allclose([linear(0), linear(5), linear(10)], [0.1, 0.075, 0.05], rtol=1e-6)
    constant = AdamW(0.1, warmup_steps=2, schedule="constant").build(10).schedule
    np.testing.assert_allclose([constant(0), constant(9)], [0.05, 0.1], rtol=1e-6)


def test_a_warm_up_that_fills_the_run_is_refused():
    with pytest.raises(UserError, match="warmup_steps=100 fills the run of 100 steps"):
        AdamW(warmup_steps=100).build(100)
    with pytest.raises(UserError, match="must be 'cosine', 'linear' or 'constant'"):
        AdamW(schedule="sine").build(100)


def test_weight_decay_leaves_biases_alone():
    update = first_update(AdamW(0.1, schedule="constant", weight_decay=0.5), ZEROS)
    np.testing.assert_allclose(update["dense"]["kernel"], -0.1 * 0.5, rtol=1e-6)
    np.testing.assert_array_equal(update["dense"]["bias"], 0)


def test_rates_slow_or_stop_what_they_name():
    config = AdamW(0.1, schedule="constant", weight_decay=0.0, rates=((r"^critic/", 0.5), (r"bias$", 0.0)))
    update = first_update(config, ONES)
    np.testing.assert_allclose(update["dense"]["kernel"], -0.1, rtol=1e-5)
    np.testing.assert_allclose(update["critic"]["kernel"], -0.05, rtol=1e-5)
    np.testing.assert_array_equal(update["dense"]["bias"], 0)


def test_frozen_leaves_stand_still_and_have_no_state_nor_say_in_clipping():
    trainable = {"dense": {"kernel": True, "bias": True}, "critic": {"kernel": False}}
    for config in (AdamW(0.1), SGD(0.1), Adagrad(0.1)):
        transform = config.build(10, trainable).transform
        state = transform.init(PARAMS)
        update, _ = transform.update(ONES, state, PARAMS)
        np.testing.assert_array_equal(update["critic"]["kernel"], 0)
        assert not any("critic" in jax.tree_util.keystr(p) for p, _ in jax.tree_util.tree_flatten_with_path(state)[0])
    huge = ONES | {"critic": {"kernel": jnp.full((2, 2), 1e9)}}
    clipped = optax.clip_by_global_norm(1.0).update(ONES["dense"], None)[0]
    moved = AdamW(0.1, schedule="constant", weight_decay=0.0, clip_norm=1.0, b1=0.0, b2=0.0, eps=1.0)
    update = first_update(moved, huge, trainable)["dense"]["kernel"]
    expected = -0.1 * clipped["kernel"] / (clipped["kernel"] + 1.0)
    np.testing.assert_allclose(update, expected, rtol=1e-5)


def test_sgd_and_adagrad_first_steps():
    np.testing.assert_allclose(first_update(SGD(0.3), ONES)["dense"]["bias"], -0.3, rtol=1e-6)
    expected = -0.3 / np.sqrt(0.1 + 1)
    np.testing.assert_allclose(first_update(Adagrad(0.3), ONES)["dense"]["bias"], expected, rtol=1e-5)
