"""VAE, the variational autoencoder of the paper: AE with a drawn code [P 5.2]."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp

from gcad_jax.core import fields
from gcad_jax.core.types import Array, Images, Metrics
from gcad_jax.methods.common.reconstruction import ReconstructionMethod


@dataclasses.dataclass(eq=False)
class VAE(ReconstructionMethod):
    """The variational autoencoder; scores are those of the mean code."""

    title: ClassVar[str] = "VAE"
    variational: ClassVar[bool] = True

    kl_weight: float = fields.field(1.0, fields.NOT_NEGATIVE)
    """Factor on the divergence from the normal prior; 1 is the evidence bound of a
    decoder with unit variance [ours: the paper does not say]."""

    def code_costs(
        self, mean: Array, log_variance: Array | None, images: Images
    ) -> tuple[list[Array], Metrics]:
        """kl_weight * 2 / N * KL with N values an image; and KL.

        Added to the mean squared error it is the negative evidence bound over N / 2.
        """
        assert log_variance is not None  # the code of this network has one
        divergence = jnp.mean(kl_divergence(mean, log_variance))
        cost = self.kl_weight * 2 / images[0].size * divergence
        return [cost], {"L_KL": divergence}


def kl_divergence(mean: Array, log_variance: Array) -> Array:  # (B, g) -> (B,)
    """Of N(mean, variance) from N(0, 1), in nats, summed over the dimensions."""
    terms = jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance
    return jnp.sum(terms, axis=-1) / 2
