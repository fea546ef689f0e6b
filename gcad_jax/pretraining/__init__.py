"""E_loc learned from a classification network on natural images."""
