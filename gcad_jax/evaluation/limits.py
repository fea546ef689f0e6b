"""Limits of the false positive rate up to which areas are taken [P 5.4, Table 7]."""

LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)
