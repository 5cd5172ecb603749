"""A variational autoencoder over whole histories: all that a user has in, a softmax over the catalog out."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from jaxrec.losses.reconstruction import gaussian_kl


class HistoryAutoencoder(nn.Module):
    """Mult-VAE (Liang et al., WWW 2018, arXiv:1802.05814): tanh(bag @ read) -> N(mean, variance) of `latent` numbers ->
    tanh -> what the rows of the catalog's output table are multiplied with.

    hidden: width of both layers beside the catalog. dropout: share of a history that is not read in training, so that
    it must be guessed (denoising). variational=False takes the mean for the sample: Mult-DAE.
    """

    hidden: int = 600
    latent: int = 200
    dropout: float = 0.5
    variational: bool = True

    @nn.compact
    def __call__(self, bags: Array, read: Array, *, train: bool = False) -> tuple[Array, Array]:
        """States [batch, hidden] and the KL term of each [batch].

        bags: float32 [batch, items], weights of what a user has, 0 for all else; read: [items, hidden], the table.
        """
        bags = bags / jnp.maximum(jnp.linalg.norm(bags, axis=1, keepdims=True), 1e-6)
        bags = nn.Dropout(self.dropout, deterministic=not train)(bags)
        bias = self.param("bias", nn.initializers.zeros, (self.hidden,))
        x = jnp.tanh(bags @ read + bias[None, :])
        code = nn.Dense(self.latent, name="mean")(x)
        kl = jnp.zeros(bags.shape[0])
        if self.variational:
            log_variance = nn.Dense(self.latent, name="log_variance", kernel_init=nn.initializers.zeros)(x)
            kl = gaussian_kl(code, log_variance)
            if train:
                noise = jax.random.normal(self.make_rng("dropout"), code.shape, code.dtype)
                code = code + jnp.exp(0.5 * log_variance) * noise
        return jnp.tanh(nn.Dense(self.hidden, name="decode")(code)), kl
