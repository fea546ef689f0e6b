"""EfficientNet-Lite0, frozen: EfficientNet-B0 (arXiv 1905.11946) for small devices.

Lite: no squeeze-and-excitation, and ReLU6 for swish; stem and head are not scaled.
"""

from gcad_jax.core.types import Array, Images
from gcad_jax.models.classifiers.inverted_residuals import InvertedResiduals, Stage

STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 40, 2, 2, kernel=5),
    Stage(6, 80, 3, 2),
    Stage(6, 112, 3, 1, kernel=5),
    Stage(6, 192, 4, 2, kernel=5),
    Stage(6, 320, 1, 1),
)

# Weights of TensorFlow, also where others keep them in PyTorch's files.
EFFICIENTNET_LITE0 = InvertedResiduals(STAGES, num_classes=1000)
# Weights trained in PyTorch, as timm's efficientnet_lite0.
EFFICIENTNET_LITE0_TORCH = InvertedResiduals(STAGES, num_classes=1000, same=False)


def lite_normalized(images: Images) -> Array:
    """(B, H, W, 3) in [0, 1] -> what EfficientNet-Lite was trained on."""
    return (255.0 * images - 127.0) / 128.0
