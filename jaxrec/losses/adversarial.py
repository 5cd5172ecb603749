"""The two sides of a GAN: one value per example, from logits."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def critic_loss(on_real: Float[Array, " batch"], on_fake: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """-log D(x) - log(1 - D(G(z))), D = sigmoid(logit) (Goodfellow et al., arXiv:1406.2661)."""
    return jax.nn.softplus(-on_real) + jax.nn.softplus(on_fake)


def generator_loss(on_fake: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """-log D(G(z)), the non-saturating form (Goodfellow et al., arXiv:1406.2661, section 3)."""
    return jax.nn.softplus(-on_fake)


def gradient_penalty(critic: Callable, real: Float[Array, "batch dim"]) -> Float[Array, " batch"]:
    """|grad_x logit(x)|^2 at real examples (R1; Mescheder et al., arXiv:1801.04406, eq. 9, without the half)."""
    gradient = jax.grad(lambda x: critic(x).sum())(real)
    return jnp.square(gradient).sum(axis=-1)
