"""The autoencoder head: compress what is known, rebuild it."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxrec.losses.reconstruction import gaussian_kl, mean_squared_error, multinomial
from jaxrec.models.profiles.interface import Known, Profile


class Autoencoder(nn.Module):
    """h = tanh(W_h x + b_h), x' = W_d h + b_d; the profile is a linear map of h.

    `rebuild="vectors"`: x' is the summary and the loss mean squared error. `rebuild="interactions"`: x' are logits over
    the catalog and the loss is multinomial (Mult-DAE); only for users. `variational=True` draws h from N(mu, sigma) in
    training and adds the KL term to the prior N(0, 1) (Mult-VAE; Liang et al., "Variational Autoencoders for
    Collaborative Filtering", WWW 2018, arXiv:1802.05814), weighted by `kl_weight`.

    Raises ValueError when interactions are to be rebuilt and there are none.
    """

    dim: int = 64
    hidden: int = 32
    rebuild: str = "vectors"
    variational: bool = False
    kl_weight: float = 0.2
    dropout: float = 0.0

    @property
    def reads(self) -> tuple[str, ...]:
        return ("counts",) if self.rebuild == "interactions" else ()

    @nn.compact
    def __call__(self, known: Known, *, train: bool) -> Profile:
        x = nn.Dropout(self.dropout, deterministic=not train)(known.summary)
        losses = {}
        if self.variational:
            mean = nn.Dense(self.hidden, name="mean")(x)
            log_variance = nn.Dense(self.hidden, name="log_variance", kernel_init=nn.initializers.zeros)(x)
            code = mean
            if train:
                losses["kl"] = self.kl_weight * gaussian_kl(mean, log_variance)
                noise = jax.random.normal(self.make_rng("dropout"), mean.shape, mean.dtype)
                code = mean + jnp.exp(0.5 * log_variance) * noise
        else:
            code = jnp.tanh(nn.Dense(self.hidden, name="encode")(x))
        if train:
            losses["reconstruction"] = self._reconstruction(code, known)
        return Profile(nn.Dense(self.dim, use_bias=False, name="project")(code), losses)

    def _reconstruction(self, code: jax.Array, known: Known) -> jax.Array:
        if self.rebuild == "interactions":
            if known.counts is None:
                raise ValueError(
                    "Autoencoder(rebuild='interactions') needs interactions; for items use rebuild='vectors'"
                )
            return multinomial(nn.Dense(known.counts.shape[-1], name="decode")(code), known.counts)
        if self.rebuild == "vectors":
            target = jax.lax.stop_gradient(known.summary)
            return mean_squared_error(nn.Dense(target.shape[-1], name="decode")(code), target)
        raise ValueError(f"Autoencoder.rebuild is {self.rebuild!r}; use 'vectors' or 'interactions'")
