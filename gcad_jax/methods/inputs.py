"""How networks see images: the scalings that several methods share."""

from gcad_jax.models.imagenet import imagenet_normalised

__all__ = ["imagenet_normalised"]
