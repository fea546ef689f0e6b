"""The weights of E_loc that come with the package; docs/teacher.md describes them."""

import pathlib

from gcad_jax.checks import UserError
from gcad_jax.models.patch_descriptor import PatchDescriptor
from gcad_jax.models.patch_layers import ARCHS
from gcad_jax.models.pretrained import load_descriptor
from gcad_jax.types import Tree

FOLDER = pathlib.Path(__file__).parent / "weights"


def path(descriptor: PatchDescriptor) -> pathlib.Path:
    """The file for this p and d_loc of Student-Teacher.

    Raises:
      UserError: none comes with the package.
    """
    arch = descriptor.arch
    if ARCHS[arch].published:
        raise UserError(
            f"No weights of E_loc {arch!r} come with the package: convert published "
            f"ones (python -m gcad_jax.convert --arch={arch} --input=FILE "
            f"--output=E_loc_{descriptor.p}.npz) and set method.teacher to that file, "
            "or set it to 'random'."
        )
    found = FOLDER / f"E_loc_{descriptor.p}_{descriptor.d_loc}.npz"
    if not found.is_file():
        sizes = sorted(
            tuple(map(int, f.stem.split("_")[2:])) for f in FOLDER.glob("E_loc_*.npz")
        )
        raise UserError(
            f"No weights of E_loc come with the package for p = {descriptor.p} and "
            f"d_loc = {descriptor.d_loc}; they do for (p, d_loc) of {sizes}: take one "
            "of these, or set method.teacher to 'random' or to the path of weights of "
            "your own (configs/pretrain_teacher.py)."
        )
    return found


def load(descriptor: PatchDescriptor) -> Tree:
    """The 'params' of the descriptor, float32.

    Raises:
      UserError: none comes with the package for it; the sentence names the file where
        its width or slope is another one.
    """
    return load_descriptor(path(descriptor), descriptor)
