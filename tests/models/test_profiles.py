"""Profile heads: one interface, and what each of them promises."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxrec.losses.adversarial import critic_loss, generator_loss
from jaxrec.losses.reconstruction import gaussian_kl, mean_squared_error, multinomial
from jaxrec.models.profiles.autoencoder import Autoencoder
from jaxrec.models.profiles.contrastive import Contrastive
from jaxrec.models.profiles.gan import Gan
from jaxrec.models.profiles.identity import Identity
from jaxrec.models.profiles.interface import Known
from jaxrec.models.profiles.transformer import Transformer

pytestmark = pytest.mark.usefixtures("quick_compile")
BATCH, PARTS, WIDTH, DIM, ITEMS = 5, 4, 6, 3, 9


def known(seed=0, **changes) -> Known:
    rng = np.random.default_rng(seed)
    lengths = np.array([4, 3, 1, 0, 2])
    values = Known(
        summary=rng.normal(size=(BATCH, WIDTH)),
        parts=rng.normal(size=(BATCH, PARTS, WIDTH)),
        mask=np.arange(PARTS)[None, :] < lengths[:, None],
        content=rng.normal(size=(BATCH, WIDTH)),
        behaviour=rng.normal(size=(BATCH, DIM)),
        behaviour_mask=np.array([True, True, False, True, False]),
        counts=rng.integers(0, 3, (BATCH, ITEMS)),
    )
    as_floats = [jnp.asarray(x, bool if x.dtype == bool else jnp.float32) for x in values]
    return Known(*as_floats)._replace(**changes)


@cache
def start(head):
    """Parameters that are not at a special point: biases are not zero."""
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    shapes = jax.eval_shape(lambda: head.init(keys, known(), train=True).get("params", {}))
    rng = np.random.default_rng(2)
    return jax.tree.map(lambda p: jnp.asarray(0.4 * rng.normal(size=p.shape), p.dtype), shapes)


@partial(jax.jit, static_argnames=("head", "train"))
def run(head, params, data, train=False, seed=3):
    return head.apply({"params": params}, data, train=train, rngs={"dropout": jax.random.key(seed)})


HEADS = {
    "identity": Identity(DIM),
    "autoencoder": Autoencoder(DIM, hidden=4),
    "denoising": Autoencoder(DIM, hidden=4, dropout=0.5),
    "interactions": Autoencoder(DIM, hidden=4, rebuild="interactions"),
    "variational": Autoencoder(DIM, hidden=4, rebuild="interactions", variational=True),
    "gan": Gan(DIM, hidden=7, noise=2, dropout=0.3),
    "regression": Gan(DIM, hidden=7, adversarial=False),
    "contrastive": Contrastive(DIM, hidden=7),
    "causal": Transformer(DIM * 2, blocks=1, dropout=0.5),
    "fields": Transformer(DIM * 2, blocks=1, causal=False),
}


@pytest.mark.parametrize("name", HEADS)
def test_every_head_gives_one_vector_each_and_losses_one_value_each(name):
    head = HEADS[name]
    params = start(head)
    trained, asked = run(head, params, known(), train=True), run(head, params, known())
    assert asked.vector.shape == trained.vector.shape == (BATCH, head.dim)
    assert {value.shape for value in trained.losses.values()} <= {(BATCH,)}
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((trained, asked)))


@pytest.mark.parametrize("name", HEADS)
def test_profiles_are_deterministic_outside_training(name):
    head = HEADS[name]
    params = start(head)
    vectors = [head.apply({"params": params}, known(), train=False).vector for _ in range(2)]  # and need no rng
    np.testing.assert_array_equal(*vectors)


@pytest.mark.parametrize("name", HEADS)
def test_rows_do_not_see_each_other(name):
    head = HEADS[name]
    params, order = start(head), np.array([3, 0, 4, 2, 1])
    permuted = jax.tree.map(lambda x: x[order], known())
    np.testing.assert_allclose(
        run(head, params, permuted).vector, run(head, params, known()).vector[order], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("name", HEADS)
def test_a_head_needs_only_what_it_says_it_reads(name):
    head = HEADS[name]
    params = start(head)
    rest = {field: None for field in ("parts", "counts") if field not in head.reads}
    bare = run(head, params, known(**rest), train=True)
    full = run(head, params, known(), train=True)
    jax.tree.map(np.testing.assert_array_equal, bare, full)


def test_identity_is_the_summary_and_a_linear_map_where_widths_differ():
    data = known()
    assert start(Identity(WIDTH)) == {}
    np.testing.assert_array_equal(run(Identity(WIDTH), {}, data).vector, data.summary)
    params = start(Identity(DIM))
    np.testing.assert_allclose(
        run(Identity(DIM), params, data).vector, data.summary @ params["project"]["kernel"], rtol=1e-5
    )


def dense(params, x):
    return x @ params["kernel"] + (params["bias"] if "bias" in params else 0)


def test_the_autoencoder_is_its_formula():
    head, data = Autoencoder(DIM, hidden=4), known()
    params = start(head)
    raw = jax.tree.map(np.asarray, params)
    code = np.tanh(dense(raw["encode"], np.asarray(data.summary)))
    vector, losses = run(head, params, data, train=True)
    np.testing.assert_allclose(vector, dense(raw["project"], code), rtol=1e-5, atol=1e-6)
    rebuilt = dense(raw["decode"], code)
    np.testing.assert_allclose(losses["reconstruction"], ((rebuilt - data.summary) ** 2).mean(-1), rtol=1e-5)
    assert set(losses) == {"reconstruction"} and run(head, params, data).losses == {}


def test_the_target_of_the_reconstruction_is_fixed():
    """The gradient to the summary goes through the code alone: a constant summary is no way out."""
    head, data = Autoencoder(DIM, hidden=4), known()
    params = start(head)

    def loss(summary, target):
        code = jnp.tanh(params["encode"]["bias"][None] + summary @ params["encode"]["kernel"])
        return mean_squared_error(code @ params["decode"]["kernel"] + params["decode"]["bias"][None], target).sum()

    ours = jax.grad(lambda x: run(head, params, data._replace(summary=x), train=True).losses["reconstruction"].sum())(
        data.summary
    )
    np.testing.assert_allclose(ours, jax.grad(loss)(data.summary, data.summary), rtol=1e-4, atol=1e-6)


def test_interactions_are_rebuilt_under_a_multinomial_and_the_kl_is_weighted():
    head, data = Autoencoder(DIM, hidden=4, rebuild="interactions", variational=True, kl_weight=0.3), known()
    params = start(head)
    mean, log_variance = (
        data.summary @ params[name]["kernel"] + params[name]["bias"][None] for name in ("mean", "log_variance")
    )
    vector, losses = run(head, params, data, train=True)
    np.testing.assert_allclose(losses["kl"], 0.3 * gaussian_kl(mean, log_variance), rtol=1e-5)
    plain = Autoencoder(DIM, hidden=4, rebuild="interactions")
    params = start(plain)
    code = jnp.tanh(data.summary @ params["encode"]["kernel"] + params["encode"]["bias"][None])
    logits = code @ params["decode"]["kernel"] + params["decode"]["bias"][None]
    ours = run(plain, params, data, train=True).losses["reconstruction"]
    np.testing.assert_allclose(ours, multinomial(logits, data.counts), rtol=1e-5)
    assert logits.shape == (BATCH, ITEMS)


def test_the_code_is_drawn_in_training_only():
    head, data = HEADS["variational"], known()
    params = start(head)
    draws = np.stack([run(head, params, data, train=True, seed=seed).vector for seed in range(400)])
    asked = run(head, params, data).vector
    assert draws.std(axis=0).min() > 0.01
    error = draws.std(axis=0) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - asked) < 5 * error).all()  # the mean of the draws is the profile that is asked
    assert len({float(run(head, params, data, seed=seed).vector[0, 0]) for seed in range(3)}) == 1


def test_items_have_no_interactions_to_rebuild():
    with pytest.raises(ValueError, match="for items use rebuild='vectors'"):
        run(HEADS["interactions"], start(HEADS["interactions"]), known(counts=None), train=True)
    with pytest.raises(ValueError, match="rebuild is 'images'; use 'vectors' or 'interactions'"):
        start(Autoencoder(DIM, rebuild="images"))


GAN = Gan(DIM, hidden=7, noise=2, match_weight=0.7, penalty_weight=1.3)


def moved_by(head, params, name) -> set[str]:
    """The parameters that one of the head's losses has a gradient for."""
    grads = jax.grad(lambda p: run(head, p, known(), train=True).losses[name].sum())(params)
    return {"/".join(path) for path, leaf in flatten_dict(grads).items() if np.abs(leaf).max() > 0}


def test_each_side_of_the_gan_learns_from_its_own_loss_alone():
    params = start(GAN)
    critic = {"critic/hidden/kernel", "critic/hidden/bias", "critic/out/kernel", "critic/out/bias"}
    generator = {f"generator_{layer}/{leaf}" for layer in ("hidden", "out") for leaf in ("kernel", "bias")}
    assert {"/".join(path) for path in flatten_dict(params)} == critic | generator
    assert moved_by(GAN, params, "critic") == critic
    assert moved_by(GAN, params, "generator") == generator
    assert moved_by(GAN, params, "match") == generator


def test_the_gan_is_its_formula():
    params, data = start(GAN), known()
    vector, losses = run(GAN, params, data, train=True)
    weights = params["critic"]

    def critic(profile):
        hidden = jnp.concatenate([data.content, profile], axis=1) @ weights["hidden"]["kernel"]
        hidden = hidden + weights["hidden"]["bias"][None]
        return (jnp.where(hidden > 0, hidden, 0.2 * hidden) @ weights["out"]["kernel"])[:, 0] + weights["out"]["bias"]

    real, has = data.behaviour, np.asarray(data.behaviour_mask, np.float32)
    has = has * len(has) / has.sum()  # the mean over all is the mean over those who have a behaviour profile
    slope = jax.grad(lambda x: critic(x).sum())(real)
    penalty = np.square(slope).sum(-1)
    np.testing.assert_allclose(losses["match"], 0.7 * np.square(vector - real).mean(-1) * has, rtol=1e-5)
    np.testing.assert_allclose(losses["generator"], generator_loss(critic(vector)), rtol=1e-5)
    np.testing.assert_allclose(
        losses["critic"], (critic_loss(critic(real), critic(vector)) + 1.3 * penalty) * has, rtol=1e-5
    )


def test_who_has_no_behaviour_is_no_target_but_the_generator_still_learns():
    losses = run(GAN, start(GAN), known(), train=True).losses
    nobody = ~np.asarray(known().behaviour_mask)
    assert (losses["match"][nobody] == 0).all() and (losses["critic"][nobody] == 0).all()
    assert (losses["generator"][nobody] > 0).all()


def test_behaviour_is_a_target_and_gets_no_gradient():
    params = start(GAN)

    def total(behaviour):
        return sum(v.sum() for v in run(GAN, params, known(behaviour=behaviour), train=True).losses.values())

    np.testing.assert_array_equal(jax.grad(total)(known().behaviour), 0)


def test_the_regression_twin_has_no_critic_and_no_noise():
    twin = Gan(DIM, hidden=7, noise=2, adversarial=False)
    params = start(twin)
    assert set(params) == {"generator_hidden", "generator_out"}
    assert set(run(twin, params, known(), train=True).losses) == {"match"}
    draws = [run(twin, params, known(), train=True, seed=seed).vector for seed in range(2)]
    np.testing.assert_array_equal(*draws)
    noisy = [run(GAN, start(GAN), known(), train=True, seed=seed).vector for seed in range(2)]
    assert np.abs(noisy[0] - noisy[1]).max() > 1e-3


CAUSAL, FIELDS = Transformer(8, blocks=2, dropout=0.0), Transformer(8, blocks=2, causal=False, dropout=0.0)


def padded(data: Known, more: int) -> Known:
    junk = 9 * jnp.ones((BATCH, more, WIDTH))
    return data._replace(
        parts=jnp.concatenate([data.parts, junk], axis=1),
        mask=jnp.concatenate([data.mask, jnp.zeros((BATCH, more), bool)], axis=1),
    )


@pytest.mark.parametrize("head", [CAUSAL, FIELDS], ids=["causal", "fields"])
def test_padding_is_not_read(head):
    params = start(head)
    plain = run(head, params, known()).vector
    np.testing.assert_allclose(run(head, params, padded(known(), 3)).vector, plain, rtol=1e-4, atol=1e-5)
    other = known()
    other = other._replace(parts=jnp.where(other.mask[..., None], other.parts, -5.0))
    np.testing.assert_allclose(run(head, params, other).vector, plain, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", [CAUSAL, FIELDS], ids=["causal", "fields"])
def test_nothing_read_is_the_zero_profile(head):
    vectors = run(head, start(head), known()).vector
    assert np.abs(vectors[3]).max() == 0 and np.abs(np.delete(vectors, 3, axis=0)).max(axis=1).min() > 0.01


def states(head, params, data):
    """The final state of every part, [batch, parts, dim]."""
    _, seen = head.apply({"params": params}, data, train=False, capture_intermediates=True)
    return seen["intermediates"]["final_norm"]["__call__"][0]


def test_an_event_is_not_seen_by_earlier_ones_when_causal_and_by_all_fields_otherwise():
    changed = known()
    changed = changed._replace(parts=changed.parts.at[0, 2].add(1.0))
    for head, seen_by in ((CAUSAL, [False, False, True, True]), (FIELDS, [True] * 4)):
        params = start(head)
        before, after = states(head, params, known())[0], states(head, params, changed)[0]
        assert (np.abs(before - after).max(axis=-1) > 1e-4).tolist() == seen_by


def test_order_counts_in_a_history_and_old_events_share_a_position():
    data = known()
    flipped = data._replace(parts=data.parts.at[0].set(data.parts[0][jnp.array([1, 0, 2, 3])]))
    vectors = [run(CAUSAL, start(CAUSAL), d).vector[0] for d in (data, flipped)]
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3
    short = Transformer(8, blocks=1, dropout=0.0, max_parts=3)  # the two oldest of four stand on the same position
    vectors = [run(short, start(short), d).vector[0] for d in (data, flipped)]
    np.testing.assert_allclose(*vectors, rtol=1e-4, atol=1e-5)
