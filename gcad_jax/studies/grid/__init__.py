"""Studies that are a grid of data sets and runs."""
