"""SPADE (arXiv 2005.02357), as the paper runs it: nearest neighbors in feature space.

Nothing is trained. Of the K training images nearest to a test image the features of
all places make a gallery; a place of the test image is as anomalous as it is far from
its nearest neighbor in the gallery [P 5.2].
"""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core import fields
from gcad_jax.core.axes import accelerators
from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.compiler_options import jit_here
from gcad_jax.core.paths import as_path
from gcad_jax.core.types import AnomalyMaps, Array, Features, Images, ImagesU8, Tree
from gcad_jax.methods.base import DetectorState
from gcad_jax.methods.common import pretrained_e_loc
from gcad_jax.methods.common.apply import in_batches
from gcad_jax.methods.common.aspect import AspectHParams
from gcad_jax.methods.common.defaults import OneMap, Untrained
from gcad_jax.methods.common.hparams import deviations
from gcad_jax.methods.common.nearest import nearest_squared_distances
from gcad_jax.models.classifiers.classifier import classifier
from gcad_jax.models.classifiers.levels import (
    Moments,
    average_pool,
    concatenate_levels,
    fit_level_moments,
    fit_pooled_moments,
)
from gcad_jax.models.classifiers.per_image import map_images
from gcad_jax.models.classifiers.pretrained import (
    IMAGENET,
    PACKAGES,
    check_weights,
    pretrained_classifier,
)
from gcad_jax.models.layers.init import imagenet_normalized
from gcad_jax.models.patch_descriptor import PatchDescriptor

# The last maps at a quarter, an eighth and a sixteenth of the image's side.
LEVELS = {
    "efficientnet_lite0": ("stage2", "stage3", "stage5"),
    "efficientnet_lite0_torch": ("stage2", "stage3", "stage5"),
    "wide_resnet50_2": ("layer1", "layer2", "layer3"),
    "resnet18": ("layer1", "layer2", "layer3"),
    "mobilenet_v2": ("stage2", "stage3", "stage5"),
    "mobilenet_v2_torch": ("stage2", "stage3", "stage5"),
}
STRIDES = (4, 8, 16)  # of them: pixels from one place to the next
POOLED = "pooled"  # the last map's mean, which tells images that are alike
E_LOC = "E_loc"
# The size of E_loc that stands in for each level.
E_LOC_STEPS = dict(zip((17, 33, 65), STRIDES, strict=True))
# Weights of E_loc that need no file.
NO_FILE = (pretrained_e_loc.SHIPPED, pretrained_e_loc.RANDOM)
SEPARATE, CONCATENATED = "separate", "concatenated"
EVERYWHERE, SAME_PLACE = "everywhere", "same_place"
STEP = 16
TRUNCATE = 4.0  # deviations at which the Gaussian ends, as SciPy's

Levels = tuple[Features, ...]  # finest first


@dataclasses.dataclass(eq=False)
class SPADE(AspectHParams, Untrained, OneMap):
    """SPADE; defaults are the paper's where it says."""

    title: ClassVar[str] = "SPADE"

    image_size: int | tuple[int, int] = fields.changed(  # type: ignore[assignment]
        AspectHParams, "image_size", 224, fields.image_sides(STEP)
    )
    keep_aspect: bool = fields.changed(AspectHParams, "keep_aspect", False)
    backbone: str = fields.field(E_LOC, fields.choices(E_LOC, *LEVELS))
    """The network: "wide_resnet50_2" is the paper's; weights of "E_loc" come with the
    package, those of "efficientnet_lite0" with its installation [P 5.2; the default is
    ours]."""
    d_loc: int = fields.field(128, fields.CHANNELS)
    """Depth of E_loc, as in its weights (features) [ours]."""
    E_loc_width: float = fields.field(1.0, fields.FACTOR)
    """Factor on its hidden widths, as in its weights [ours]."""
    weights: str = fields.field(pretrained_e_loc.SHIPPED)
    """Of the backbone: "imagenet", those that a package brings for
    "efficientnet_lite0", or a file written by `gcad_jax.convert`; of E_loc "shipped",
    "random", or the path of weights with {p} for 17, 33 and 65 [ours]."""
    standardized: bool = fields.field(False)
    """Each channel of each level, and of the pooled features that find the nearest
    images, has mean 0 and deviation 1 over the training images [ours]."""
    stride: int = fields.field(STRIDES[0], fields.choices(*STRIDES))
    """Distance of one place from the next, at least: finer levels are averaged to it;
    twice as much is a sixteenth of their comparisons (pixels) [P 5.2]."""
    K: int = fields.field(50, fields.POSITIVE)
    """Training images whose features are the gallery; all where there are fewer
    (images) [P 5.2]."""
    combination: str = fields.field(SEPARATE, fields.choices(SEPARATE, CONCATENATED))
    """Of the levels: "separate", distances of each level, averaged; or "concatenated",
    one distance of the features of all levels [ours]."""
    places: str = fields.field(EVERYWHERE, fields.choices(EVERYWHERE, SAME_PLACE))
    """Neighbors are sought "everywhere" in the gallery's images or at the "same_place"
    [ours]."""
    sigma: float = fields.field(
        4.0,
        fields.Allowed(
            at_least=0, at_most=fields.SIDE, reason="it would be wider than any image"
        ),
    )
    """Of the Gaussian that smooths the map, at the size of the input; 0 for none
    (pixels) [P 5.2]."""

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        super().validate()
        if self.backbone == E_LOC:
            self._check_e_loc()
        elif self.weights in NO_FILE:
            other = (
                f"set weights to {IMAGENET!r}"
                if self.backbone in PACKAGES
                else f"convert some (python -m gcad_jax.convert with "
                f"arch={self.backbone}) and set weights to that file"
            )
            raise UserError(
                f"weights is {self.weights!r}, which are of {E_LOC!r}, but backbone is "
                f"{self.backbone!r}: {other}, or set backbone to {E_LOC!r}.",
                "backbone",
                "weights",
            )
        else:
            check_weights(self.backbone, self.weights)

    def _check_e_loc(self) -> None:
        pretrained_e_loc.check_e_loc(tuple(E_LOC_STEPS), self.E_loc, self.weights)
        for p in E_LOC_STEPS:
            path = self.weights.replace("{p}", str(p))
            if self.weights not in NO_FILE and not as_path(path).is_file():
                raise UserError(
                    f"weights is {self.weights!r}, and there is no file {path!r}; "
                    f"allowed with backbone {E_LOC!r} are {NO_FILE[0]!r}, "
                    f"{NO_FILE[1]!r}, or the path of weights with {{p}} for 17, 33 and "
                    "65."
                )

    # -- features ---------------------------------------------------------------

    def prepare(self, images: ImagesU8) -> Tree:
        """The backbone, and what it says of every training image.

        images: (N, H, W, 3) uint8. Returns "backbone", "pooled" (N, F), and "level_0",
        "level_1", ... (N, h, w, C), the finest first; where they are standardized also
        "moments", the mean and std of each by its name.

        Raises:
          UserError: weights that are missing, damaged, or of another network.
        """
        params = self._backbone(images)
        # The network as an argument: constants of its size take minutes to compile.
        size, devices = self.inference_batch_size, accelerators()
        describe = jit_here(self._describe, devices)
        gallery = in_batches(describe, images, size, (params,), devices)
        if not self.standardized:
            return {"backbone": params, **jax.tree.map(jnp.asarray, gallery)}
        standardized, moments = {}, {}
        for name, features in gallery.items():
            fit = fit_pooled_moments if name == POOLED else fit_level_moments
            moments[name] = jax.jit(fit)(features)
            standardized[name] = jax.jit(Moments.standardize)(moments[name], features)
        by_name = {name: pair._asdict() for name, pair in moments.items()}
        return {"backbone": params, "moments": by_name, **standardized}

    def E_loc(self, p: int) -> PatchDescriptor:
        """The stand-in backbone at one receptive field."""
        return PatchDescriptor(p, self.d_loc, width=self.E_loc_width)

    def _backbone(self, images: ImagesU8) -> Tree:
        if self.backbone == E_LOC:
            size = self.inference_batch_size
            return {
                f"E_loc_{p}": pretrained_e_loc.prepare_e_loc(
                    self.E_loc(p), self.weights, 0, images, size
                )
                for p in E_LOC_STEPS
            }
        network, params = pretrained_classifier(self.backbone, self.weights)
        return network.needed(params, until=POOLED)

    def _describe(self, params: Tree, images: Images) -> Tree:
        """Of (B, H, W, 3): "pooled" (B, F), "level_0" (B, h, w, C), ...; float32."""

        def describe(x: Images) -> Tree:
            levels, pooled = self._levels(params, x)
            levels = tuple(
                average_pool(level, max(1, self.stride // stride))
                for level, stride in zip(levels, STRIDES, strict=True)
            )
            return {POOLED: pooled, **{f"level_{i}": x for i, x in enumerate(levels)}}

        return map_images(describe, images)

    def _levels(self, params: Tree, images: Images) -> tuple[Levels, Array]:
        """Levels (B, h, w, C), and one vector an image (B, F), float32."""
        if self.backbone != E_LOC:
            maps = classifier(self.backbone).maps(params, images, until=POOLED)
            levels = tuple(maps[name] for name in LEVELS[self.backbone])
            return levels, maps[POOLED]
        # Deviates: E_loc at three sizes, averaged, stands in for three levels of a
        # Wide ResNet-50-2, whose weights do not come with the package.
        x = imagenet_normalized(images)
        of_E_loc = []
        for p, step in E_LOC_STEPS.items():
            features = self.E_loc(p).apply({"params": params[f"E_loc_{p}"]}, x)
            of_E_loc.append(average_pool(jnp.asarray(features, jnp.float32), step))
        pooled = [jnp.mean(level, axis=(1, 2)) for level in of_E_loc]
        return tuple(of_E_loc), jnp.concatenate(pooled, axis=-1)

    def _vectors(self, levels: Levels) -> Levels:
        """What is compared, of one image: (h, w, C) for each distance."""
        if self.combination == SEPARATE:
            return levels
        return (concatenate_levels(tuple(level[None] for level in levels))[0],)

    # -- scoring ----------------------------------------------------------------

    def anomaly_map(self, detector: DetectorState, images: Images) -> AnomalyMaps:
        """Distance from the nearest neighbor, smoothed; (B, H, W)."""
        frozen = detector.frozen
        names = sorted(name for name in frozen if name.startswith("level_"))
        gallery = [frozen[name] for name in names]
        count = min(self.K, len(frozen[POOLED]))

        def map_of_image(described: Tree) -> AnomalyMaps:
            apart = frozen[POOLED] - described[POOLED][None]
            _, rows = jax.lax.top_k(-jnp.sum(jnp.square(apart), axis=-1), count)
            queries = self._vectors(tuple(described[name] for name in names))

            # Image by image, so that those of the gallery are never held twice.
            def nearer(best: list[Array], row: Array) -> tuple[list[Array], None]:
                others = self._vectors(tuple(level[row] for level in gallery))
                pairs = zip(best, queries, others, strict=True)
                nearest = [
                    jnp.minimum(b, self._squared_distances(q, o)) for b, q, o in pairs
                ]
                return nearest, None

            start = [jnp.full(q.shape[:2], jnp.inf) for q in queries]
            best, _ = jax.lax.scan(nearer, start, rows)
            maps = [
                jax.image.resize(jnp.sqrt(b), images.shape[1:3], "bilinear")
                for b in best
            ]
            return smooth(sum(maps[1:], maps[0]) / len(maps), self.sigma)

        described = self._describe(frozen["backbone"], images)
        # Detectors of version 0.1.0 have no moments, and nothing is standardized.
        for name, pair in frozen.get("moments", {}).items():
            described[name] = Moments(**pair).standardize(described[name])
        return jax.lax.map(map_of_image, described)

    def _squared_distances(self, query: Features, other: Features) -> Array:
        """Squared distance of each place from its nearest in one image: (h, w)."""
        if self.places == SAME_PLACE:
            return jnp.sum(jnp.square(query - other), axis=-1)
        size = query.shape[-1]
        nearest = nearest_squared_distances(
            query.reshape(-1, size), other.reshape(-1, size)
        )
        return nearest.reshape(query.shape[:2])

    def describe(self) -> tuple[str, ...]:
        """Which backbone stands in for the paper's, and what differs otherwise."""
        paper = {"backbone": "wide_resnet50_2"}
        if self.backbone == E_LOC:
            of = pretrained_e_loc.describe_weights("Backbone: E_loc", self.weights, 0)
        else:
            source = "ImageNet" if self.weights == IMAGENET else self.weights
            of = f"Backbone: {self.backbone}, weights from {source}."
        return of, deviations(self, paper, without="weights")


def smooth(scores: AnomalyMaps, sigma: float) -> AnomalyMaps:  # (H, W) -> (H, W)
    """Gaussian filter; mirrored at the border, ended at four deviations, as SciPy's."""
    if not sigma:
        return scores
    radius = int(TRUNCATE * sigma + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel = jnp.asarray(weights / weights.sum(), jnp.float32)

    def along_columns(x: Array) -> Array:
        padded = jnp.pad(x, ((radius, radius), (0, 0)), mode="symmetric")
        along = jax.vmap(lambda c: jnp.convolve(c, kernel, "valid"), 1, 1)
        return along(padded)

    return along_columns(along_columns(scores).T).T
