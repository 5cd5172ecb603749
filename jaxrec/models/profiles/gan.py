"""The GAN head: make the behaviour profile of a new item (or user) from its content."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.losses.adversarial import critic_loss, generator_loss, gradient_penalty
from jaxrec.losses.reconstruction import mean_squared_error
from jaxrec.models.profiles.interface import Known, Profile, behaviour_target


def _critic(weights: dict, content: jax.Array, profile: jax.Array) -> jax.Array:
    """Logit [batch] that `profile` was learned from behaviour, given the content."""
    joined = jnp.concatenate([content, profile], axis=-1)
    hidden = nn.leaky_relu(joined @ weights["hidden"]["kernel"] + weights["hidden"]["bias"][None, :], 0.2)
    return (hidden @ weights["out"]["kernel"])[:, 0] + weights["out"]["bias"]


class Gan(nn.Module):
    """A generator G(content, z) beside a critic D(content, profile), trained in one gradient call.

    `stop_gradient` decides who learns from what: the generator's loss does not move the critic, the critic's loss does
    not move the generator. Losses: L_D = -E[log D(x)] - E[log(1 - D(G(z)))] with gradient penalty, and
    L_G = -E[log D(G(z))] (Goodfellow et al., arXiv:1406.2661, the non-saturating form; penalty: Mescheder et al.,
    arXiv:1801.04406, R1), plus `match_weight` times the squared error to the behaviour profile. x is the profile
    learned from behaviour, for those who have one (as in GAR, SIGIR 2022). `adversarial=False` is the plain-regression
    twin: the squared error alone. z is zero outside training, so profiles are deterministic.
    """

    dim: int = 64
    hidden: int = 64
    noise: int = 8
    adversarial: bool = True
    match_weight: float = 1.0
    penalty_weight: float = 1.0
    dropout: float = 0.0

    @property
    def reads(self) -> tuple[str, ...]:
        return ()

    @nn.compact
    def __call__(self, known: Known, *, train: bool) -> Profile:
        content = nn.Dropout(self.dropout, deterministic=not train)(known.content)
        batch, width = content.shape
        noise = jnp.zeros((batch, self.noise), content.dtype)
        if train and self.adversarial:
            noise = jax.random.normal(self.make_rng("dropout"), noise.shape, noise.dtype)
        hidden = nn.gelu(nn.Dense(self.hidden, name="generator_hidden")(jnp.concatenate([content, noise], axis=-1)))
        fake = nn.Dense(self.dim, name="generator_out")(hidden)
        if not train:
            return Profile(fake, {})
        real, has_real = behaviour_target(known), known.behaviour_mask.astype(fake.dtype)
        has_real = has_real / jnp.maximum(
            has_real.mean(), 1e-6
        )  # so that a mean over all is one over those who have it
        losses = {"match": self.match_weight * mean_squared_error(fake, real) * has_real}
        if self.adversarial:
            weights = self.param("critic", self._init_critic, width + self.dim)
            fixed_content, fixed_fake = jax.lax.stop_gradient((content, fake))
            on_real = _critic(weights, fixed_content, real)
            on_fake = _critic(weights, fixed_content, fixed_fake)
            penalty = gradient_penalty(lambda x: _critic(weights, fixed_content, x), real)
            losses["critic"] = critic_loss(on_real, on_fake) * has_real + self.penalty_weight * penalty * has_real
            frozen = jax.lax.stop_gradient(weights)
            losses["generator"] = generator_loss(_critic(frozen, fixed_content, fake))
        return Profile(fake, losses)

    def _init_critic(self, key: jax.Array, width: int) -> dict:
        init = nn.initializers.lecun_normal()
        first, second = jax.random.split(key)
        return {
            "hidden": {"kernel": init(first, (width, self.hidden)), "bias": jnp.zeros((self.hidden,))},
            "out": {"kernel": init(second, (self.hidden, 1)), "bias": jnp.zeros(())},
        }
