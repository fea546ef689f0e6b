"""A trained detector as one file: all that marks new images, and nothing else.

CATEGORY/detectors/seed_0.npz holds the frozen part, the networks and the calibration as
plain NumPy arrays, and a JSON header with the method's settings and with what good
validation images score. It is the durable form of a detector: it can be copied and
read by itself, without workdir and data.
"""

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from typing import Any, cast

import jax
import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict

from gcad_jax.core.errors import UserError
from gcad_jax.core.types import COMBINED, MAP_MAXIMUM, Tree
from gcad_jax.data.image_size import as_pair
from gcad_jax.methods.base import DetectorState, Learned, Method
from gcad_jax.methods.common.image_score import has_own_score, image_score_name
from gcad_jax.models.io.npz import check_sum, read_weights, write_weights

DETECTORS = "detectors"  # in the folder of a category
KIND = "detector"
# What a class must have that a file may name as its method.
MEMBERS = ("anomaly_map", "branch_maps", "calibrate", "prepare", "phases")
PARTS = ("frozen", "params", "model_state", "calibration")


@dataclasses.dataclass(frozen=True)
class Scale:
    """What good validation images score on one map.

    median: of all their pixels. image_scores: (V,) maximum of each map.
    """

    median: float
    image_scores: tuple[float, ...]

    @classmethod
    def of(cls, maps: np.ndarray) -> "Scale":
        """maps: (V, h, w) of the validation images, at network size."""
        highest = tuple(float(score) for score in maps.max(axis=(1, 2)))
        return cls(float(np.median(maps)), highest)


@dataclasses.dataclass(frozen=True)
class DetectorFile:
    """What a file holds.

    dataset, category, seed: of the training. scales: of the branches by their names,
    and of the combined map last.
    image_size: (height, width) of the network's input.
    method_scores: (V,) image scores of the validation images by the method's own
        definition; None where that is the maximum of the map, and in files of version
        0.1.0.
    """

    method: Method
    detector: DetectorState
    dataset: str
    category: str
    seed: int
    scales: Mapping[str, Scale]
    image_size: tuple[int, int]
    method_scores: tuple[float, ...] | None = None

    @property
    def validation_scores(self) -> tuple[float, ...]:
        """(V,) image scores of the good validation images that set the threshold."""
        if self.method_scores is not None:
            return self.method_scores
        return self.scales[COMBINED].image_scores

    @property
    def image_score_name(self) -> str:
        """What the score is that decides."""
        own = self.method_scores is not None
        return image_score_name(self.method) if own else MAP_MAXIMUM


def detector_path(category: epath.Path, seed: int) -> epath.Path:
    """Where a run keeps the detector of a seed; category: its folder."""
    return category / DETECTORS / f"seed_{seed}.npz"


def write_detector(path: epath.Path, stored: DetectorFile) -> None:
    """Writes a detector, whole or not at all; raises UserError where it cannot."""
    detector, learned = stored.detector, stored.detector.learned
    trees = detector.frozen, learned.params, learned.model_state, detector.calibration
    arrays = flatten_dict(jax.device_get(dict(zip(PARTS, trees, strict=True))), sep="/")
    arrays = {name: np.asarray(x) for name, x in arrays.items()}
    write_weights(path, header_of(stored), arrays)


def header_of(stored: DetectorFile) -> dict[str, Any]:
    """All of a detector but its arrays, as JSON has it."""
    method = type(stored.method)
    header = {
        "kind": KIND,
        "class": f"{method.__module__}:{method.__qualname__}",
        "method": dataclasses.asdict(stored.method),  # type: ignore[call-overload]
        "dataset": stored.dataset,
        "category": stored.category,
        "seed": stored.seed,
        "scales": {
            name: dataclasses.asdict(scale) for name, scale in stored.scales.items()
        },
        "image_size": stored.image_size,
    }
    if stored.method_scores is not None:
        header["method_scores"] = stored.method_scores
    return header


def read_detector(path: epath.Path) -> DetectorFile:
    """The detector in a file, its arrays on the host.

    Raises:
      UserError: it is missing, damaged, of another kind, or of a method that is not
        installed here.
    """
    header, arrays = read_weights(path)
    if header.get("kind") != KIND:
        raise UserError(
            f"{path} holds no detector; those of a run are in CATEGORY/{DETECTORS}/."
        )
    check_sum(path, header, arrays)
    trees = unflatten_dict(arrays, sep="/")
    frozen, params, model_state, calibration = (trees.get(x, {}) for x in PARTS)
    detector = DetectorState(frozen, Learned(params, model_state), calibration)
    return from_header(path, header, detector)


def from_header(
    path: epath.Path, header: Mapping[str, Any], detector: DetectorState
) -> DetectorFile:
    """What `header_of` was made of; raises UserError as `read_detector` does.

    path: of the file that holds the header. detector: its arrays.
    """
    try:
        method = _make_method(path, header)
        if set(header["scales"]) != {*method.branches, COMBINED}:
            raise ValueError(f"scales of {', '.join(header['scales']) or 'nothing'}")
        method_scores = header.get("method_scores")
        if method_scores is not None and not has_own_score(method):
            raise ValueError("image scores of its own, which the method has none of")
        return DetectorFile(
            method=method,
            detector=detector,
            dataset=header["dataset"],
            category=header["category"],
            seed=header["seed"],
            scales={
                name: Scale(scale["median"], tuple(scale["image_scores"]))
                for name, scale in header["scales"].items()
            },
            # Files of version 0.1.0 have none: all images were squares.
            image_size=as_pair(header.get("image_size", method.image_size)),
            method_scores=None if method_scores is None else tuple(method_scores),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path} is damaged: its header is not that of a detector ({error!r}); "
            "copy the file again."
        ) from error


def _make_method(path: epath.Path, header: Mapping[str, Any]) -> Method:
    """The method with the settings of the header.

    The module that it names is imported, and nothing but a method is called.
    """
    module, _, name = header["class"].partition(":")
    try:
        kind: Any = getattr(importlib.import_module(module), name)
        if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
            raise TypeError(f"{name} is no dataclass")
        if not all(hasattr(kind, member) for member in MEMBERS):
            raise TypeError(f"{name} is no method")
        settings = {
            field: _lists_to_tuples(value) for field, value in header["method"].items()
        }
        return cast(Method, kind(**settings))
    except (ImportError, AttributeError, TypeError) as error:
        raise UserError(
            f"{path} is a detector of the method {name} of the module {module}, which "
            f"is not here or has other fields ({error}); install the version of the "
            "package that trained it, or the module."
        ) from error


def _lists_to_tuples(value: Tree) -> Tree:
    """Lists, which JSON makes of tuples, as tuples."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(_lists_to_tuples(item) for item in value)
    return value
