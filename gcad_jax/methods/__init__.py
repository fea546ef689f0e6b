"""Losses, optimisers and scores: one file a method, one small protocol."""
