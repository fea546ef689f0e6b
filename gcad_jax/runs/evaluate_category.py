"""One trained category: calibrated, scored, and written with its figures."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from etils import epath

from gcad_jax.config.experiment import Experiment
from gcad_jax.core import multihost
from gcad_jax.core.axes import accelerators
from gcad_jax.core.console import print_line
from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.compiler_options import jit_here
from gcad_jax.core.types import COMBINED
from gcad_jax.data.dataset import Category
from gcad_jax.evaluation import map_files, map_source, result_files
from gcad_jax.evaluation.map_files import MAPS
from gcad_jax.evaluation.results import KIND_OR_MEAN, CategoryResult, Scores
from gcad_jax.evaluation.scores import evaluate
from gcad_jax.inference import detector_file
from gcad_jax.methods.base import DetectorState, Method
from gcad_jax.methods.common.apply import ScoredImages, all_maps, score_images
from gcad_jax.methods.common.image_score import has_own_score, image_score_name
from gcad_jax.reporting import run_figures
from gcad_jax.reporting.tables import LIMIT, auroc, auspro, cell, decision_auroc, short
from gcad_jax.training.checkpoint import CHECKPOINTS
from gcad_jax.training.logs import ROWS, read_rows
from gcad_jax.training.options import TrainResult


@dataclasses.dataclass(frozen=True)
class _ValidationScores:
    """What the good validation images score with one seed; as in `DetectorFile`."""

    scales: Mapping[str, detector_file.Scale]
    method_scores: tuple[float, ...] | None


@dataclasses.dataclass(frozen=True)
class _SeedScores:
    """Of one seed. branches: scores of the test images; {} without any.

    fit: what the detector says of the training images.
    """

    branches: dict[str, Scores]
    validation: _ValidationScores
    fit: tuple[str, ...]


def has_results(config: Experiment, folder: epath.Path, tests: bool = True) -> bool:
    """Whether a category has every result that its config asks for.

    folder: of the category. tests: it has test images.
    """
    names = [result_files.METRICS, result_files.DETAILS]
    if config.write_maps and tests:
        names.append(MAPS)
    # A merged workdir has neither detectors nor what they could be made of.
    if config.write_detectors and (folder / CHECKPOINTS).exists():
        detectors = (detector_file.detector_path(folder, seed) for seed in config.seeds)
        if not all(path.exists() for path in detectors):
            return False
    return all((folder / name).exists() for name in names)


def evaluate_category(
    config: Experiment, category: Category, trained: TrainResult, folder: epath.Path
) -> CategoryResult:
    """Calibrates on the validation images, scores the test images, writes results.

    Each process evaluates its share of the seeds; the first one writes the files.
    """
    print_line(f"evaluate    {len(category.test)} test images")
    evaluation = _Evaluation(config, category, trained, folder)
    places = trained.places
    if len(places) == len(config.seeds):  # every process has all of them
        places = multihost.shard_of(len(places))
    maps, scores_here = multihost.run_on_all(lambda: evaluation.score_seeds(places))
    scores: dict[int, _SeedScores] = {}
    for scores_of_process in multihost.all_gather(scores_here):
        scores |= scores_of_process
    by_seed = [scores[place] for place in range(len(config.seeds))]
    result = CategoryResult(
        dataset=category.dataset,
        name=category.name,
        complete=category.complete,
        notes=category.notes,
        seeds=tuple(config.seeds),
        images=tuple((image.name, image.kind) for image in category.test_images),
        branches={
            branch: tuple(seed.branches[branch] for seed in by_seed)
            for branch in by_seed[0].branches
        },
        validation=tuple(
            seed.validation.scales[COMBINED].image_scores for seed in by_seed
        ),
        image_score=image_score_name(config.method),
        method_validation=tuple(
            seed.validation.method_scores
            for seed in by_seed
            if seed.validation.method_scores is not None
        ),
        fit=by_seed[0].fit,
    )
    # The figures show the first seed, which the first process has.
    multihost.run_on_first(lambda: evaluation.write_results(maps, result))
    return result


@dataclasses.dataclass(frozen=True)
class _Evaluation:
    """The evaluation of a trained category, whose results go to `folder`."""

    config: Experiment
    category: Category
    trained: TrainResult
    folder: epath.Path

    def score_seeds(
        self, places: Sequence[int]
    ) -> tuple[Mapping[str, np.ndarray], dict[int, _SeedScores]]:
        """Test maps by branch, (seeds, N, h, w), and scores of the seeds at `places`.

        Writes their detectors and maps where the config asks for them.
        """
        if not places:
            return {}, {}
        method, category = self.config.method, self.category
        # On the device once, not with every batch.
        detectors = jax.device_put([self.calibrate(place) for place in places])
        score = functools.partial(
            score_images,
            method,
            jit_here(all_maps(method), accelerators()),
            detectors,
            devices=accelerators(),
        )
        fits = [describe_fit(method, detector) for detector in detectors]
        for line in fits[0] if fits else ():
            print_line(f"fit         {line}")
        validation = self.validation_scores(score(category.validation))
        seeds = [self.config.seeds[place] for place in places]
        if self.config.write_detectors:
            for of_seed in zip(seeds, detectors, validation, strict=True):
                self.write_detector(*of_seed)
        maps: Mapping[str, np.ndarray] = {}
        scores: Mapping[str, Sequence[Scores]] = {}
        if len(category.test):
            maps, image_scores = score(category.test)
            scores = evaluate(
                category.test_images,
                maps,
                lambda turn: print_line(f"score       map {turn}"),
                devices=accelerators(),
                method_scores=image_scores if has_own_score(method) else None,
            )
            if self.config.write_maps:
                images = category.test_images
                for i, seed in enumerate(seeds):
                    source = map_source.UpsampledMaps(maps[COMBINED][i], images)
                    root = self.folder / MAPS / f"seed_{seed}"
                    map_files.write_maps(root, category.name, images, source)
        return maps, {
            place: _SeedScores(
                {branch: by_seed[i] for branch, by_seed in scores.items()},
                validation[i],
                fits[i],
            )
            for i, place in enumerate(places)
        }

    def calibrate(self, place: int) -> DetectorState:
        """The detector of the seed at `place`."""
        frozen = self.trained.frozen
        learned = self.trained.learned[self.trained.places.index(place)]
        calibration = self.config.method.calibrate(
            frozen, learned, self.category.validation
        )
        return DetectorState(frozen, learned, calibration)

    def validation_scores(self, scored: ScoredImages) -> list[_ValidationScores]:
        """Of each seed. scored: the validation images, by all seeds.

        Raises:
          UserError: an image score that is no number, which would set no threshold.
        """
        own = has_own_score(self.config.method)
        if not np.isfinite(scored.image_scores).all():
            raise UserError(
                f"{self.category.name}: the image score of a good validation image is "
                "NaN or Inf, so that no threshold can be set."
            )
        return [
            _ValidationScores(
                {
                    branch: detector_file.Scale.of(maps[i])
                    for branch, maps in scored.maps.items()
                },
                tuple(map(float, scores)) if own else None,
            )
            for i, scores in enumerate(scored.image_scores)
        ]

    def write_detector(
        self, seed: int, detector: DetectorState, validation: _ValidationScores
    ) -> None:
        """Writes the detector of a seed, with what the validation images score."""
        path, category = detector_file.detector_path(self.folder, seed), self.category
        file = detector_file.DetectorFile(
            self.config.method,
            detector,
            category.dataset,
            category.name,
            seed,
            validation.scales,
            category.image_size,
            validation.method_scores,
        )
        detector_file.write_detector(path, file)

    def write_results(
        self, maps: Mapping[str, np.ndarray], result: CategoryResult
    ) -> None:
        """The figures, and last the numbers, which say that a category is finished."""
        run_figures.render_figures(
            self.folder, self.category, maps, result, self.config.figure_images
        )
        run_figures.render_losses(self.folder, read_rows(self.folder / ROWS))
        result_files.write_result(self.folder, result)


def describe_fit(method: Method, detector: DetectorState) -> tuple[str, ...]:
    """`Method.describe_fit`; nothing of methods of others that have none (0.1.0)."""
    describe = getattr(method, "describe_fit", None)
    return tuple(describe(detector)) if describe else ()


def print_result(result: CategoryResult) -> None:
    """AU-ROC and AU-sPRO of a category, means over the seeds."""
    if not result.combined:
        message = "no test images: only the validation images were scored"
        print_line(f"result      {message}", result=True)
        return
    lines = [("AU-ROC", auroc, "of images")]
    if result.has_method_scores:
        lines = [
            ("AU-ROC", auroc, "of images by the maximum of the map"),
            ("AU-ROC", decision_auroc, f"of images by {result.image_score}"),
        ]
    lines.append(("AU-sPRO", auspro, f"up to a false positive rate of {LIMIT}"))
    for title, pick, note in lines:
        means = {
            kind: result_files.mean([pick(scores, kind) for scores in result.combined])
            for kind in KIND_OR_MEAN
        }
        cells = ", ".join(f"{short(kind)} {cell([x])}" for kind, x in means.items())
        print_line(f"{title:<12}{cells} ({note})", result=True)
