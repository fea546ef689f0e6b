"""MobileNetV2 1.0 (arXiv 1801.04381), frozen."""

from gcad_jax.models.classifiers.inverted_residuals import InvertedResiduals, Stage

STAGES = (
    Stage(1, 16, 1, 1),
    Stage(6, 24, 2, 2),
    Stage(6, 32, 3, 2),
    Stage(6, 64, 4, 2),
    Stage(6, 96, 3, 1),
    Stage(6, 160, 3, 2),
    Stage(6, 320, 1, 1),
)

# Weights of TensorFlow: 'SAME' paddings, input in [-1, 1], class 0 is the background.
MOBILENET_V2 = InvertedResiduals(STAGES, num_classes=1001)
# Weights of PyTorch, as of torchvision and timm.
MOBILENET_V2_TORCH = InvertedResiduals(STAGES, num_classes=1000, same=False)
