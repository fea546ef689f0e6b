"""The study of the saturation thresholds."""
