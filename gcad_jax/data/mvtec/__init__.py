"""MVTec LOCO AD and MVTec AD: their files, TFDS builders and cache."""
