"""The job of configs/pretrain_teacher.py: E_loc for each p, and how well it learned."""

import dataclasses
import json
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from gcad_jax.core.atomic_files import write_text
from gcad_jax.core.checks import one_of
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import Array, Tree
from gcad_jax.data.input.patches import Cut, PatchStream
from gcad_jax.data.photos import Images as Photographs
from gcad_jax.data.photos import Photos
from gcad_jax.methods.base import Learned
from gcad_jax.methods.common.apply import in_batches
from gcad_jax.models.classifiers.classifier import Classifier
from gcad_jax.models.io.patch_descriptors import save_descriptor
from gcad_jax.pretraining.distillation import (
    EPS,
    Distillation,
    DistillationTask,
    flat,
)
from gcad_jax.pretraining.nearest_neighbors import Question, halves, places
from gcad_jax.pretraining.targets import Layers, Target
from gcad_jax.training.input_pipeline import Streaming
from gcad_jax.training.loop import fit
from gcad_jax.training.options import LoopOptions

LEAST = 0.1  # deviation of a feature, of the median one
IN_ONE_CALL = 32  # windows
MEASURED = 2048  # patches, at least, of the held-out error and of the moments of P
LEAST_WINDOWS = 256
RESULT = "result.json"
# Of `probe`: a title for the terminal, and what its rate says.
QUESTIONS = {
    "photo": ("own photo", "patches nearest to one of the other half of their photo"),
    "photo_grey": ("own photo, gray", "the same without colors"),
    "place": ("own place", "places found again, moved, scaled, in other light"),
}


@dataclasses.dataclass(frozen=True)
class TargetNetwork:
    """P: its name for reports, which features are learned, its parameters."""

    name: str
    target: Target
    params: Tree

    @classmethod
    def of(
        cls, network: Classifier, params: Tree, settings: Distillation
    ) -> "TargetNetwork":
        """The layers of a network that the settings name; raises UserError."""
        for layer in settings.target_layers:
            one_of("method.target_layers", layer, network.widths())
        layers = tuple(settings.target_layers)
        target = Layers(network, layers, settings.target_zoom, settings.centers)
        if settings.centers:
            _check_strides(target, settings)
        return cls(f"{network.arch}, {', '.join(layers)}", target, params)


def _check_strides(target: Layers, settings: Distillation) -> None:
    for layer, step in target.strides(settings.window).items():
        if math.frexp(step)[0] != 0.5:
            raise UserError(
                f"method.context is {settings.context} and method.grid is "
                f"{settings.grid}: the cells of {layer} do not stand on the centers of "
                f"patches in a window of {settings.window} pixels (p = {settings.p}); "
                "choose them so that the window less 1 is a multiple of 16, such as "
                "grid 17 with context 16."
            )


@dataclasses.dataclass(frozen=True)
class DistillationJob:
    """What is learned from what.

    threads, processes: that cut patches. stored_as: type of the numbers in the file.
    """

    settings: Distillation
    photos: Photos
    images: Photographs
    teacher: TargetNetwork
    threads: int = 2
    processes: int = 0
    stored_as: str = "float32"


def weights_name(p: int) -> str:
    """Name of the file that a pretraining leaves in its workdir."""
    return f"E_loc_{p}.npz"


def teach(
    learning: DistillationJob,
    folder: epath.Path,
    weights: epath.Path,
    seed: int,
    options: LoopOptions,
    config: dict[str, Any],
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Trains E_loc of one p in `folder`, writes `weights` and what they are worth.

    Raises:
      UserError: images or batches that do not fit, a loss that is not finite.
      Preempted: after SIGTERM, when the state has been saved.
    """
    started = time.monotonic()
    settings, images = learning.settings, learning.images
    lesson, feed, frozen = prepared(learning, seed, say)
    stream, held_out = feed.stream, learning.photos.split(len(images))[1]
    (learned,) = fit(lesson, feed, frozen, (seed,), folder, options, config, say)
    about = {
        "p": settings.p,
        "target": learning.teacher.name,
        "images": len(stream.rows),
        "held_out_images": len(held_out),
        "steps": settings.num_steps,
    }
    # First of all: what is measured below could fail, and costs less than a training.
    E_loc, params = settings.E_loc(), learned.params["E_loc"]
    save_descriptor(weights, params, E_loc, learning.stored_as, about)
    test = dataclasses.replace(stream, rows=held_out)
    untrained = jax.jit(lesson.init)(jax.random.fold_in(jax.random.key(seed), 0))
    result = about | measured(lesson, frozen, (learned, untrained), test)
    before = _read(folder / RESULT)
    # Processes that cut patches name what they cannot read, but do not tell us.
    unreadable = max(len(images.unreadable), before.get("unreadable_images") or 0)
    result["unreadable_images"] = None if learning.processes else unreadable
    # A finished training is only measured again.
    minutes = (time.monotonic() - started) / 60
    result["minutes"] = max(minutes, before.get("minutes", 0.0))
    save_descriptor(weights, params, E_loc, learning.stored_as, result)
    write_text(folder / RESULT, json.dumps(result, indent=2) + "\n")
    for line in sentences(result):
        say(line)
    say(f"weights     {weights}")
    return result


def prepared(
    learning: DistillationJob, seed: int, say: Callable[[str], None]
) -> tuple[DistillationTask, Streaming, Tree]:
    """What is learned, the patches it is learned from, and the frozen part."""
    settings, images = learning.settings, learning.images
    cut = Cut(settings.drawn_side, settings.p, settings.zoom)
    train, held_out = learning.photos.split(len(images))
    say(f"data        {images.where}: {len(train)} images, {len(held_out)} held out")
    workers = learning.threads, learning.processes
    stream = PatchStream(images, train, cut, settings.batch_size, *workers)
    lesson = DistillationTask(settings, learning.teacher.target)
    frozen = frozen_part(lesson, learning.teacher.params, stream)
    return lesson, Streaming(f"E_loc_{settings.p}", stream, (seed,)), frozen


def measured(
    lesson: DistillationTask,
    frozen: Tree,
    networks: tuple[Learned, Learned],
    test: PatchStream,
) -> dict[str, Any]:
    """What the trained and the untrained network are worth on held-out images.

    test: patches of these images.
    """
    settings = lesson.settings
    fixed = windows(settings, test, 0)
    found, untrained = (error(lesson, frozen, learned, fixed) for learned in networks)
    constant = spread(lesson, frozen, fixed)
    alone = Cut(settings.p, settings.p, settings.zoom)
    photo, place = (ask(test.images, test.rows, alone) for ask in (halves, places))
    questions = {"photo": photo, "photo_grey": photo.gray(), "place": place}
    right = [answers(settings, learned, questions) for learned in networks]
    return {
        "L_k_held_out": found,
        "L_k_held_out_untrained": untrained,
        "L_k_held_out_constant": constant,
        "R2_held_out": explained(found, constant),
        "found": right[0],
        "found_untrained": right[1],
    }


def explained(wrong: float, constant: float) -> float:
    """R^2: the part of the error of the best constant that is gone.

    0 for blank photos, of which P says the same everywhere.
    """
    return 1 - wrong / constant if constant else 0.0


def sentences(result: Mapping[str, Any]) -> list[str]:
    """Of a result, for the terminal."""
    lines = [
        f"held out    L_k {result['L_k_held_out']:.4g}, untrained "
        f"{result['L_k_held_out_untrained']:.4g}, of the best constant "
        f"{result['L_k_held_out_constant']:.4g}: R^2 {result['R2_held_out']:.3f}"
    ]
    return lines + [
        f"            {title}: {result['found'][name]:.1%}, untrained "
        f"{result['found_untrained'][name]:.1%}"
        for name, (title, _) in QUESTIONS.items()
    ]


def _read(path: epath.Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def answers(
    settings: Distillation, learned: Learned, questions: Mapping[str, Question]
) -> dict[str, float]:
    """How many patches of each question find their like."""
    alone = dataclasses.replace(settings, grid=1, context=0)
    params = learned.params["E_loc"]

    def describe(patches: np.ndarray) -> np.ndarray:  # (N, p, p, 3) -> (N, d_loc)
        return _of_all(lambda x: alone.descriptors(params, x), patches)

    return {name: asked.answered(describe) for name, asked in questions.items()}


def windows(settings: Distillation, stream: PatchStream, seed: int) -> np.ndarray:
    """Fixed windows without shifts, `MEASURED` patches or more in all; uint8."""
    cut = dataclasses.replace(stream.cut, side=settings.window)
    count = -(-MEASURED // settings.grid**2)
    # Patches of one window are much alike, so there are never few windows.
    return dataclasses.replace(stream, cut=cut).fixed(seed, max(count, LEAST_WINDOWS))


def frozen_part(lesson: DistillationTask, params: Tree, stream: PatchStream) -> Tree:
    """P, and the moments that its features are standardised by (0 and 1 if not)."""
    width = lesson.target.num_features
    mean, std = np.zeros(width, np.float32), np.ones(width, np.float32)
    if lesson.settings.standardised:
        features = _of_all(
            lambda x: lesson.target.features(params, x),
            windows(lesson.settings, stream, 1),
        )
        mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        std = features.std(axis=0, dtype=np.float64).astype(np.float32)
        # A feature that hardly varies would else be noise, enlarged without bound.
        std = np.maximum(std, max(LEAST * float(np.median(std)), EPS))
    return {"P": params, "mean": mean, "std": std}


def error(
    lesson: DistillationTask, frozen: Tree, learned: Learned, fixed: np.ndarray
) -> float:
    """Mean L_k over windows (N, window, window, 3) uint8."""

    def errors(x: jax.Array) -> jax.Array:
        d = lesson.settings.descriptors(learned.params["E_loc"], x)
        decoded = lesson.settings.decoded(learned.params["Decode"], d)
        wrong = decoded - lesson.goal(frozen, x)
        return jnp.sum(jnp.square(wrong), axis=-1, keepdims=True)

    return float(_of_all(errors, fixed).mean(dtype=np.float64))


def spread(lesson: DistillationTask, frozen: Tree, fixed: np.ndarray) -> float:
    """L_k over the windows if one vector, the best, were said of all patches."""
    goals = _of_all(lambda x: lesson.goal(frozen, x), fixed)
    return float(np.var(goals, axis=0, dtype=np.float64).sum())


def _of_all(function: Callable[[jax.Array], Array], fixed: np.ndarray) -> np.ndarray:
    """(N, window, window, 3) -> (N grid grid, C)."""
    return np.asarray(flat(in_batches(jax.jit(function), fixed, IN_ONE_CALL)))
