"""The closed form of GCAD: nothing is trained by gradients.

E_loc is a frozen network, pretrained on natural images. The global branch asks whether
a place looks as the image as a whole says it should (`global_branch`), the local one
whether good images show anything like it (`local_branch`). Their weights follow from
the training images alone: where the whole explains its parts, the global branch counts.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core import fields
from gcad_jax.core.axes import accelerators
from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.compiler_options import jit_here
from gcad_jax.core.types import (
    COMBINED,
    MAP_MAXIMUM,
    AnomalyMaps,
    Array,
    Images,
    ImageScores,
    ImagesU8,
    Tree,
)
from gcad_jax.data.resize import upsample_jnp
from gcad_jax.methods.base import DetectorState, Learned, ScoredImages
from gcad_jax.methods.closed_form import local_branch
from gcad_jax.methods.closed_form.fit import fit, fit_memory
from gcad_jax.methods.closed_form.gallery import choose_images, describe_images
from gcad_jax.methods.closed_form.global_branch import Bottleneck, Ridge, lengths
from gcad_jax.methods.closed_form.scoring import (
    GLOBAL,
    LOCAL,
    by_level,
    combine,
    gallery_of,
    level_moments,
    moments_of,
    normalize,
    sum_of_levels,
    upsampled_maxima,
)
from gcad_jax.methods.common.apply import in_batches
from gcad_jax.methods.common.aspect import AspectHParams
from gcad_jax.methods.common.defaults import Untrained
from gcad_jax.methods.common.hparams import settings_sentence
from gcad_jax.methods.common.image_score import map_maximum
from gcad_jax.models.classifiers.descriptors import (
    DEEP,
    LEVELS,
    Described,
    Describer,
)
from gcad_jax.models.classifiers.levels import Moments, concatenate_levels
from gcad_jax.models.classifiers.pretrained import (
    IMAGENET,
    check_weights,
    pretrained_classifier,
)

RETRIEVAL, MEMORY = "retrieval", "memory"
MAP, MAP_AND_FEATURES = "map", "map_and_features"
MOST_GLOBAL = 0.5  # of the weights of both branches
# Of the deviations by which the two parts of the image's score are divided, for few
# validation images know little of them: in deviations of the map's pixels, and as a
# share of the mean distance. With dozens of images they were 0.45 to 0.56, and 0.08 to
# 0.17.
MAP_FLOOR, FEATURES_FLOOR = 0.25, 0.05
# What a report says of the explained variance, from so much on.
ALIGNMENT = (
    (0.7, "the parts are aligned"),
    (0.4, "the parts are aligned in part; something turns, moves or varies by itself"),
    (-math.inf, "the parts lie loosely, and the global branch knows little"),
)


@dataclasses.dataclass(eq=False)
class ClosedForm(AspectHParams, Untrained):
    """The closed form of GCAD."""

    title: ClassVar[str] = "Closed form"
    branches: ClassVar[tuple[str, ...]] = (LOCAL, GLOBAL)

    backbone: str = fields.field("efficientnet_lite0", fields.choices(*LEVELS))
    """The frozen network that is E_loc [ours]."""
    weights: str = fields.field(IMAGENET)
    """Of the backbone: "imagenet", those that a package brings for
    "efficientnet_lite0", or a file written by `gcad_jax.convert` [ours]."""
    g: int = fields.field(8, fields.CHANNELS)
    """Numbers that say what an image shows as a whole, E_glo's code; of fewer training
    images one less than there are (features) [P 4; 8 is ours]."""
    ridge: float = fields.field(30.0, fields.Allowed(at_least=0.1))
    """Penalty on the squared coefficients of the regression from these to the
    descriptors [ours]."""
    shrinkage: float = fields.field(0.01, fields.Allowed(above=0, at_most=1))
    """Share of their mean variance that is added to covariances, which makes them
    invertible [ours]."""
    local: str = fields.field(RETRIEVAL, fields.choices(RETRIEVAL, MEMORY))
    """The local branch: "retrieval" looks for each place among the training images that
    are alike as a whole; "memory" in one small memory of all of them [ours]."""
    K: int = fields.field(20, fields.POSITIVE)
    """Training images that retrieval looks in; all where there are fewer (images) [P
    5.2 for SPADE; 20 is ours]."""
    memory_size: int = fields.field(2000, fields.POSITIVE)
    """Descriptors in the memory [ours]."""
    memory_candidates: int = fields.field(60_000, fields.POSITIVE)
    """Descriptors that the memory is chosen from, drawn at random [ours]."""
    memory_seed: int = fields.field(0, fields.NOT_NEGATIVE)
    """Seed of that draw; the seeds of a run change nothing [ours]."""
    w: float | None = fields.field(None, fields.FRACTION)
    """Weight of A_glo; A_loc has 1 - w. None is the smaller of 0.5 and the explained
    variance of the global branch; 0 says that nothing logical is expected [ours]."""
    image_score: str = fields.field(
        MAP_AND_FEATURES, fields.choices(MAP, MAP_AND_FEATURES)
    )
    """What decides about an image: the "map", its maximum; or "map_and_features", that
    and how unusual its pooled features are, each normalized [ours]."""
    max_images: int = fields.field(1000, fields.Allowed(at_least=2, at_most=2**16))
    """Training images that are learned from; of more, those that cover them best. Fewer
    where their descriptors would take more than 1 GB, which is at 4,000 of 256 x 256
    pixels (images) [ours]."""

    def validate(self) -> None:
        """Raises UserError for a field outside its range, or for missing weights."""
        super().validate()
        check_weights(self.backbone, self.weights)

    def describe(self) -> tuple[str, ...]:
        """Which backbone, and what the paper does otherwise."""
        source = "ImageNet" if self.weights == IMAGENET else self.weights
        return (
            f"Backbone: {self.backbone}, weights from {source}; nothing is trained by "
            "gradients.",
            settings_sentence(self),
        )

    def describe_fit(self, detector: DetectorState) -> tuple[str, ...]:
        """Are the parts aligned, and what weights do the branches have?"""
        frozen, w = detector.frozen, float(detector.calibration["w"])
        explained = float(frozen["ridge"]["explained_variance"])
        g, used = frozen["bottleneck"]["projection"].shape[1], len(frozen["pooled"])
        fixed = float(frozen["ridge"]["explained_by_mean"])
        images = f"{used} images"
        if used < (count := int(frozen["count"])):
            images = f"{used} of {count} images, which cover the others,"
        aligned = next(words for least, words in ALIGNMENT if explained >= least)
        chosen = "set" if self.w is not None else "by the explained variance"
        return (
            f"The global branch, {g} number{'s' * (g != 1)} of each of {images} and "
            f"the mean of each "
            f"place, explains {100 * max(explained, 0):.0f} % of the variance of the "
            f"descriptors of images that were left out ({100 * max(fixed, 0):.0f} % "
            f"the means alone): {aligned}.",
            f"A = {w:.2f} {GLOBAL} + {1 - w:.2f} {LOCAL} (w is {chosen}).",
        )

    # -- fitting ----------------------------------------------------------------

    def prepare(self, images: ImagesU8) -> Tree:
        """All that is learned of the training images (N, H, W, 3) uint8, N >= 2.

        Returns the "backbone", the "gallery" of raw descriptors by level or the
        "memory", the "count" of all images, and what `fit.fit` returns.

        Raises:
          UserError: fewer than two images, images that are all alike, or weights that
            are missing, damaged, or of another network.
        """
        if len(images) < 2:
            raise UserError(
                f"{self.title} is fitted to 2 training images or more, and there is "
                f"{len(images)} (those held out for validation do not count); add good "
                "images."
            )
        if np.all(images == images[:1]):
            raise UserError(
                f"the {len(images)} training images are all the same; what varies "
                "among good images is learned from images that differ: add others."
            )
        describer, backbone = Describer(self.backbone), self._backbone()
        batch_size = self.inference_batch_size
        chosen = choose_images(describer, backbone, images, self.max_images, batch_size)
        pooled, gallery = describe_images(describer, backbone, chosen, batch_size)
        fit_all = functools.partial(
            fit,
            g=min(self.g, len(chosen) - 1),
            penalty=self.ridge,
            shrinkage=self.shrinkage,
        )
        fitted = jit_here(fit_all)(pooled, gallery)
        count = jnp.int32(len(images))
        frozen = {"backbone": backbone, "count": count, **fitted}
        if self.local == RETRIEVAL:
            return frozen | {"gallery": by_level(gallery)}
        sizes = self.memory_size, self.memory_candidates, self.memory_seed
        moments = level_moments(frozen)
        memory = jit_here(lambda levels: fit_memory(levels, moments, *sizes))
        return frozen | {"memory": memory(gallery)}

    def _backbone(self) -> Tree:
        """The parameters of the backbone up to its last map that is used."""
        network, params = pretrained_classifier(self.backbone, self.weights)
        return network.needed(params, until=DEEP[self.backbone][-1])

    # -- scoring ----------------------------------------------------------------

    def _describe(self, frozen: Tree, images: Images) -> Described:
        """Levels and pooled features, standardized."""
        described = Describer(self.backbone)(frozen["backbone"], images)
        levels = zip(level_moments(frozen), described.levels, strict=True)
        return Described(
            tuple(moments.standardize(level) for moments, level in levels),
            Moments(**frozen["moments"]["pooled"]).standardize(described.pooled),
        )

    def _raw(
        self, frozen: Tree, images: Images
    ) -> tuple[dict[str, AnomalyMaps], Array]:
        """Maps and distances of images, each on a grid and scale of its own.

        Returns maps (B, h, w) by name, GLOBAL and those of the local branch, "level_0",
        ...; and of the pooled features their Mahalanobis distance from the training
        images, (B,).
        """
        levels, pooled = self._describe(frozen, images)
        descriptors = concatenate_levels(levels)
        codes = Bottleneck(**frozen["bottleneck"])(pooled)
        maps = {GLOBAL: Ridge(**frozen["ridge"]).anomaly_map(codes, descriptors)}
        local: tuple[AnomalyMaps, ...]
        if self.local == MEMORY:
            local = (local_branch.memory_map(descriptors, frozen["memory"]),)
        else:
            K = min(self.K, len(frozen["pooled"]))
            rows = local_branch.nearest_rows(pooled, frozen["pooled"], K)
            local = local_branch.retrieval_maps(levels, gallery_of(frozen), rows)
        apart = pooled - jnp.mean(frozen["pooled"], axis=0)[None]
        return maps | by_level(local), lengths(apart, frozen["pooled_whitening"])

    def _weight(self, frozen: Tree) -> Array:
        """w, of A_glo; ()."""
        if self.w is not None:
            return jnp.float32(self.w)
        explained = frozen["ridge"]["explained_variance"]
        return jnp.clip(explained, 0.0, MOST_GLOBAL)

    def calibrate(self, frozen: Tree, learned: Learned, images: ImagesU8) -> Tree:
        """Mu and sigma of all that is added, from the validation images.

        images: (V, H, W, 3) uint8, good ones. Returns "w", and {"mu": (), "sigma": ()}
        of "level_0", ..., of A_loc, A_glo, and of the two parts of the image's score,
        "map" and "features".
        """
        size, devices = self.inference_batch_size, accelerators()
        maps, distances = in_batches(
            jit_here(self._raw, devices), images, size, (frozen,), devices
        )
        pairs = {name: moments_of(values) for name, values in maps.items()}
        local = jax.jit(sum_of_levels)(maps, pairs)
        pairs[LOCAL] = moments_of(local)
        w = self._weight(frozen)
        branches = {LOCAL: normalize(local, pairs[LOCAL])}
        branches[GLOBAL] = normalize(maps[GLOBAL], pairs[GLOBAL])
        maxima = upsampled_maxima(combine(branches, w), images.shape[1:3])
        pairs["map"] = moments_of(maxima, MAP_FLOOR)
        floor = FEATURES_FLOOR * float(np.mean(distances))
        pairs["features"] = moments_of(distances, floor)
        return {"w": w, **pairs}

    def score_all(self, detector: DetectorState, images: Images) -> ScoredImages:
        """Both branches, A = w A_glo + (1 - w) A_loc, and what decides.

        The branches are normalized on the validation images. Maps (B, H, W).
        """
        raw, distances = self._raw(detector.frozen, images)
        pairs = detector.calibration
        local = normalize(sum_of_levels(raw, pairs), pairs[LOCAL])
        branches = {LOCAL: local, GLOBAL: normalize(raw[GLOBAL], pairs[GLOBAL])}
        maps = branches | {COMBINED: combine(branches, pairs["w"])}
        maps = {n: upsample_jnp(x, *images.shape[1:3]) for n, x in maps.items()}
        scores = map_maximum(maps[COMBINED])
        if self.image_score == MAP_AND_FEATURES:
            unusual = normalize(distances, pairs["features"])
            scores = normalize(scores, pairs["map"]) + unusual
        return ScoredImages(maps, scores)

    def branch_maps(
        self, detector: DetectorState, images: Images
    ) -> Mapping[str, AnomalyMaps]:
        """A_loc and A_glo, each normalized on the validation images; (B, H, W)."""
        maps = self.score_all(detector, images).maps
        return {name: maps[name] for name in self.branches}

    def anomaly_map(self, detector: DetectorState, images: Images) -> AnomalyMaps:
        """A = w A_glo + (1 - w) A_loc; (B, H, W)."""
        return self.score_all(detector, images).maps[COMBINED]

    @property
    def image_score_name(self) -> str:
        """What `image_scores` are."""
        return MAP_MAXIMUM if self.image_score == MAP else "map and pooled features"

    def image_scores(
        self, detector: DetectorState, images: Images, combined: AnomalyMaps
    ) -> ImageScores:
        """What decides, as `image_score` says: (B,)."""
        return self.score_all(detector, images).image_scores
