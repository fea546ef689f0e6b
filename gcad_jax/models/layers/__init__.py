"""Layers and initializers that several networks share."""
