"""The networks of GCAD, and the fields that shape them [P 4, 5.2]."""

import dataclasses

import jax.numpy as jnp

from gcad_jax.core import fields
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import Array, Tree
from gcad_jax.methods.common.hparams import scaled_widths
from gcad_jax.methods.common.pretrained_e_loc import ELocHParams
from gcad_jax.models.global_encoder import GlobalEncoder
from gcad_jax.models.layers.skip_fading import NUM_SKIPS
from gcad_jax.models.patch_descriptor import PatchDescriptor
from gcad_jax.models.patch_layers import ARCHS, STUDENT_TEACHER
from gcad_jax.models.unet import UNet
from gcad_jax.models.upsampler import Upsampler

# The networks that each branch trains, in the order of their keys.
BRANCH_OF_NETWORK = {"E_glo": "A_glo", "U": "A_glo", "R_loc": "A_loc", "R_glo": "A_glo"}
BRANCHES = ("A_loc", "A_glo")
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
    E_loc_arch: str = fields.field(STUDENT_TEACHER, fields.choices(*ARCHS))
    """Of E_loc: "student_teacher", the paper's, or a patch description network of
    EfficientAD (arXiv 2303.14535), "pdn_small" or "pdn_medium", with P (33,) and d_loc
    384; it keeps its published widths and ReLU, whatever E_loc_width and slope are, and
    its weights come from `gcad_jax.convert` [P 5.2; arXiv 2303.14535]."""

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        super().validate()
        if self.branches not in (BRANCHES, *((branch,) for branch in BRANCHES)):
            raise UserError(
                f"branches is {self.branches}; allowed are {BRANCHES}, "
                f"{BRANCHES[:1]} and {BRANCHES[1:]}."
            )
        self.E_glo(), self.U()  # their widths times the factor are checked there

    def E_loc(self, p: int) -> PatchDescriptor:
        """The frozen patch descriptor with receptive field p [P 4, 5.2]."""
        return super().E_loc(p).clone(arch=self.E_loc_arch)

    def E_glo(self) -> GlobalEncoder:
        """The global feature encoder, Fig. 7."""
        widths = scaled_widths("E_glo_widths", self.E_glo_widths, self.width)
        return GlobalEncoder(self.d_glo, self.g, widths, self.slope, self.dtype)

    def U(self) -> Upsampler:
        """Three 1 x 1 convolutions from d_glo to what is distilled [P 5.2, 5.4]."""
        widths = scaled_widths("U_widths", self.U_widths, self.width)
        outputs = self.d_loc if self.distilled == FEATURES else self.channels
        return Upsampler(outputs, widths, self.slope, self.dtype)

    def R_loc(self) -> UNet:
        """Regression network of the local branch: U-Net with d_loc outputs."""
        return UNet(self.d_loc, self.width, dtype=self.dtype)

    def R_glo(self) -> UNet:
        """Regression network of the global branch: U-Net with d_glo outputs."""
        return UNet(self.d_glo, self.width, dtype=self.dtype)

    @property
    def trained_networks(self) -> tuple[str, ...]:
        """The networks that the branches need, for each p."""
        return tuple(
            net for net, branch in BRANCH_OF_NETWORK.items() if branch in self.branches
        )


def apply_network(net, params: Tree, *inputs) -> Array:  # type: ignore[no-untyped-def]
    """A network's outputs in float32, whatever it computes in."""
    return net.apply({"params": params}, *inputs).astype(jnp.float32)
