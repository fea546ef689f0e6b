"""State dicts of EfficientAD's teachers, in both layouts, with random values."""

import functools

import numpy as np

# Kernel, inputs, outputs of each convolution; a ReLU follows all but the last, a 2x2
# mean pool the first two.
CONVOLUTIONS = {
    "pdn_small": ((4, 3, 128), (4, 128, 256), (3, 256, 256), (4, 256, 384)),
    "pdn_medium": (
        (4, 3, 256),
        (4, 256, 512),
        (1, 512, 512),
        (3, 512, 512),
        (4, 512, 384),
        (1, 384, 384),
    ),
}
POOLED = 2
STEMS = {
    ("pdn_small", "sequential"): ("0", "3", "6", "8"),
    ("pdn_small", "named"): ("conv1", "conv2", "conv3", "conv4"),
    ("pdn_medium", "sequential"): ("0", "3", "6", "8", "10", "12"),
    ("pdn_medium", "named"): ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6"),
}
OURS = {
    "pdn_small": ("conv1", "conv2", "conv3", "conv_out"),
    "pdn_medium": ("conv1", "conv2", "conv3", "conv4", "conv5", "conv_out"),
}


@functools.cache
def arrays(arch):
    """(weight (O, I, k, k), bias (O,)) of each convolution, float32; not to change."""
    rng = np.random.default_rng(len(arch))
    found = []
    for k, inputs, outputs in CONVOLUTIONS[arch]:
        scale = (2 / (inputs * k * k)) ** 0.5
        weight = rng.normal(size=(outputs, inputs, k, k), scale=scale)
        bias = rng.normal(size=outputs, scale=0.1)
        found.append((weight.astype(np.float32), bias.astype(np.float32)))
    return tuple(found)


def random_state(arch, layout="sequential"):
    """A state dict; the same values in both layouts."""
    state = {}
    for stem, (weight, bias) in zip(STEMS[arch, layout], arrays(arch), strict=True):
        state |= {f"{stem}.weight": weight, f"{stem}.bias": bias}
    return state


def variables(arch):
    """The same values under our names, with our axes."""
    return {
        "params": {
            name: {"kernel": weight.transpose(2, 3, 1, 0), "bias": bias}
            for name, (weight, bias) in zip(OURS[arch], arrays(arch), strict=True)
        }
    }
