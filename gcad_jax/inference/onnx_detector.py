"""A detector in an ONNX file, computed by ONNX Runtime on the cores of the CPU."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from etils import epath

from gcad_jax.core.errors import UserError, one_line
from gcad_jax.core.types import COMBINED, Array
from gcad_jax.inference.detector import Detector
from gcad_jax.inference.detector_file import DetectorFile, from_header
from gcad_jax.methods.base import DetectorState, Learned
from gcad_jax.methods.common.apply import ScoredImages

if TYPE_CHECKING:
    import onnxruntime

SUFFIX = ".onnx"
IMAGES = "images"  # the input
HEADER = "detector"  # metadata: the header of the detector's file, as JSON
SCORE, MAP = "score", "network_map_"  # results; MAP stands before the name of a map
PACKAGES = "pip install 'gcad_jax[onnx]'"


class OnnxDetector(Detector):
    """The same as `Detector`, without JAX's program; made by `load`.

    stored: as of a detector file, with none of its arrays.
    """

    def __init__(self, path: epath.Path, batch_size: int | None = None) -> None:
        """Loads a file; raises UserError where it is none that `export` wrote."""
        self._session = open_session(path.read_bytes(), str(path))
        self.stored = read_header(self._session, path)
        own = self.stored.method.inference_batch_size
        self.batch_size = own if batch_size is None else batch_size

    def score_batch(self, images: Array | np.ndarray) -> ScoredImages:
        """Maps and image scores; images: (B, h, w, C) uint8 of the network's size."""
        names = (*self.branches, COMBINED)
        results = [SCORE, *(MAP + name for name in names)]
        score, *maps = run(self._session, results, np.asarray(images))
        return ScoredImages(dict(zip(names, maps, strict=True)), score)


def open_session(model: bytes, name: str) -> "onnxruntime.InferenceSession":
    """A model that is ready to run; raises UserError where it cannot be loaded.

    name: of its file.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"{name} is run by onnxruntime, which is not installed: {PACKAGES}."
        ) from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors, which are raised as well
    try:
        return onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # of its own classes, which have no common one
        raise UserError(
            f"{name} is no ONNX file that onnxruntime {onnxruntime.__version__} can "
            f"load ({one_line(error)}); copy it again, or export it again."
        ) from error


def run(
    session: "onnxruntime.InferenceSession", results: Sequence[str], images: np.ndarray
) -> list[np.ndarray]:
    """Some results of images, and nothing else is computed."""
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.only_execute_path_to_fetches = True
    return session.run(list(results), {IMAGES: images}, options)


def read_header(
    session: "onnxruntime.InferenceSession", path: epath.Path
) -> DetectorFile:
    """What a file says of its detector; raises UserError where it says nothing."""
    said: dict[str, Any] = session.get_modelmeta().custom_metadata_map
    if HEADER not in said:
        raise UserError(
            f"{path} is an ONNX model, but no detector; python -m gcad_jax.export "
            "makes one of a finished run."
        )
    try:
        header = json.loads(said[HEADER])
    except ValueError as error:
        raise UserError(
            f"{path} is damaged: its header is no JSON ({one_line(error)}); export it "
            "again."
        ) from error
    return from_header(path, header, DetectorState({}, Learned({}, {}), {}))
