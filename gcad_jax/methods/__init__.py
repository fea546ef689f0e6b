"""Losses, optimizers and scores: one file a method, one small protocol."""
