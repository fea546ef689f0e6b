"""A small folder in the layout of MVTec LOCO AD, loaded."""

import numpy as np
from helpers import trees
from PIL import Image

from gcad_jax.data.loco import MvtecLocoAd
from gcad_jax.data.mvtec.cache import cache_folder


def data_of(folder, **fields):
    cache = folder.parent.parent / "cache"
    return MvtecLocoAd(
        root=str(folder.parent),
        categories=(folder.name,),
        cache_dir=str(cache),
        **fields,
    )


def load(folder, size=16, channels=3):
    return data_of(folder).load(folder.name, size, channels)


def zoomed(seed, size=16):
    image = Image.fromarray(trees.noise(seed))
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))


def packed(folder):
    cache = cache_folder(str(folder.parent.parent / "cache"))
    return sorted(cache.iterdir()) if cache.is_dir() else []
