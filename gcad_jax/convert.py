"""python -m gcad_jax.convert --arch=resnet18 --input=FILE --output=FILE.npz

Published weights of a classification network, or of a teacher of EfficientAD -> a
weight file of this program.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from absl import flags
from etils import epath
from flax.traverse_util import unflatten_dict

from gcad_jax.cli import shared_flags
from gcad_jax.cli.shared_flags import SHARED_HELP, fail, parse_all
from gcad_jax.core.atomic_files import check_writable
from gcad_jax.core.checks import one_of
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, fingerprint, is_same_file
from gcad_jax.models.classifiers.classifier import CLASSIFIERS, save_classifier
from gcad_jax.models.io.conversion import CONVERSIONS, read_tensors
from gcad_jax.models.io.patch_descriptors import save_descriptor
from gcad_jax.models.patch_descriptor import published
from gcad_jax.models.patch_layers import PDNS

NAMES = ("arch", "input", "output")
for _name in NAMES:
    flags.DEFINE_string(_name, None, "See --help.")


def convert(arch: str, source: str, output: str) -> str:
    """Converts a file of published weights; returns a sentence of what was written.

    Raises:
      UserError: another architecture, a file that cannot be read, a tensor that is
        unknown, missing, of another shape or not finite; nothing is written then.
    """
    one_of("--arch", arch, CONVERSIONS)
    target = as_path(output)
    if target.suffix != ".npz":
        raise UserError(f"--output={output} must end in .npz.")
    if is_same_file(target, source):
        raise UserError(
            f"--output={output} is the file of --input; give another name, so that "
            "the published weights are kept."
        )
    check_writable(target.parent, [target.name], "output")
    tensors = read_tensors(source)
    arrays = CONVERSIONS[arch](tensors, source)
    digest = hashlib.sha256(as_path(source).read_bytes()).hexdigest()
    origin = {"file": as_path(source).name, "sha256": digest}
    SAVERS[arch](target, arch, arrays, origin)
    count = sum(array.size for array in arrays.values())
    return (
        f"{target}: {arch}, {len(arrays)} arrays, {count:,} parameters, "
        f"{fingerprint(target)[0] / 1e6:.1f} MB"
    )


def save_pdn(
    path: epath.Path,
    arch: str,
    arrays: Mapping[str, np.ndarray],
    source: Mapping[str, Any],
) -> None:
    """Writes a patch description network as weights of E_loc, atomically."""
    params = unflatten_dict(arrays, sep="/")
    save_descriptor(path, params, published(arch), source=source)


SAVERS: Mapping[str, Callable[..., None]] = {
    **dict.fromkeys(CLASSIFIERS, save_classifier),
    **dict.fromkeys(PDNS, save_pdn),
}


def main(_: list[str]) -> None:
    """Converts; a user's mistake is one sentence and exit code 2."""
    values = flags.FLAGS.flag_values_dict()
    try:
        print(convert(values["arch"], values["input"], values["output"]))
    except UserError as error:
        fail(error, 2)


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; exits with one sentence for an unknown or missing one."""
    return parse_all(argv, NAMES, HELP, EXAMPLE, "flags begin with --")


EXAMPLE = "python -m gcad_jax.convert --arch=resnet18 --input=FILE --output=FILE.npz"
HELP = f"""\
Convert published weights: of a classification network, for pretraining, or of a
teacher of EfficientAD (a patch description network), which is then E_loc.

  python -m gcad_jax.convert --arch=ARCH --input=FILE --output=FILE.npz

  --arch     {", ".join(CLASSIFIERS)};
             {", ".join(PDNS)}
  --input    resnet18, wide_resnet50_2: the state dict of torchvision or timm
             (torchvision's weights: timm/resnet18.tv_in1k,
             timm/wide_resnet50_2.tv_in1k), .safetensors, or .pth if PyTorch is
             installed (it is read as tensors only; no code in it is run)
             mobilenet_v2: .npz of arrays '001.CONV_2D.w', '001.CONV_2D.b', ...
             in the order of the network (kernels OHWI, depthwise 1HWC, batch
             norms folded)
             pdn_small, pdn_medium: the teacher's state dict of
             nelson1425/EfficientAD or anomalib, with 384 outputs, .safetensors
             or .pth likewise
  --output   the weight file: of a classification network for --config.target
             of configs/pretrain_teacher.py; of a PDN, say E_loc_33.npz, for
               --config.method.teacher=E_loc_33.npz
               --config.method.E_loc_arch=pdn_small
               --config.method.d_loc=384 --config.method.P="(33,)"

{SHARED_HELP}
Exit codes: 0 done; 2 a mistake in flags or files, said in one sentence;
130 stopped by Ctrl-C; 1 anything else (a bug: please report it).
"""


def run() -> None:
    """Entry point."""
    shared_flags.run(main, parse)


if __name__ == "__main__":
    run()
