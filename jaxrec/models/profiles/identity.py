"""The profile is the summary itself: the control that every other head must beat."""

import flax.linen as nn

from jaxrec.models.profiles.interface import Known, Profile


class Identity(nn.Module):
    """Adds nothing; a linear map only where the widths differ."""

    dim: int = 64

    @property
    def reads(self) -> tuple[str, ...]:
        return ()

    @nn.compact
    def __call__(self, known: Known, *, train: bool) -> Profile:
        vector = known.summary
        if vector.shape[-1] != self.dim:
            vector = nn.Dense(self.dim, use_bias=False, name="project")(vector)
        return Profile(vector, {})
