"""The weights of E_loc that come with the package; docs/teacher.md describes them."""

import pathlib

from gcad_jax.checks import UserError
from gcad_jax.models.patch_descriptor import PatchDescriptor
from gcad_jax.models.patch_layers import ARCHS
from gcad_jax.models.pretrained import load_descriptor
from gcad_jax.models.weight_files import read_weights
from gcad_jax.types import Tree

FOLDER = pathlib.Path(__file__).parent / "weights"


def path(descriptor: PatchDescriptor) -> pathlib.Path:
    """The file for this p and d_loc of Student-Teacher.

    Raises:
      UserError: none comes with the package, or of another width or slope.
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
    header, _ = read_weights(found)
    for name, field in (("width", "E_loc_width"), ("slope", "slope")):
        if header.get(name) != getattr(descriptor, name):
            raise UserError(
                f"method.{field} is {getattr(descriptor, name)}, but the weights of "
                f"E_loc that come with the package for p = {descriptor.p} and d_loc = "
                f"{descriptor.d_loc} have {header.get(name)}: set it to that, or set "
                "method.teacher to 'random' or to the path of weights of your own."
            )
    return found


def load(descriptor: PatchDescriptor) -> Tree:
    """The 'params' of the descriptor, float32.

    Raises:
      UserError: none comes with the package for it, or the file is damaged.
    """
    return load_descriptor(path(descriptor), descriptor)
