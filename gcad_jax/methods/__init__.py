"""Losses, optimizers and scores: one file or folder a method, one small protocol."""
