"""Ground truth masks and saturation thresholds."""
