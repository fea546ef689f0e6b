"""SPADE (arXiv 2005.02357), as the paper runs it: nearest neighbors in feature space.

Nothing is trained. Of the K training images nearest to a test image the features of
all places make a gallery; a place of the test image is as anomalous as it is far from
its nearest neighbor in the gallery [P 5.2].
"""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from gcad_jax.core import fields
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path
from gcad_jax.core.types import AnomalyMaps, Array, Features, Images, ImagesU8, Tree
from gcad_jax.methods.base import DetectorState
from gcad_jax.methods.common import pretrained_e_loc
from gcad_jax.methods.common.apply import in_batches
from gcad_jax.methods.common.aspect import AspectHParams
from gcad_jax.methods.common.defaults import OneMap, Untrained
from gcad_jax.methods.common.hparams import deviations
from gcad_jax.models.classifiers.classifier import classifier, load_classifier
from gcad_jax.models.classifiers.levels import average_pool
from gcad_jax.models.layers.init import imagenet_normalized
from gcad_jax.models.patch_descriptor import PatchDescriptor

# Maps at a quarter, an eighth and a sixteenth of the image's side.
LEVELS = {
    "wide_resnet50_2": ("layer1", "layer2", "layer3"),
    "resnet18": ("layer1", "layer2", "layer3"),
    "mobilenet_v2": ("stage2", "stage3", "stage5"),
}
E_LOC = "E_loc"
E_LOC_STEPS = {17: 4, 33: 8, 65: 16}  # p, and pixels that are averaged to one place
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
    package [P 5.2; the default is ours]."""
    d_loc: int = fields.field(128, fields.CHANNELS)
    """Depth of E_loc, as in its weights (features) [ours]."""
    E_loc_width: float = fields.field(1.0, fields.FACTOR)
    """Factor on its hidden widths, as in its weights [ours]."""
    weights: str = fields.field(pretrained_e_loc.SHIPPED)
    """Of the backbone: a file written by `gcad_jax.convert`; of E_loc "shipped",
    "random", or the path of weights with {p} for 17, 33 and 65 [ours]."""
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
            pretrained_e_loc.check_e_loc(tuple(E_LOC_STEPS), self.E_loc, self.weights)
        named = (pretrained_e_loc.SHIPPED, pretrained_e_loc.RANDOM)
        for p in E_LOC_STEPS if self.backbone == E_LOC else ():
            path = self.weights.replace("{p}", str(p))
            if self.weights not in named and not as_path(path).is_file():
                raise UserError(
                    f"weights is {self.weights!r}, and there is no file {path!r}; "
                    f"allowed with backbone {E_LOC!r} are {named[0]!r}, {named[1]!r}, "
                    "or the path of weights with {p} for 17, 33 and 65."
                )
        if self.backbone != E_LOC and self.weights in named:
            raise UserError(
                f"weights is {self.weights!r}, but backbone is {self.backbone!r}, of "
                "which no weights come with the package: convert some (python "
                f"-m gcad_jax.convert with arch={self.backbone}) and set "
                f"weights to that file, or set backbone to {E_LOC!r}."
            )

    # -- features ---------------------------------------------------------------

    def prepare(self, images: ImagesU8) -> Tree:
        """The backbone, and what it says of every training image.

        images: (N, H, W, 3) uint8. Returns "backbone", "pooled" (N, F), and "level_0",
        "level_1", ... (N, h, w, C), the finest first.

        Raises:
          UserError: weights that are missing, damaged, or of another network.
        """
        params = self._backbone(images)

        # As an argument: a constant of this size would take minutes to compile.
        @jax.jit
        def describe(params: Tree, x: Images) -> Tree:
            levels, pooled = self._features(params, x)
            return {"pooled": pooled} | {
                f"level_{i}": level for i, level in enumerate(levels)
            }

        described = functools.partial(describe, params)
        gallery = in_batches(described, images, self.inference_batch_size)
        return {"backbone": params, **jax.tree.map(jnp.asarray, gallery)}

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
        network, params = load_classifier(self.weights)
        if network.arch != self.backbone:
            raise UserError(
                f"{self.weights} holds a {network.arch!r}, but backbone is "
                f"{self.backbone!r}: change one of them."
            )
        return params

    def _features(self, params: Tree, images: Images) -> tuple[Levels, Array]:
        """Levels (B, h, w, C), and one vector an image (B, F), float32."""
        if self.backbone != E_LOC:
            maps = classifier(self.backbone).maps(params, images)
            levels = tuple(maps[name] for name in LEVELS[self.backbone])
            return levels, maps["pooled"]
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
        side = levels[0].shape[:2]
        same = [jax.image.resize(x, (*side, x.shape[-1]), "bilinear") for x in levels]
        return (jnp.concatenate(same, axis=-1),)

    # -- scoring ----------------------------------------------------------------

    def anomaly_map(self, detector: DetectorState, images: Images) -> AnomalyMaps:
        """Distance from the nearest neighbor, smoothed; (B, H, W)."""
        frozen = detector.frozen
        gallery = [frozen[name] for name in sorted(frozen) if name.startswith("level_")]
        count = min(self.K, len(frozen["pooled"]))

        def map_of_image(inputs: tuple[Levels, Array]) -> AnomalyMaps:
            levels, pooled = inputs
            apart = jnp.sum(jnp.square(frozen["pooled"] - pooled[None]), axis=-1)
            _, rows = jax.lax.top_k(-apart, count)
            queries = self._vectors(levels)

            # Image by image, so that the distances of one pair of images are all that
            # is held: 39 MB of the finest level at 224 x 224 pixels, whatever K is.
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

        described = self._features(frozen["backbone"], images)
        return jax.lax.map(map_of_image, described)

    def _squared_distances(self, query: Features, other: Features) -> Array:
        """Squared distance of each place from its nearest in one image: (h, w)."""
        if self.places == SAME_PLACE:
            return jnp.sum(jnp.square(query - other), axis=-1)
        height, width, size = query.shape
        q, o = query.reshape(-1, size), other.reshape(-1, size)
        # Full products: a small distance is the difference of two large numbers.
        products = jnp.matmul(q, o.T, precision=jax.lax.Precision.HIGHEST)
        squares = jnp.sum(jnp.square(o), axis=-1)[None] - 2 * products
        nearest = jnp.min(squares, axis=-1) + jnp.sum(jnp.square(q), axis=-1)
        return jnp.maximum(nearest, 0).reshape(height, width)

    def describe(self) -> tuple[str, ...]:
        """Which backbone stands in for the paper's, and what differs otherwise."""
        paper = {"backbone": "wide_resnet50_2"}
        if self.backbone == E_LOC:
            of = pretrained_e_loc.describe_weights("Backbone: E_loc", self.weights, 0)
        else:
            of = f"Backbone: {self.backbone} from {self.weights}."
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
