"""The networks of GCAD, and the fields that shape them [P 4, 5.2]."""

import dataclasses

import jax.numpy as jnp

from gcad_jax.core import fields
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import Array, Images, ImagesU8, Tree
from gcad_jax.methods.common.hparams import deviations, scaled_widths
from gcad_jax.methods.common.pretrained_e_loc import RANDOM, SHIPPED, ELocHParams
from gcad_jax.methods.gcad.classifier_e_loc import ClassifierELoc
from gcad_jax.models.classifiers.descriptors import LEVELS, STRIDES
from gcad_jax.models.classifiers.levels import average_pool
from gcad_jax.models.classifiers.pretrained import IMAGENET, check_weights
from gcad_jax.models.code_decoder import CodeDecoder
from gcad_jax.models.global_encoder import GlobalEncoder
from gcad_jax.models.layers.init import imagenet_normalized
from gcad_jax.models.layers.skip_fading import NUM_SKIPS
from gcad_jax.models.patch_descriptor import PatchDescriptor
from gcad_jax.models.patch_layers import ARCHS, STUDENT_TEACHER
from gcad_jax.models.unet import UNet
from gcad_jax.models.upsampler import Upsampler

# The networks that each branch trains, in the order of their keys.
BRANCH_OF_NETWORK = {"E_glo": "A_glo", "U": "A_glo", "R_loc": "A_loc", "R_glo": "A_glo"}
BRANCHES = ("A_loc", "A_glo")
PATCH_STRIDES = (1, 2)  # of the descriptors of patches, beside those of the others
FEATURES, IMAGE = "E_loc", "image"


@dataclasses.dataclass(eq=False)
class Networks(ELocHParams):
    """E_loc, E_glo, U, R_loc and R_glo; one of each for every receptive field in P."""

    batch_size: int = fields.changed(ELocHParams, "batch_size", 1)
    """Examples of an update; 1 is what Student-Teacher uses at the same rate and decay
    (images) [ours: P 5.2 does not say]."""
    d_glo: int = fields.field(10, fields.CHANNELS)
    """Depth of E_glo (features) [P 5.2]."""
    g: int = fields.field(32, fields.CHANNELS)
    """Size of the global context vector (features) [P 5.2]."""
    branches: tuple[str, ...] = fields.field(BRANCHES)
    """Whose maps are summed; one of them alone is trained alone [P 4; alone in P Fig.
    12]."""
    distilled: str = fields.field(FEATURES, fields.choices(FEATURES, IMAGE))
    """What U is taught: "E_loc" (Eq. 3), or for an ablation "image", the input itself
    (Eq. 6) [P 4; P Fig. 14]."""
    width: float = fields.field(1.0, fields.FACTOR)
    """Factor on every hidden width of E_glo, U, R_loc and R_glo [ours]."""
    E_glo_widths: tuple[int, ...] = fields.field(
        (32, 32, 64, 64, 128), fields.CHANNELS.items("width", NUM_SKIPS)
    )
    """Channels of the five halvings of E_glo, before the factor (channels) [ours, as in
    networks of the same group]."""
    U_widths: tuple[int, ...] = fields.field((64, 128), fields.CHANNELS.items("width"))
    """Those of the first two of U's three 1 x 1 convolutions, before the factor
    (channels) [ours: P 5.2 names their number]."""
    E_loc_arch: str = fields.field(STUDENT_TEACHER, fields.choices(*ARCHS, *LEVELS))
    """Of E_loc: "student_teacher", the paper's; a patch description network of
    EfficientAD (arXiv 2303.14535), "pdn_small" or "pdn_medium", with P (33,) and d_loc
    384; or a classification network in place of all of P, such as "efficientnet_lite0"
    with d_loc 256 and stride 4 or 8, where E_glo is a linear layer on g principal
    components of its pooled features. These keep their published widths, whatever
    E_loc_width and slope are, and teacher names their weights [P 5.2; arXiv 2303.14535;
    classification networks are ours]."""
    stride: int = fields.field(1, fields.choices(*PATCH_STRIDES, *STRIDES))
    """From one feature of any network to the next. Where above 1, the networks see the
    pixels of each place stacked, and the features of a patch descriptor are averaged
    over them; a classification network has 4 or 8 (pixels) [P 5.2; ours where above
    1]."""
    unet_depth: int = fields.field(
        5,
        fields.Allowed(
            above=0, at_most=8, reason="each level has twice the channels of the last"
        ),
    )
    """Sizes at which R_loc and R_glo compute, each half of the one before [P 5.2]."""

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        super().validate()
        if self.branches not in (BRANCHES, *((branch,) for branch in BRANCHES)):
            raise UserError(
                f"branches is {self.branches}; allowed are {BRANCHES}, "
                f"{BRANCHES[:1]} and {BRANCHES[1:]}."
            )
        self.E_glo(), self.U()  # their widths times the factor are checked there
        halvings = self.unet_depth - 1
        if self.classifier is None and "A_glo" in self.branches:
            halvings = max(halvings, NUM_SKIPS)  # of E_glo
        step = self.stride * 2**halvings
        if self.image_size % step:
            raise UserError(
                f"image_size is {self.image_size}; with stride {self.stride} and "
                f"unet_depth {self.unet_depth} it must be a multiple of {step}.",
                "image_size",
                "unet_depth",
            )

    def describe(self) -> tuple[str, ...]:
        """Which weights of E_loc were used, and what differs from the paper."""
        if self.classifier is None:
            return super().describe()
        source = "ImageNet" if self.teacher == IMAGENET else self.teacher
        return (
            f"E_loc: {self.E_loc_arch}, weights from {source}, features normalized on "
            "the training images; it takes the place of all receptive fields P.",
            deviations(self, without="teacher"),
        )

    def _check_E_loc(self) -> None:
        if self.classifier is None:
            super()._check_E_loc()
            return
        if self.stride not in STRIDES:
            raise UserError(
                f"stride is {self.stride}, but E_loc_arch {self.E_loc_arch!r} has "
                f"features {STRIDES[0]} or {STRIDES[1]} pixels apart: set stride to "
                "one of these.",
                "stride",
                "E_loc_arch",
            )
        if self.d_loc != self.classifier.describer.depth:
            raise UserError(
                f"d_loc is {self.d_loc}, but E_loc_arch {self.E_loc_arch!r} has "
                f"{self.classifier.describer.depth} features: set d_loc to that.",
                "d_loc",
                "E_loc_arch",
            )
        if self.teacher in (SHIPPED, RANDOM):
            raise UserError(
                f"teacher is {self.teacher!r}, but E_loc_arch is {self.E_loc_arch!r}: "
                f"set teacher to {IMAGENET!r} or to a file of gcad_jax.convert.",
                "teacher",
                "E_loc_arch",
            )
        check_weights(self.E_loc_arch, self.teacher)

    # -- E_loc ------------------------------------------------------------------

    @property
    def classifier(self) -> ClassifierELoc | None:
        """E_loc where it is a classification network."""
        if self.E_loc_arch not in LEVELS:
            return None
        return ClassifierELoc(self.E_loc_arch, self.stride, self.g)

    @property
    def models(self) -> tuple[int | str, ...]:
        """What names of networks end with: each p, or the classification network."""
        return self.P if self.classifier is None else (self.E_loc_arch,)

    def prepare(self, images: ImagesU8) -> Tree:
        """E_loc of each model, {"E_loc_<model>": parameters}; (N, S, S, 3) uint8.

        Its features are normalized over all places of the training images [P 5.2].
        """
        if self.classifier is None:
            return super().prepare(images)
        size = self.inference_batch_size
        params = self.classifier.prepare(self.teacher, images, size)
        return {f"E_loc_{self.E_loc_arch}": params}

    def cache(self, frozen: Tree, images: Images) -> Tree:
        """E_loc(I) of each model: {"E_loc_<model>": (B, h, w, d_loc)}, h = S / stride.

        Of a classification network also {"code_<model>": (B, g)}.
        """
        if self.classifier is None:
            features = super().cache(frozen, images)
            # Deviates: a mean over the pixels of a place, where `stride` is above 1.
            return {name: average_pool(x, self.stride) for name, x in features.items()}
        (model,) = self.models
        E_loc, code = self.classifier.describe(frozen[f"E_loc_{model}"], images)
        return {f"E_loc_{model}": E_loc, f"code_{model}": code}

    def seen(self, images: Images) -> Array:  # (B, S, S, C) -> (B, S/s, S/s, s s C)
        """What trained networks see: normalized pixels, those of a place stacked."""
        x = imagenet_normalized(images)
        batch, height, width, channels = x.shape
        s = self.stride
        x = x.reshape(batch, height // s, s, width // s, s, channels)
        x = x.transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(batch, height // s, width // s, s * s * channels)

    # -- trained networks -------------------------------------------------------

    def E_loc(self, p: int) -> PatchDescriptor:
        """The frozen patch descriptor with receptive field p [P 4, 5.2]."""
        return super().E_loc(p).clone(arch=self.E_loc_arch)

    def E_glo(self) -> GlobalEncoder | CodeDecoder:
        """The global feature encoder, Fig. 7; of a classification network its end."""
        if self.classifier is not None:
            # Deviates: the code is that of the frozen network, which has seen a million
            # images; an encoder of our own would have to learn it from a few hundred.
            side = self.image_size // self.stride
            return CodeDecoder(self.d_glo, (side, side), self.dtype)
        widths = scaled_widths("E_glo_widths", self.E_glo_widths, self.width)
        return GlobalEncoder(self.d_glo, self.g, widths, self.slope, self.dtype)

    def U(self) -> Upsampler:
        """Three 1 x 1 convolutions from d_glo to what is distilled [P 5.2, 5.4]."""
        widths = scaled_widths("U_widths", self.U_widths, self.width)
        pixels = self.channels * self.stride**2
        outputs = self.d_loc if self.distilled == FEATURES else pixels
        return Upsampler(outputs, widths, self.slope, self.dtype)

    def R_loc(self) -> UNet:
        """Regression network of the local branch: U-Net with d_loc outputs."""
        return UNet(self.d_loc, self.width, depth=self.unet_depth, dtype=self.dtype)

    def R_glo(self) -> UNet:
        """Regression network of the global branch: U-Net with d_glo outputs."""
        return UNet(self.d_glo, self.width, depth=self.unet_depth, dtype=self.dtype)

    @property
    def trained_networks(self) -> tuple[str, ...]:
        """The networks that the branches need, for each p."""
        return tuple(
            net for net, branch in BRANCH_OF_NETWORK.items() if branch in self.branches
        )


def apply_network(net, params: Tree, *inputs) -> Array:  # type: ignore[no-untyped-def]
    """A network's outputs in float32, whatever it computes in."""
    return net.apply({"params": params}, *inputs).astype(jnp.float32)
