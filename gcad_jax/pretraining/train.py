"""The job of configs/pretrain_teacher.py: E_loc for each p, and how well it learned."""

import dataclasses
import functools
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
from gcad_jax.core.machine.compiler_options import jit_here
from gcad_jax.core.types import Array, Tree
from gcad_jax.data.input.patches import PatchCutter, PatchStream
from gcad_jax.data.photos import Photos, PhotoSet
from gcad_jax.methods.base import Learned
from gcad_jax.methods.common.apply import in_batches
from gcad_jax.models.classifiers.classifier import Classifier
from gcad_jax.models.io.patch_descriptors import save_descriptor
from gcad_jax.pretraining.distillation import Distillation
from gcad_jax.pretraining.losses import EPS
from gcad_jax.pretraining.nearest_neighbors import photo_retrieval, place_retrieval
from gcad_jax.pretraining.targets import Layers
from gcad_jax.pretraining.trainable import DistillationTask, flatten
from gcad_jax.training.input_pipeline import Streaming
from gcad_jax.training.loop import fit
from gcad_jax.training.options import RunContext

MIN_RELATIVE_STD = 0.1  # of a feature, as a part of the median one
WINDOWS_PER_CALL = 32
NUM_PATCHES = 2048  # patches, at least, of the held-out error and of the moments of P
MIN_WINDOWS = 256
RESULT = "result.json"
# By name: a title for the terminal, and what the rate says.
RETRIEVALS = {
    "photo": ("own photo", "patches nearest to one of the other half of their photo"),
    "photo_grey": ("own photo, gray", "the same without colors"),
    "place": ("own place", "places found again, moved, scaled, in other light"),
}


@dataclasses.dataclass(frozen=True)
class TargetNetwork:
    """P: its name for reports, which features are learned, its parameters."""

    name: str
    target: Layers
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
        steps = target.strides(settings.window) if settings.centers else {}
        for layer, step in steps.items():
            if math.frexp(step)[0] == 0.5:  # a power of 2
                continue
            raise UserError(
                f"method.context is {settings.context} and method.grid is "
                f"{settings.grid}: the cells of {layer} do not stand on the centers of "
                f"patches in a window of {settings.window} pixels (p = {settings.p}); "
                "choose them so that the window less 1 is a multiple of 16, such as "
                "grid 17 with context 16."
            )
        return cls(f"{network.arch}, {', '.join(layers)}", target, params)


@dataclasses.dataclass(frozen=True)
class DistillationJob:
    """What is learned from what.

    threads, processes: that cut patches. stored_as: type of the numbers in the file.
    """

    settings: Distillation
    photos: Photos
    images: PhotoSet
    teacher: TargetNetwork
    threads: int = 2
    processes: int = 0
    stored_as: str = "float32"


def weights_name(p: int) -> str:
    """Name of the file that a pretraining leaves in its workdir."""
    return f"E_loc_{p}.npz"


def distill(
    job: DistillationJob, weights: epath.Path, context: RunContext
) -> dict[str, Any]:
    """Trains E_loc of one p, writes the file `weights` and what they are worth.

    context: with one seed.

    Raises:
      UserError: images or batches that do not fit, a loss that is not finite.
      Preempted: after SIGTERM, when the state has been saved.
    """
    started = time.monotonic()
    settings, images, (seed,) = job.settings, job.images, context.seeds
    task, pipeline, frozen = prepare_task(job, seed, context.print_line)
    stream, held_out = pipeline.stream, job.photos.split(len(images))[1]
    (learned,) = fit(task, pipeline, frozen, context)
    about = {
        "p": settings.p,
        "target": job.teacher.name,
        "images": len(stream.rows),
        "held_out_images": len(held_out),
        "steps": settings.num_steps,
    }
    # First of all: what is measured below could fail, and costs less than a training.
    E_loc, params = settings.E_loc(), learned.params["E_loc"]
    save_descriptor(weights, params, E_loc, job.stored_as, about)
    test = dataclasses.replace(stream, rows=held_out)
    untrained = jit_here(task.init)(jax.random.fold_in(jax.random.key(seed), 0))
    result = about | evaluate_held_out(task, frozen, (learned, untrained), test)
    path = context.folder / RESULT
    before = json.loads(path.read_text()) if path.exists() else {}
    # Processes that cut patches name what they cannot read, but do not tell us.
    unreadable = max(len(images.unreadable), before.get("unreadable_images") or 0)
    result["unreadable_images"] = None if job.processes else unreadable
    # A finished training is only measured again.
    minutes = (time.monotonic() - started) / 60
    result["minutes"] = max(minutes, before.get("minutes", 0.0))
    save_descriptor(weights, params, E_loc, job.stored_as, result)
    write_text(path, json.dumps(result, indent=2) + "\n")
    for line in (*result_lines(result), f"weights     {weights}"):
        context.print_line(line)
    return result


def prepare_task(
    job: DistillationJob, seed: int, print_line: Callable[[str], None]
) -> tuple[DistillationTask, Streaming, Tree]:
    """What is learned, the patches it is learned from, and the frozen part."""
    settings, images = job.settings, job.images
    cut = PatchCutter(settings.cut_side, settings.p, settings.zoom)
    train, held_out = job.photos.split(len(images))
    print_line(
        f"data        {images.where}: {len(train)} images, {len(held_out)} held out"
    )
    workers = job.threads, job.processes
    stream = PatchStream(images, train, cut, settings.batch_size, *workers)
    task = DistillationTask(settings, job.teacher.target)
    frozen = prepare_frozen(task, job.teacher.params, stream)
    return task, Streaming(f"E_loc_{settings.p}", stream, (seed,)), frozen


def evaluate_held_out(
    task: DistillationTask,
    frozen: Tree,
    networks: tuple[Learned, Learned],
    test: PatchStream,
) -> dict[str, Any]:
    """What the trained and the untrained network are worth on held-out images.

    test: patches of these images.
    """
    settings = task.settings
    windows = fixed_windows(settings, test, 0)
    trained, untrained = (
        mean_error(task, frozen, learned, windows) for learned in networks
    )
    # L_k of the best answer that is the same for all patches.
    targets = apply_to_windows(lambda x: task.target_features(frozen, x), windows)
    constant = float(np.var(targets, axis=0, dtype=np.float64).sum())
    cut = PatchCutter(settings.p, settings.p, settings.zoom)
    photo, place = (
        sample(test.images, test.rows, cut)
        for sample in (photo_retrieval, place_retrieval)
    )
    gray = photo.without_colors()
    retrievals = {"photo": photo, "photo_grey": gray, "place": place}
    single = dataclasses.replace(settings, grid=1, context=0)
    rates = []
    for learned in networks:
        encode = functools.partial(single.encode, learned.params["E_loc"])
        describe = functools.partial(apply_to_windows, encode)
        rates.append({name: r.accuracy(describe) for name, r in retrievals.items()})
    return {
        "L_k_held_out": trained,
        "L_k_held_out_untrained": untrained,
        "L_k_held_out_constant": constant,
        "R2_held_out": r_squared(trained, constant),
        "found": rates[0],
        "found_untrained": rates[1],
    }


def r_squared(error: float, constant: float) -> float:
    """R^2: the part of the error of the best constant that is gone.

    0 for blank photos, of which P says the same everywhere.
    """
    return 1 - error / constant if constant else 0.0


def result_lines(result: Mapping[str, Any]) -> list[str]:
    """Of a result, for the terminal."""
    lines = [
        f"held out    L_k {result['L_k_held_out']:.4g}, untrained "
        f"{result['L_k_held_out_untrained']:.4g}, of the best constant "
        f"{result['L_k_held_out_constant']:.4g}: R^2 {result['R2_held_out']:.3f}"
    ]
    return lines + [
        f"            {title}: {result['found'][name]:.1%}, untrained "
        f"{result['found_untrained'][name]:.1%}"
        for name, (title, _) in RETRIEVALS.items()
    ]


def fixed_windows(settings: Distillation, stream: PatchStream, seed: int) -> np.ndarray:
    """Windows without shifts, the same at every call: (N, window, window, 3) uint8.

    They hold `NUM_PATCHES` patches or more.
    """
    cut = dataclasses.replace(stream.cut, side=settings.window)
    count = -(-NUM_PATCHES // settings.grid**2)
    # Patches of one window are much alike, so there are never few windows.
    return dataclasses.replace(stream, cut=cut).fixed(seed, max(count, MIN_WINDOWS))


def prepare_frozen(task: DistillationTask, params: Tree, stream: PatchStream) -> Tree:
    """P, and the moments that its features are standardised by (0 and 1 if not)."""
    width = task.target.num_features
    mean, std = np.zeros(width, np.float32), np.ones(width, np.float32)
    if task.settings.standardised:
        features = apply_to_windows(
            lambda x: task.target.features(params, x),
            fixed_windows(task.settings, stream, 1),
        )
        mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        std = features.std(axis=0, dtype=np.float64).astype(np.float32)
        # A feature that hardly varies would else be noise, enlarged without bound.
        std = np.maximum(std, max(MIN_RELATIVE_STD * float(np.median(std)), EPS))
    return {"P": params, "mean": mean, "std": std}


def mean_error(
    task: DistillationTask, frozen: Tree, learned: Learned, windows: np.ndarray
) -> float:
    """Mean L_k over windows (N, window, window, 3) uint8."""

    def error(x: jax.Array) -> jax.Array:  # (B, n, n, 1)
        d = task.settings.encode(learned.params["E_loc"], x)
        decoded = task.settings.decode(learned.params["Decode"], d)
        difference = decoded - task.target_features(frozen, x)
        return jnp.sum(jnp.square(difference), axis=-1, keepdims=True)

    return float(apply_to_windows(error, windows).mean(dtype=np.float64))


def apply_to_windows(
    function: Callable[[jax.Array], Array], windows: np.ndarray
) -> np.ndarray:
    """(N, window, window, 3) uint8 -> (N grid grid, C)."""
    return np.asarray(
        flatten(in_batches(jit_here(function), windows, WINDOWS_PER_CALL))
    )
