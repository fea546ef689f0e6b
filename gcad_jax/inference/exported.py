"""A detector as one exported program: loadable by JAX or ONNX Runtime alone.

Zoom, network, calibration and decision are traced with symbolic sides and serialized by
`jax.export`, the arrays of the detector as constants in it, or become an ONNX file
(`onnx_export`). The durable form of a detector is its file (`detector_file`): what JAX
promises of an exported file ends.
"""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax import export

from gcad_jax.core.atomic_files import atomic_file, check_writable
from gcad_jax.core.checks import one_of
from gcad_jax.core.console import print_line
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path
from gcad_jax.core.types import COMBINED, Array
from gcad_jax.data.resize import resize_images_jnp, upsample_jnp
from gcad_jax.inference import export_check
from gcad_jax.inference.detection import decide_batch
from gcad_jax.inference.detector import Detector
from gcad_jax.inference.detector_file import DetectorFile
from gcad_jax.inference.export_check import ExportDifference
from gcad_jax.inference.image_inputs import find_images, read_pixels
from gcad_jax.inference.load import load
from gcad_jax.inference.metadata import as_json, as_text
from gcad_jax.inference.onnx_detector import MAP, PACKAGES, OnnxDetector

ABOUT = ".json"  # behind the name of an exported file: what stands beside it
JAX, ONNX = "jax", "onnx"  # the formats
PLATFORMS = ("cpu", "cuda", "tpu")
BATCH = 2  # images that predict is asked about at once
NUM_COMPARED = 8  # images of the user that are compared
SIDES = "b, h, w"  # images, and their height and width
# Bytes of arrays: an exported file is a FlatBuffer, which holds no more.
LARGEST = 2 * 10**9
GUARANTEE = (
    "It can be loaded by a jax and jaxlib up to 6 months newer or 3 weeks older than "
    "those that exported it (docs.jax.dev, jax.export, compatibility guarantees); "
    "after that, export again from the detector file, which lasts."
)

# What an exported file computes: images -> results by their names.
Call: TypeAlias = Callable[[np.ndarray], dict[str, Any]]


def detection_program(
    stored: DetectorFile, fpr: float
) -> Callable[[Array], dict[str, Array]]:
    """What an exported file computes.

    fpr: false positive rate of images that sets the threshold, as `predict` has it.

    Returns a function of images (B, H, W, C) uint8, C of the method; all of one batch
    have one size, which may be any. It returns, as `Prediction` has it:
      "score" (B,) float32, "anomalous" (B,) bool, "p_value" (B,) float32;
      "anomaly_map" (B, H, W) float32; its pixels above the threshold are marked;
      "threshold" () float32.
    Where the score that decides is not the maximum of the map, pixels above another
    value are marked, and there are also
      "map_maximum" (B,) float32, "map_threshold" () float32.
    """

    def detect(images: Array) -> dict[str, Array]:
        # As JAX's arrays, in which traced row numbers can be looked up.
        state = jax.tree.map(jnp.asarray, stored.detector)
        pixels = resize_images_jnp(images, stored.image_size)
        maps, decision = decide_batch(stored, state, pixels, fpr)
        upsampled = upsample_jnp(maps[COMBINED], images.shape[1], images.shape[2])
        return decision | {"anomaly_map": upsampled}

    return detect


def export_detector(stored: DetectorFile, fpr: float) -> export.Exported:
    """The program, for every platform and every number and size of images.

    Raises:
      UserError: it would be larger than an exported file can be; a wrong `fpr`.
    """
    check_size(stored)
    sides = export.symbolic_shape(f"{SIDES}, {stored.method.channels}")
    images = jax.ShapeDtypeStruct(sides, jnp.uint8)
    traced = export.export(jax.jit(detection_program(stored, fpr)), platforms=PLATFORMS)
    return traced(images)


def check_size(stored: DetectorFile) -> None:
    """Raises UserError for a detector that no exported file can hold."""
    size = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(stored.detector))
    if size > LARGEST:
        raise UserError(
            f"the {stored.method.title} of {stored.category} holds {size / 1e9:.1f} "
            f"GB of arrays, and an exported file at most {LARGEST / 1e9:g} GB; export "
            "one that was trained on fewer images or with a smaller method.image_size, "
            "or take python -m gcad_jax.predict, which has no limit."
        )


def describe_export(
    stored: DetectorFile, fpr: float, form: str = JAX
) -> dict[str, Any]:
    """What stands beside an exported file: how to call it and what its answers mean."""
    channels = stored.method.channels
    load_by = {
        JAX: "jax.jit(jax.export.deserialize(bytes of the file).call)(images)",
        ONNX: "onnxruntime.InferenceSession(file).run(names, {'images': images})",
    }
    of_format = {"platforms": PLATFORMS, "guarantee": GUARANTEE} if form == JAX else {}
    network_maps = {
        MAP + name: "float32 (b, h, w), a map at the network's size"
        for name in (*stored.method.branches, COMBINED)
    }
    of_map = {
        "map_maximum": "float32 (b,), maximum of the map, which does not decide",
        "map_threshold": "float32 (), pixels above it are marked",
    }
    return {
        "load": load_by[form],
        "images": f"uint8 ({SIDES}, {channels}), any b, h, w; "
        + ("RGB" if channels == 3 else "gray"),
        "results": {
            "score": "float32 (b,), larger is more anomalous",
            "anomalous": "bool (b,), score > threshold",
            "p_value": "float32 (b,), share of good images that score as high",
            "anomaly_map": "float32 (b, h, w), scores of the pixels",
            "threshold": "float32 ()",
            **(of_map if stored.method_scores is not None else {}),
            **(network_maps if form == ONNX else {}),
        },
        **as_json(stored, fpr),
        **of_format,
        "jax": jax.__version__,
    }


def export_file(
    workdir: str,
    output: str,
    fpr: float,
    category: str | None = None,
    seed: int | None = None,
    images: str | None = None,
    form: str = JAX,
) -> None:
    """Exports a trained detector, and says what was written.

    workdir, category, seed: of the detector, as `load` has them. output: the file.
    fpr: as `detection_program` has it. images: as `find_images` has them; the first of
    them are compared with `predict` too. form: "jax" or "onnx".

    Raises:
      UserError: no detector or image, a file that cannot be written, or as
        `write_export`.
    """
    start = time.monotonic()
    one_of("format", form, tuple(WRITERS))
    file = as_path(output).expanduser()
    sidecar = file.with_name(file.name + ABOUT)
    check_writable(file.parent, (file.name, sidecar.name), "output")
    paths = find_images(images, file) if images else {}
    detector = load(workdir, category, seed, batch_size=BATCH)
    if isinstance(detector, OnnxDetector):
        raise UserError(
            f"{workdir} is an exported file; export the workdir or the detector file "
            "that it was made of."
        )
    channels = detector.stored.method.channels
    compared = [read_pixels(p, channels) for p in [*paths.values()][:NUM_COMPARED]]
    print_line(as_text(detector.stored, fpr))
    size, parity = write_export(detector, file, fpr, compared, form)
    print_line(
        f"parity      largest difference from predict: {parity.maps:.1e} of the range\n"
        f"            of a map ({parity.images} images, on the CPU; "
        f"{export_check.LIMIT:g} is allowed)",
        result=True,
    )
    platforms = ", ".join(PLATFORMS) if form == JAX else "those of ONNX Runtime"
    print_line(f"platforms   {platforms}")
    print_line(f"size        {size / 1e6:,.1f} MB, in {time.monotonic() - start:.0f} s")
    print_line(f"exported    {file}\nabout it    {sidecar}", result=True)


def write_export(
    detector: Detector,
    output: epath.Path,
    fpr: float,
    images: Sequence[np.ndarray] = (),
    form: str = JAX,
) -> tuple[int, ExportDifference]:
    """Writes an exported file and what stands beside it, after asking it; both or none.

    It is read back as it was written, and compared with `detector.predict` on drawn
    images and on `images`, each (H, W, C) uint8 of any size. form: "jax" or "onnx".

    Returns its size in bytes, and how far it is from `predict`.

    Raises:
      UserError: it is too far from it (`export_check.LIMIT`) or too large, or a file
        cannot be written.
    """
    stored = detector.stored
    channels = stored.method.channels
    batches = [*export_check.sample_batches(stored.image_size, channels)]
    batches += [image[None] for image in images]
    beside = output.with_name(output.name + ABOUT)
    with atomic_file(output) as part, atomic_file(beside) as sidecar:
        call = WRITERS[form](stored, fpr, part)
        size = part.stat().length
        parity = export_check.compare_with_predict(call, detector, batches)
        if not parity.small:
            raise UserError(
                f"{output} is not written: what was exported differs from predict by "
                f"{parity.maps:.1e} of the range of a map ({parity.scores:.1e} in the "
                f"score), where {export_check.LIMIT:g} is allowed; take python -m "
                "gcad_jax.predict, and please report it."
            )
        about = describe_export(stored, fpr, form) | {"bytes": size}
        about["parity"] = dataclasses.asdict(parity) | {
            "unit": "range of the map that predict gives, largest of all images",
            "device": "cpu",
        }
        sidecar.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return size, parity


def _write_jax(stored: DetectorFile, fpr: float, path: epath.Path) -> Call:
    path.write_bytes(export_detector(stored, fpr).serialize())
    return export.deserialize(path.read_bytes()).call


def _write_onnx(stored: DetectorFile, fpr: float, path: epath.Path) -> Call:
    check_size(stored)
    try:
        from gcad_jax.inference.onnx_export.file import write_model
    except ImportError as error:
        raise UserError(
            f"an ONNX file is written by the package onnx, which is not installed: "
            f"{PACKAGES}."
        ) from error
    return write_model(path, stored, fpr, describe_export(stored, fpr, ONNX))


WRITERS: Mapping[str, Callable[[DetectorFile, float, epath.Path], Call]] = {
    JAX: _write_jax,
    ONNX: _write_onnx,
}
