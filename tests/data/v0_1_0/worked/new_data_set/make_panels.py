import pathlib

import numpy as np

draw = np.random.default_rng(0)


def leds(count, out=None):
    """Grey images of four lamps, one of which may be out, in grey levels."""
    images = draw.integers(0, 40, (count, 48, 48), np.uint8)
    for lamp in range(4):
        images[:, 8:40, 4 + 11 * lamp : 11 + 11 * lamp] += 180 * (lamp != out)
    return images


kinds = ["good"] * 10 + ["lamp_out"] * 10
masks = np.zeros((20, 48, 48), np.uint8)
masks[10:, 8:40, 26:33] = 255
pathlib.Path("panels").mkdir(exist_ok=True)
np.savez(
    "panels/panel_a.npz",
    train=leds(40),
    validation=leds(10),
    test=np.concatenate([leds(10), leds(10, out=2)]),
    kinds=kinds,
    masks=masks,
)
