"""Step, devices, loop, checkpoints, logs."""
