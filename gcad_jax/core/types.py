"""Array aliases. They carry meaning, not checks: the shape stands beside each.

B examples on this device, N images, H W pixels, C channels, D feature dimensions.
Everything an accelerator sees is NHWC.
"""

from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

Array: TypeAlias = jax.Array
ImagesU8: TypeAlias = np.ndarray  # (N, H, W, C) uint8, as stored on the device
Images: TypeAlias = jax.Array  # (B, H, W, C) float32 in [0, 1]
Features: TypeAlias = jax.Array  # (B, H, W, D)
AnomalyMaps: TypeAlias = jax.Array  # (B, H, W) float32, larger = more anomalous
ImageScores: TypeAlias = jax.Array  # (B,) float32, larger = more anomalous
Key: TypeAlias = jax.Array  # () typed PRNG key
Keys: TypeAlias = jax.Array  # (B,) typed PRNG keys, one an example
Metrics: TypeAlias = dict[str, jax.Array]  # name -> () float32
Tree: TypeAlias = Any  # any pytree of arrays

COMBINED = "A"  # name of the anomaly map that detects, among its branches [P 4]
MAP_MAXIMUM = "maximum of the map"  # image score of a method that has no other

# Of a network's arithmetic, by the field `precision`; parameters stay float32.
COMPUTE_TYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
