"""GCAD [P 4]: networks, losses, scoring and the method itself."""

from gcad_jax.methods.gcad.method import GCAD as GCAD

# Detector files name the class by its module, and must outlive how it is split.
GCAD.__module__ = __name__
