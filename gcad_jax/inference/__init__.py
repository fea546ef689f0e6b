"""A trained detector: its file, prediction, export."""
