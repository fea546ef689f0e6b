"""Predictions of many images, written to a folder: scores, maps and overlays."""

import contextlib
import csv
import dataclasses
import io
import json
import os
import time
from collections.abc import Mapping

import numpy as np
from etils import epath

from gcad_jax.core.atomic_files import atomic_file, check_writable
from gcad_jax.core.console import print_line, progress_bar
from gcad_jax.core.errors import UserError, is_out_of_memory
from gcad_jax.core.machine.program_folder import keep_for_user
from gcad_jax.core.machine.threads import FULL_SIZE, background_calls
from gcad_jax.core.paths import as_path
from gcad_jax.core.types import COMBINED, MAP_MAXIMUM
from gcad_jax.evaluation.map_files import MAPS
from gcad_jax.evaluation.threshold import threshold
from gcad_jax.inference.detector import Detector
from gcad_jax.inference.image_inputs import OVERLAYS, find_images
from gcad_jax.inference.load import load
from gcad_jax.inference.metadata import as_json, as_text
from gcad_jax.inference.prediction import Prediction
from gcad_jax.reporting.plots import overlay

SCORES, ABOUT = "scores.csv", "predict.json"
COLUMNS = (
    *("image", "score", "anomalous", "p_value", "height", "width", "file"),
    "map_maximum",  # last, where readers of version 0.1.0 do not look
)
_BYTES_A_PIXEL = 8  # of a float32 map while it is zoomed and written
# NUM_THREADS (core/machine/threads.py) read files, and as many write them: with 16 that
# read and 16 that write, overlays were slower (docs/results/predict.md).


@dataclasses.dataclass(frozen=True)
class OutputOptions:
    """What is written beside the scores.

    fpr: false positive rate of images that sets the threshold. maps: anomaly maps as
    TIFF. overlays: a picture an image. branches: in it also the maps of the branches.
    """

    fpr: float
    maps: bool = True
    overlays: bool = True
    branches: bool = False


@dataclasses.dataclass(frozen=True)
class Summary:
    """What became of the images.

    images: that were scored. anomalous: of these. skipped: why others were not read.
    seconds: of all. first_seconds: until the first image, with compiling.
    """

    images: int
    anomalous: int
    skipped: tuple[UserError, ...]
    seconds: float
    first_seconds: float


def predict_folder(
    workdir: str,
    images: str,
    output: str,
    options: OutputOptions,
    category: str | None = None,
    seed: int | None = None,
    batch_size: int | None = None,
    programs: str | None = None,
) -> Summary:
    """Predicts the images that `images` names, and says what was found.

    workdir, category, seed, batch_size: of the detector, as `load` has them. images: as
    `find_images` has them. output: the folder, where files of the same names are
    replaced. programs: where compiled ones are kept, as `keep_for_user` has it.

    Raises:
      UserError: no detector or image, a folder that cannot be written, or too little
        memory of the device.
    """
    folder = as_path(output).expanduser()
    check_writable(folder, (SCORES, ABOUT), "output")
    paths = find_images(images, folder)
    program_folder, sentence = keep_for_user(programs)
    detector = load(workdir, category, seed, batch_size=batch_size)
    detector.limit_batch(len(paths))
    print_line(as_text(detector.stored, options.fpr))
    print_line(f"programs    {sentence}")
    try:
        detector.keep_program(program_folder, say_compiling)
        summary = write_predictions(detector, paths, folder, options)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise UserError(
            "the memory of the device does not hold the images of one call; give a "
            "lower batch_size=N.",
            "batch_size",
        ) from error
    share = f"{summary.anomalous} of {summary.images} images are anomalous"
    print_line(f"result      {share}", result=True)
    print_line(f"scores      {folder / SCORES}", result=True)
    compiling = f"{summary.first_seconds:.1f} s until the first image, with compiling"
    print_line(f"time        {summary.seconds:.1f} s; {compiling}")
    for name, is_written in ((MAPS, options.maps), (OVERLAYS, options.overlays)):
        if is_written and summary.images:
            print_line(f"{name.removeprefix('anomaly_'):<12}{folder / name}")
    return summary


def say_compiling() -> None:
    """Before what may take long, and shows no progress."""
    print_line("compiling   the program of this detector")


def write_predictions(
    detector: Detector,
    images: Mapping[str, epath.Path],
    output: epath.Path,
    options: OutputOptions,
) -> Summary:
    """Writes scores.csv and predict.json, and maps and overlays as `options` says.

    images: by the names of their results. An image that cannot be read is skipped.

    Raises:
      UserError: a file cannot be written.
    """
    for name in (SCORES, ABOUT):  # of an earlier command: they say that all is there
        (output / name).unlink(missing_ok=True)
    rows: list[tuple[str | int, ...]] = []  # by COLUMNS
    skipped: list[UserError] = []
    started, first_seconds = time.monotonic(), 0.0
    results = ResultWriter(detector, output, options)
    # Of an image nothing larger is kept than its overlay shows.
    reduce = overlay.shrink if options.overlays else lambda image: image[:0]
    stream = detector.stream(images.values(), options.fpr, reduce)
    bar = progress_bar(len(images), 0, detector.stored.category)
    with background_calls() as submit, contextlib.closing(bar):
        for (name, path), (image, prediction) in zip(
            images.items(), stream, strict=True
        ):
            bar.update()
            first_seconds = first_seconds or time.monotonic() - started
            if isinstance(prediction, UserError):
                skipped.append(prediction)
                continue
            score, p_value = f"{prediction.score:.6g}", f"{prediction.p_value:.4g}"
            decision = score, int(prediction.anomalous), p_value
            size = prediction.height, prediction.width
            maximum = f"{prediction.map_maximum:.6g}"
            rows.append((name, *decision, *size, os.fspath(path), maximum))
            if options.maps:
                submit(results.write_map, name, prediction)
            if options.overlays:
                submit(results.write_overlay, name, image, prediction)
    anomalous = sum(row[COLUMNS.index("anomalous")] == 1 for row in rows)
    about = as_json(detector.stored, options.fpr) | {
        "images": len(rows),
        "anomalous": anomalous,
        "skipped": [str(error) for error in skipped],
    }
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    # Both or none, and last: they say that everything is there.
    with atomic_file(output / SCORES) as scores, atomic_file(output / ABOUT) as sidecar:
        scores.write_text(text.getvalue(), encoding="utf-8")
        sidecar.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    seconds = time.monotonic() - started
    return Summary(len(rows), anomalous, tuple(skipped), seconds, first_seconds)


@dataclasses.dataclass(frozen=True)
class ResultWriter:
    """Writes the map and the overlay of one image; threads may share it."""

    detector: Detector
    output: epath.Path
    options: OutputOptions

    def write_map(self, name: str, prediction: Prediction) -> None:
        """A float32 TIFF at the size of the image, where the evaluator looks for it."""
        import tifffile

        folder = self.output / MAPS / self.detector.stored.category / "test"
        size = _BYTES_A_PIXEL * prediction.height * prediction.width
        with FULL_SIZE.hold(size), atomic_file(folder / f"{name}.tiff") as part:
            tifffile.imwrite(part, prediction.anomaly_map)

    def write_overlay(
        self, name: str, image: np.ndarray, prediction: Prediction
    ) -> None:
        """A PNG with input, heat map and contour.

        image: (H, W, C) uint8, or what `overlay.shrink` made of it.
        """
        heats = {}
        for branch, scores in prediction.network_maps.items():
            # In colors that are the same for all images: good ones set the scale.
            scale = self.detector.stored.scales[branch]
            limit = threshold(scale.image_scores, self.options.fpr)
            heats[branch] = overlay.Heat(scores, scale.median, limit)
        combined = heats.pop(COMBINED)
        sign, verdict = (">", "ANOMALOUS") if prediction.anomalous else ("<=", "good")
        limit = self.detector.threshold(self.options.fpr)
        headline = f"{name}: {verdict}, score {prediction.score:.3g} {sign} {limit:.3g}"
        if self.detector.image_score_name != MAP_MAXIMUM:
            # The contour is that of the map, which does not decide.
            headline += (
                f" (map {prediction.map_maximum:.3g}, contour at "
                f"{combined.threshold:.3g})"
            )
        shown = heats if self.options.branches else {}
        picture = overlay.render_overlay(image, headline, combined, shown)
        with atomic_file(self.output / OVERLAYS / f"{name}.png") as part:
            part.write_bytes(overlay.encode_png(np.asarray(picture)))
