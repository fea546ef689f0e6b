"""A detector as one ONNX model: zoom, network, calibration, decision, zoom back."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from jax import export
from onnx import helper

from gcad_jax.core.types import COMBINED
from gcad_jax.inference.detection import decide_batch
from gcad_jax.inference.detector_file import DetectorFile
from gcad_jax.inference.onnx_detector import IMAGES, MAP
from gcad_jax.inference.onnx_export.convert import add_jaxpr
from gcad_jax.inference.onnx_export.graph import (
    IR_VERSION,
    OPSET,
    SYMBOL,
    Graph,
    Shape,
    Tensor,
)
from gcad_jax.inference.onnx_export.zoom import zoom_images, zoom_maps
from gcad_jax.models.layers.convolution import plain_convolutions

SIDES = ("height", "width")


def detection_model(stored: DetectorFile, fpr: float) -> onnx.ModelProto:
    """The model: images (b, height, width, C) uint8 of any number and size.

    Results: those of `exported.detection_program`, and beside them each map at network
    size, (b, h, w), with `MAP` before its name.

    Raises:
      Unsupported: the method does what has no counterpart in ONNX.
    """
    size = stored.image_size
    graph = Graph()
    images: Shape = (SYMBOL, *SIDES, stored.method.channels)
    graph.known["batch"] = _batch(graph)
    pixels = zoom_images(graph, IMAGES, size)
    found = _add_network(graph, stored, fpr, pixels)
    maps = found[MAP + COMBINED]
    found["anomaly_map"] = (
        zoom_maps(graph, maps[0], size, IMAGES),
        maps[1],
        (SYMBOL, *SIDES),
    )
    outputs = []
    for name, (inner, dtype, shape) in found.items():
        graph.nodes.append(helper.make_node("Identity", [inner], [name]))
        outputs.append((name, dtype, shape))
    inputs = [(IMAGES, np.dtype(np.uint8), images)]
    return helper.make_model(
        graph.to_proto("detector", inputs, outputs),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="gcad_jax",
    )


def _batch(graph: Graph) -> str:
    """The number of images of a call, (1,)."""
    shape = graph.node("Shape", [IMAGES])[0]
    return graph.node("Gather", [shape, graph.initializer(np.zeros(1, np.int64))])[0]


def _add_network(
    graph: Graph, stored: DetectorFile, fpr: float, pixels: str
) -> dict[str, tuple[str, np.dtype, Shape]]:
    """Adds all between the two zooms: what is found, by its name."""
    channels = stored.method.channels
    state = jax.tree.map(jnp.asarray, stored.detector)

    def detect(images: Any) -> dict[str, Any]:
        maps, decision = decide_batch(stored, state, images, fpr)
        return decision | {MAP + name: values for name, values in maps.items()}

    sides = ", ".join(map(str, (SYMBOL, *stored.image_size, channels)))
    given = jax.ShapeDtypeStruct(export.symbolic_shape(sides), jnp.uint8)
    with plain_convolutions():  # ONNX Runtime has fast ones of its own
        traced = jax.jit(detect).trace(given)
    argument = Tensor(given.shape, np.dtype(np.uint8), pixels)
    closed = traced.jaxpr
    results = add_jaxpr(graph, closed.jaxpr, closed.consts, [argument])
    named = jax.tree.unflatten(jax.tree.structure(traced.out_info), results)
    return {
        name: (graph.full_name(tensor), tensor.dtype, tensor.shape)
        for name, tensor in named.items()
    }
