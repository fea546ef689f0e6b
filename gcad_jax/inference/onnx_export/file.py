"""A detector's ONNX file: written, and read back by ONNX Runtime."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from etils import epath

from gcad_jax.core.errors import UserError
from gcad_jax.inference.detector_file import DetectorFile, header_of
from gcad_jax.inference.onnx_detector import HEADER, open_session, run
from gcad_jax.inference.onnx_export.graph import Unsupported
from gcad_jax.inference.onnx_export.program import detection_model


def write_model(
    path: epath.Path, stored: DetectorFile, fpr: float, facts: Mapping[str, Any]
) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Writes a detector as ONNX.

    fpr: as `detection_model` has it. facts: its metadata, beside the header.

    Returns what the file computes, by ONNX Runtime: images (B, H, W, C) uint8 ->
    results by their names.

    Raises:
      UserError: the method has no counterpart in ONNX.
    """
    try:
        model = detection_model(stored, fpr)
    except Unsupported as error:
        raise UserError(
            f"the {stored.method.title} of {stored.category} cannot become an ONNX "
            f"file: {error} JAX's own format takes every method."
        ) from error
    said = {**facts, HEADER: header_of(stored)}
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in said.items()}
    onnx.helper.set_model_props(model, texts)
    path.write_bytes(model.SerializeToString())
    del model
    session = open_session(path.read_bytes(), str(path))
    results = [result.name for result in session.get_outputs()]

    def detect(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(results, run(session, results, images), strict=True))

    return detect
