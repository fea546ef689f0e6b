"""E_loc before training: where its weights come from, and their normalization."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import ClassVar

import jax
import jax.numpy as jnp

from gcad_jax.core import fields
from gcad_jax.core.checks import nearest
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path
from gcad_jax.core.types import Features, Images, ImagesU8, Tree
from gcad_jax.methods.base import Batch
from gcad_jax.methods.common.apply import each_batch
from gcad_jax.methods.common.hparams import AdamHParams
from gcad_jax.models.io.patch_descriptors import load_descriptor, shipped_path
from gcad_jax.models.layers.init import imagenet_normalized
from gcad_jax.models.patch_descriptor import (
    BORDERS,
    PatchDescriptor,
    feature_moments,
    fold_normalization,
)
from gcad_jax.models.patch_layers import ARCHS, PATCH_SIZES

# Deviates: the paper distils E_loc from a ResNet-18; those weights were never
# published, and those that come with the package are distilled from a MobileNetV2.
SHIPPED = "shipped"
RANDOM = "random"


@dataclasses.dataclass(eq=False)
class ELocHParams(AdamHParams):
    """Hyper-parameters of a method that learns from a pretrained E_loc of each p."""

    # What its entries in `frozen` begin with, and what a report calls it.
    E_loc_symbol: ClassVar[str] = "E_loc"
    E_loc_role: ClassVar[str] = "E_loc"

    P: tuple[int, ...] = fields.field((17, 33), fields.choices(*PATCH_SIZES))
    """Receptive fields; a model for each (pixels) [P 5.2]."""
    d_loc: int = fields.field(128, fields.CHANNELS)
    """Depth of E_loc (features) [P 5.2]."""
    E_loc_width: float = fields.field(1.0, fields.FACTOR)
    """Factor on the hidden widths of E_loc, as in its weights [ours]."""
    slope: float = fields.field(5e-3, fields.NOT_NEGATIVE)
    """Of every LeakyReLU below 0 [ours, as in Student-Teacher's networks]."""
    teacher: str = fields.field(SHIPPED)
    """Weights of E_loc: "shipped" with the package, "random", or the path of a weights
    file with {p} for the receptive field [ours: those of the authors were never
    published]."""
    teacher_seed: int = fields.field(0, fields.NOT_NEGATIVE)
    """Seed of the random teacher [ours]."""
    border: str = fields.field("zero", fields.choices(*BORDERS))
    """What E_loc sees outside the image [ours]."""
    p65_conv3: int = fields.field(256, fields.CHANNELS)
    """Width of the third convolution of E_loc with p = 65, whose published table
    contradicts itself (channels) [ours]."""

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        super().validate()
        self._check_E_loc()

    def _check_E_loc(self) -> None:
        check_e_loc(self.P, self.E_loc, self.teacher)

    def E_loc(self, p: int) -> PatchDescriptor:
        """The patch descriptor with receptive field p [P 4, 5.2]."""
        return PatchDescriptor(
            p,
            self.d_loc,
            width=self.E_loc_width,
            slope=self.slope,
            p65_conv3=self.p65_conv3,
            border=self.border,
            dtype=self.dtype,
        )

    def prepare(self, images: ImagesU8) -> Tree:
        """E_loc of each p, its features normalized over all training pixels [P 5.2].

        images: (N, S, S, 3) uint8, unaugmented. Returns parameters by the names
        "<E_loc_symbol>_<p>".
        """
        size, seed = self.inference_batch_size, self.teacher_seed
        return {
            f"{self.E_loc_symbol}_{p}": prepare_e_loc(
                self.E_loc(p), self.teacher, seed, images, size
            )
            for p in self.P
        }

    def cache(self, frozen: Tree, images: Images) -> Tree:
        """E_loc(I) of each p: {"<E_loc_symbol>_<p>": (B, S, S, d_loc)}."""
        x = imagenet_normalized(images)
        names = {p: f"{self.E_loc_symbol}_{p}" for p in self.P}
        return {
            name: self.E_loc(p).apply({"params": frozen[name]}, x)
            for p, name in names.items()
        }

    def cached_or_computed(self, frozen: Tree, batch: Batch) -> Tree:
        """What `cache` returns for the images of a batch."""
        if batch.cached is None:
            return self.cache(frozen, batch.images)
        return batch.cached

    def describe(self) -> tuple[str, ...]:
        """Which weights of E_loc were used, and what differs from the paper."""
        weights = describe_weights(self.E_loc_role, self.teacher, self.teacher_seed)
        return weights, *super().describe()


def check_e_loc(
    P: Sequence[int], E_loc: Callable[[int], PatchDescriptor], source: str
) -> None:
    """Raises UserError unless P names distinct patch sizes for which weights ship.

    E_loc: the network of one patch size. source: as in `load_weights`; that a file is
    there is seen when it is read.
    """
    if not P or len(set(P)) < len(P):
        raise UserError(f"P is {P}; it must name distinct fields, of {PATCH_SIZES}.")
    for net in map(E_loc, P):
        arch = ARCHS[net.arch]
        if net.p not in arch.layers:
            sizes = tuple(arch.layers)
            raise UserError(
                f"P names {net.p}, but E_loc_arch {net.arch!r} describes patches of "
                f"{', '.join(map(str, sizes))} pixels alone: set P to {sizes}."
            )
        if arch.published and net.d_loc != arch.d_loc:
            raise UserError(
                f"d_loc is {net.d_loc}, but E_loc_arch {net.arch!r} has {arch.d_loc} "
                f"features: set d_loc to {arch.d_loc}."
            )
        if source == SHIPPED:
            shipped_path(net)


def load_weights(E_loc: PatchDescriptor, source: str, seed: int) -> Tree:
    """Parameters of E_loc as pretraining left them.

    source: `SHIPPED` for those that come with the package, `RANDOM` for a fixed-seed
        initialization, or the path of a weights file in which {p} stands for the
        receptive field.

    Raises:
      UserError: a file that is missing, damaged, or of another network.
    """
    if source == SHIPPED:
        return load_descriptor(shipped_path(E_loc), E_loc)
    if source != RANDOM:
        path = source.replace("{p}", str(E_loc.p))
        if not as_path(path).is_file():
            raise UserError(
                f"method.teacher is {source!r}, and there is no file {path!r}; allowed "
                f"are {SHIPPED!r}, {RANDOM!r} or the path of a weight file."
                + nearest(source, (SHIPPED, RANDOM))
            )
        return load_descriptor(path, E_loc)
    key = jax.random.fold_in(jax.random.key(seed), E_loc.p)
    # The parameters do not depend on the size of the image.
    return jax.jit(E_loc.init)(key, jnp.zeros((1, 8, 8, 3)))["params"]


def prepare_e_loc(
    E_loc: PatchDescriptor, source: str, seed: int, images: ImagesU8, batch_size: int
) -> Tree:
    """Parameters whose features have mean 0 and deviation 1 over all pixels [P 5.2].

    source, seed: as in `load_weights`, which says what it raises.
    images: (N, H, W, 3) uint8, the training images, unaugmented.
    """
    params = load_weights(E_loc, source, seed)

    @jax.jit
    def describe(params: Tree, x: Images) -> Features:
        return jnp.asarray(E_loc.apply({"params": params}, imagenet_normalized(x)))

    batches = each_batch(functools.partial(describe, params), images, batch_size)
    mean, std = feature_moments(batches)
    return fold_normalization(params, mean, std)


def describe_weights(network: str, source: str, seed: int) -> str:
    """What the report says of the weights of the network of that name."""
    if source == RANDOM:
        return (
            f"{network}: random initialization (seed {seed}), features "
            "normalized on the training images; not pretrained."
        )
    if source == SHIPPED:
        source = "the package (distilled from MobileNetV2: docs/teacher.md)"
    return (
        f"{network}: weights from {source}, features normalized on the training images."
    )
