"""Data sets: from files to uint8 arrays on the device."""
