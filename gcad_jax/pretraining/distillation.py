"""E_loc learns to describe patches as a classification network does.

The pretraining of Student-Teacher (arXiv 1911.02357), on which the paper relies
[P 5.2]: T is the patch form of E_loc, D decodes its descriptor, P is the pretrained
network. L = lambda_k L_k + lambda_c L_c + lambda_m L_m.

There P describes each patch alone. With `grid` and `context` it describes a whole
window at once, as classification networks were trained to, and T learns the features
that P has at the center of each of many patches.
"""

import dataclasses

import jax.numpy as jnp

from gcad_jax.core import fields
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import COMPUTE_TYPES, Features, Images, Tree
from gcad_jax.models.layers.init import imagenet_normalized
from gcad_jax.models.patch_descriptor import PatchDescriptor
from gcad_jax.models.patch_layers import PATCH_SIZES, stride
from gcad_jax.pretraining.losses import CORRELATIONS

TOO_WIDE = "windows would be larger than images"


@dataclasses.dataclass(eq=False)
class Distillation:
    """Hyper-parameters; defaults are those of Student-Teacher for MVTec AD."""

    p: int = fields.field(33, fields.choices(*PATCH_SIZES))
    """Receptive field of E_loc, taken from `P` of the config (pixels) [P 5.2]."""
    d_loc: int = fields.field(128, fields.CHANNELS)
    """Depth of E_loc (features) [arXiv 1911.02357]."""
    width: float = fields.field(1.0, fields.FACTOR)
    """Factor on the hidden widths of E_loc [ours]."""
    slope: float = fields.field(5e-3, fields.NOT_NEGATIVE)
    """Of every LeakyReLU below 0 [arXiv 1911.02357]."""
    p65_conv3: int = fields.field(256, fields.CHANNELS)
    """Width of the third convolution with p = 65, whose published table contradicts
    itself (channels) [ours]."""
    num_steps: int = fields.field(50_000, fields.POSITIVE)
    """Length of the training (updates) [arXiv 1911.02357]."""
    batch_size: int = fields.field(
        64,
        fields.Allowed(
            at_least=2,
            at_most=2**16,
            reason="no device holds as many windows",
            too_low="correlations need two patches or more",
        ),
    )
    """Size of an update (windows) [arXiv 1911.02357]."""
    grid: int = fields.field(1, fields.Allowed(above=0, at_most=1024, reason=TOO_WIDE))
    """Descriptors along a side of a window; 1, a window is one patch [ours]."""
    context: int = fields.field(
        0, fields.Allowed(at_least=0, at_most=fields.SIDE, reason=TOO_WIDE)
    )
    """What lies around the patches of a window, seen by P alone (pixels) [ours]."""
    lambda_k: float = fields.field(1.0, fields.NOT_NEGATIVE)
    """Weight of the distillation. This term and the next two are sums over features and
    pairs, means over patches [arXiv 1911.02357]."""
    lambda_c: float = fields.field(1.0, fields.NOT_NEGATIVE)
    """Weight of the compactness [arXiv 1911.02357]."""
    lambda_m: float = fields.field(0.0, fields.NOT_NEGATIVE)
    """Weight of the metric term [arXiv 1911.02357]."""
    target_layers: tuple[str, ...] = fields.field(("pooled",))
    """Features of P that are learned, one layer after the other: names of stages, or
    'pooled' where grid is 1 and context 0. There it is their mean over the patch, else
    their values at the centers of the patches [arXiv 1911.02357; stages are ours]."""
    target_zoom: float = fields.field(
        1.0, fields.Allowed(above=0, at_most=16, reason=TOO_WIDE)
    )
    """P sees the window enlarged by this factor [ours]."""
    standardised: bool = fields.field(False)
    """Features of P have mean 0 and deviation 1 over the training patches [ours]."""
    correlation: str = fields.field("dims_sq", fields.choices(*CORRELATIONS))
    """Of L_c: between the dimensions of the descriptors, "dims_sq" squared, "dims_abs"
    absolute or "dims_signed", or "samples_sq" between the patches, squared [ours:
    printed without square or magnitude]."""
    margin: float = fields.field(1.0, fields.NOT_NEGATIVE)
    """Delta of L_m, a squared distance [ours]."""
    noise: float = fields.field(0.1, fields.NOT_NEGATIVE)
    """Deviation of the noise on the positive patch of L_m; white is 1 (gray values)
    [arXiv 1911.02357, not checked]."""
    grey_probability: float = fields.field(0.1, fields.FRACTION)
    """Of a patch to lose its colors [arXiv 1911.02357, not checked]."""
    zoom: tuple[int, int] = fields.field(
        (4, 16), fields.PIXELS.items("side", names=("smallest", "largest"))
    )
    """Smallest and largest side of the zoomed image (patches) [arXiv 1911.02357, not
    checked]."""
    learning_rate: float = fields.field(2e-4, fields.POSITIVE)
    """Adam's rate at the beginning [arXiv 1911.02357]."""
    final_learning_rate: float = fields.field(1.0, fields.NOT_NEGATIVE)
    """The fraction of it at the end of a half-cosine decay; 1 keeps the rate constant
    [ours]."""
    weight_decay: float = fields.field(1e-5, fields.NOT_NEGATIVE)
    """L2 added to the gradient before Adam [arXiv 1911.02357]."""
    precision: str = fields.field("float32", fields.choices(*COMPUTE_TYPES))
    """Of the networks' arithmetic [ours]."""

    def validate(self) -> None:
        """Raises UserError for a field outside its range."""
        fields.validate_fields(self, "method.")
        smallest, largest = self.zoom
        if smallest > largest:
            raise UserError(
                f"method.zoom is {self.zoom}; the smaller side comes first, such as "
                "(4, 16)."
            )
        if self.grid > 1 and self.lambda_m:
            raise UserError(
                f"method.lambda_m is {self.lambda_m} and method.grid is {self.grid}; "
                "L_m compares patches of distinct images: set one of them to 0 or 1."
            )
        if not self.target_layers:
            raise UserError(
                "method.target_layers is empty; name one layer of the target or more."
            )
        if self.centers and {"pooled", "logits"} & set(self.target_layers):
            raise UserError(
                f"method.target_layers is {self.target_layers}; with grid "
                f"{self.grid} and context {self.context} the target is read at the "
                "centers of the patches, which 'pooled' and 'logits' do not have: "
                "name maps, such as ('stage2', 'stage3')."
            )

    # -- networks ---------------------------------------------------------------

    def E_loc(self) -> PatchDescriptor:
        """The network that is pretrained: T in its patch form."""
        return PatchDescriptor(
            self.p,
            self.d_loc,
            width=self.width,
            slope=self.slope,
            p65_conv3=self.p65_conv3,
            dtype=COMPUTE_TYPES[self.precision],
        )

    @property
    def shift(self) -> int:
        """Largest shift in pixels of a positive patch; 0 where L_m is off."""
        return (self.p - 1) // 4 if self.lambda_m else 0

    @property
    def side(self) -> int:
        """Of the patches of a window, in pixels."""
        return self.p + stride(self.p) * (self.grid - 1)

    @property
    def window(self) -> int:
        """Side of what P sees: the patches and their context."""
        return self.side + 2 * self.context

    @property
    def cut_side(self) -> int:
        """Side of what is cut out of an image: a window and its shifts."""
        return self.window + 2 * self.shift

    @property
    def centers(self) -> tuple[int, ...] | None:
        """Rows, and columns, of a window that patches are centered on.

        None where P describes the one patch alone.
        """
        if self.grid == 1 and not self.context:
            return None
        first, step = self.context + self.p // 2, stride(self.p)
        return tuple(range(first, first + step * self.grid, step))

    def encode(self, params: Tree, windows: Images) -> Features:
        """(B, window, window, 3) in [0, 1] -> (B, grid, grid, d_loc)."""
        inside = slice(self.context, self.context + self.side)
        x = imagenet_normalized(windows[:, inside, inside])
        y = self.E_loc().apply({"params": params}, x, method="strided")
        return jnp.asarray(y, jnp.float32)

    def decode(self, params: Tree, descriptors: Features) -> Features:
        """(B, grid, grid, d_loc) -> (B, grid, grid, F): a linear layer, not kept."""
        return descriptors @ params["kernel"] + params["bias"].reshape(1, 1, 1, -1)
