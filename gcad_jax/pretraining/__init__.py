"""Floor 4: E_loc learned from a classification network on natural images."""
