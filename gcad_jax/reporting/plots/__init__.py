"""Figures: one kind a file, one style for all."""
