"""Weight files: reading, writing, converting."""
