"""What version 0.1.0 packed is read as it is, and gives the same examples."""

import hashlib
import os
import shutil

import pytest
from helpers import outside

from gcad_jax.data.loco import MvtecLocoAd
from gcad_jax.data.mvtec_ad import MvtecAd

TIME = 1_700_000_000  # of the files that were packed (make.py)


def name_of_cache(root, packed):
    """As 0.1.0 names it: by the folder, and by name, size and time of each file."""
    listing = hashlib.sha256()
    for name, size in packed["files"]:
        path = root / packed["category"] / name
        os.utime(path, (TIME, TIME))
        assert path.stat().st_size == size
        listing.update(f"{name}\0{size}\0{path.stat().st_mtime_ns}\n".encode())
    folder = str((root / packed["category"]).resolve())
    place = hashlib.sha256(folder.encode()).hexdigest()[:8]
    return f"{packed['cache']}-{place}-{listing.hexdigest()[:16]}"


def state(folder):
    """Contents, time and number of every file, and the names of all folders."""
    return {
        path.relative_to(folder): (
            path.is_file() and path.read_bytes(),
            path.stat().st_mtime_ns,
            path.stat().st_ino,
        )
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize(("name", "kind"), [("loco", MvtecLocoAd), ("ad", MvtecAd)])
def test_it_is_not_packed_again(name, kind, tmp_path):
    packed = outside.expected("packed")[name]
    files = outside.unpack("packed.tar.xz", tmp_path)
    cache = files / "cache" / name
    target = cache / "gcad_jax/tfds" / name_of_cache(files / name, packed)
    target.parent.mkdir(parents=True)
    shutil.move(cache / "packed", target)
    before = state(cache)

    category = packed["category"]
    data = kind(root=str(files / name), categories=(category,), cache_dir=str(cache))
    assert data.names() == (category,)
    loaded = data.load(category, 16, 3)
    assert state(cache) == before

    examples = packed["examples"]
    for split in ("train", "validation", "test"):
        pixels = getattr(loaded, split).tobytes()
        assert hashlib.sha256(pixels).hexdigest() == examples[split], split
    described = [
        [
            *(image.name, image.kind, image.height, image.width),
            [
                [
                    *(region.defect_name, region.saturation_threshold),
                    *(region.relative_saturation, region.pixels.tolist()),
                ]
                for region in image.regions
            ],
        ]
        for image in loaded.test_images
    ]
    assert described == examples["test_images"]
