"""One step on several devices: the layouts."""
