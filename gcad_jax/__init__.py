"""GCAD and the methods it is compared with, in JAX (Bergmann et al., IJCV 2022)."""

__version__ = "0.1.0"
