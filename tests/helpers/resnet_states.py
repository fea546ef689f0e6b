"""State dicts of ResNets as torchvision publishes them, with random values."""

import numpy as np

DEPTHS = {"resnet18": (2, 2, 2, 2), "wide_resnet50_2": (3, 4, 6, 3)}


def shapes(arch):
    """Key -> shape, written from the published definition of the networks."""
    found = {}

    def conv(key, norm, out, inputs, kernel):
        found[f"{key}.weight"] = (out, inputs, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            found[f"{norm}.{part}"] = (out,)
        found[f"{norm}.num_batches_tracked"] = ()

    conv("conv1", "bn1", 64, 3, 7)
    width = 64
    for i, depth in enumerate(DEPTHS[arch]):
        base = 64 * 2**i
        for j in range(depth):
            stem = f"layer{i + 1}.{j}"
            if arch == "resnet18":
                convs = [(base, width, 3), (base, base, 3)]
            else:
                inner = 2 * base
                convs = [(inner, width, 1), (inner, inner, 3), (4 * base, inner, 1)]
            for k, (out, inputs, kernel) in enumerate(convs, start=1):
                conv(f"{stem}.conv{k}", f"{stem}.bn{k}", out, inputs, kernel)
            if j == 0 and width != convs[-1][0]:
                conv(
                    f"{stem}.downsample.0",
                    f"{stem}.downsample.1",
                    convs[-1][0],
                    width,
                    1,
                )
            width = convs[-1][0]
    return found | {"fc.weight": (1000, width), "fc.bias": (1000,)}


def random_state(arch, seed=0):
    """Values that keep the features of the order of 1 through the layers."""
    draw, state = np.random.default_rng(seed), {}
    for key, shape in shapes(arch).items():
        part = key.rpartition(".")[2]
        if part == "num_batches_tracked":
            state[key] = np.array(7)
        elif part == "running_var":
            state[key] = draw.uniform(0.5, 1.5, shape)
        elif part == "running_mean" or part == "bias":
            state[key] = 0.1 * draw.normal(size=shape)
        elif len(shape) == 1:  # the scale of a batch norm; the last of a block small
            last = "bn3" in key or ("bn2" in key and arch == "resnet18")
            state[key] = draw.uniform(0.2, 0.4, shape) * (1 if last else 3)
        else:
            state[key] = draw.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
    return {
        key: value if value.dtype.kind == "i" else value.astype(np.float32)
        for key, value in state.items()
    }
