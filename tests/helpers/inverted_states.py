"""State dicts of MobileNetV2 and EfficientNet-Lite0, with random values.

The tables are those of the publications; the keys were read off the libraries.
"""

import numpy as np

# (expansion, kernel, width, stride) of each block.
MOBILENET = [
    (1, 3, 16, 1),
    *[(6, 3, 24, s) for s in (2, 1)],
    *[(6, 3, 32, s) for s in (2, 1, 1)],
    *[(6, 3, 64, s) for s in (2, 1, 1, 1)],
    *[(6, 3, 96, s) for s in (1, 1, 1)],
    *[(6, 3, 160, s) for s in (2, 1, 1)],
    (6, 3, 320, 1),
]
LITE0 = [
    (1, 3, 16, 1),
    *[(6, 3, 24, s) for s in (2, 1)],
    *[(6, 5, 40, s) for s in (2, 1)],
    *[(6, 3, 80, s) for s in (2, 1, 1)],
    *[(6, 5, 112, s) for s in (1, 1, 1)],
    *[(6, 5, 192, s) for s in (2, 1, 1, 1)],
    (6, 3, 320, 1),
]
TIMM, TORCHVISION, LITE_PYTORCH = "timm", "torchvision", "efficientnet-lite-pytorch"


def keys(blocks, dialect):
    """(key of the convolution, key of its batch norm), one after the other."""
    if dialect == TIMM:
        yield "conv_stem", "bn1"
    elif dialect == TORCHVISION:
        yield "features.0.0", "features.0.1"
    else:
        yield "_conv_stem", "_bn0"
    stage = place = 0
    widths = [width for _, _, width, _ in blocks]
    for number, (expansion, _, width, _) in enumerate(blocks):
        if number and width != widths[number - 1]:
            stage, place = stage + 1, 0
        wide = expansion > 1
        if dialect == TIMM:
            parts = (
                ["conv_pw", "conv_dw", "conv_pwl"] if wide else ["conv_dw", "conv_pw"]
            )
            for i, part in enumerate(parts, start=1):
                stem = f"blocks.{stage}.{place}"
                yield f"{stem}.{part}", f"{stem}.bn{i}"
        elif dialect == TORCHVISION:
            stem = f"features.{number + 1}.conv"
            if wide:
                yield f"{stem}.0.0", f"{stem}.0.1"
                yield f"{stem}.1.0", f"{stem}.1.1"
                yield f"{stem}.2", f"{stem}.3"
            else:
                yield f"{stem}.0.0", f"{stem}.0.1"
                yield f"{stem}.1", f"{stem}.2"
        else:
            stem = f"_blocks.{number}"
            if wide:
                yield f"{stem}._expand_conv", f"{stem}._bn0"
            yield f"{stem}._depthwise_conv", f"{stem}._bn1"
            yield f"{stem}._project_conv", f"{stem}._bn2"
        place += 1
    if dialect == TIMM:
        yield "conv_head", "bn2"
    elif dialect == TORCHVISION:
        yield f"features.{len(blocks) + 1}.0", f"features.{len(blocks) + 1}.1"
    else:
        yield "_conv_head", "_bn1"


LAST = {TIMM: "classifier", TORCHVISION: "classifier.1", LITE_PYTORCH: "_fc"}


def layers(blocks):
    """(kernel shape as PyTorch's, stride, groups) of every convolution."""
    yield (32, 3, 3, 3), 2, 1
    width = 32
    for expansion, kernel, out, stride in blocks:
        inner = expansion * width
        if expansion > 1:
            yield (inner, width, 1, 1), 1, 1
        yield (inner, 1, kernel, kernel), stride, inner
        yield (out, inner, 1, 1), 1, 1
        width = out
    yield (1280, width, 1, 1), 1, 1


def random_state(blocks, dialect, seed=0):
    """Values that keep the features of the order of 1; 1000 classes."""
    draw, state = np.random.default_rng(seed), {}
    for (conv, norm), (shape, _, _) in zip(
        keys(blocks, dialect), layers(blocks), strict=True
    ):
        out, fan_in = shape[0], np.prod(shape[1:])
        state[f"{conv}.weight"] = draw.normal(size=shape) * np.sqrt(1.5 / fan_in)
        state[f"{norm}.weight"] = draw.uniform(0.7, 1.2, out)
        state[f"{norm}.bias"] = 0.1 * draw.normal(size=out)
        state[f"{norm}.running_mean"] = 0.1 * draw.normal(size=out)
        state[f"{norm}.running_var"] = draw.uniform(0.8, 1.2, out)
        state[f"{norm}.num_batches_tracked"] = np.array(7)
    state[f"{LAST[dialect]}.weight"] = draw.normal(size=(1000, 1280)) / np.sqrt(1280)
    state[f"{LAST[dialect]}.bias"] = 0.1 * draw.normal(size=1000)
    return {
        key: value if value.dtype.kind == "i" else value.astype(np.float32)
        for key, value in state.items()
    }


def forward(state, blocks, dialect, x, same, epsilon):
    """Feature maps by NumPy, float64, of normalized (H, W, 3).

    Returns the output of every block, and the last map.
    """
    convolutions = zip(keys(blocks, dialect), layers(blocks), strict=True)

    def convolved(x):
        (conv, norm), (shape, stride, groups) = next(convolutions)
        weight = state[f"{conv}.weight"].astype(np.float64)
        kernel = shape[2]
        sides = []
        for length in x.shape[:2]:
            missing = max((-(-length // stride) - 1) * stride + kernel - length, 0)
            both = (missing // 2, missing - missing // 2)
            sides.append(both if same else (kernel // 2, kernel // 2))
        padded = np.pad(x, (*sides, (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(
            padded, (kernel,) * 2, (0, 1)
        )
        windows = windows[::stride, ::stride]  # (h, w, C, k, k)
        terms = "hwcij,cij->hwc" if groups > 1 else "hwcij,ocij->hwo"
        y = np.einsum(terms, windows, weight[:, 0] if groups > 1 else weight)
        scale, bias, mean, variance = (
            state[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (y - mean) / np.sqrt(variance + epsilon) * scale + bias

    x, outputs = np.clip(convolved(x), 0, 6), []
    for expansion, _, width, stride in blocks:
        y = np.clip(convolved(x), 0, 6) if expansion > 1 else x
        y = convolved(np.clip(convolved(y), 0, 6))
        x = x + y if stride == 1 and width == x.shape[-1] else y
        outputs.append(x)
    return outputs, np.clip(convolved(x), 0, 6)
