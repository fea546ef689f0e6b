"""What a config file returns: plain dataclasses that flags can override.

ml_collections reads the annotations, so they must be types, not strings.
"""

import dataclasses

from gcad_jax.core import fields
from gcad_jax.data.dataset import DataSet
from gcad_jax.data.photos import Photos
from gcad_jax.methods.base import Method
from gcad_jax.models.io.npz import STORED_TYPES
from gcad_jax.models.patch_layers import PATCH_SIZES
from gcad_jax.pretraining.distillation import Distillation
from gcad_jax.training.parallel.choose_layout import LAYOUTS
from gcad_jax.training.step import UNROLL, VMAP


@dataclasses.dataclass(eq=False, kw_only=True)
class RunOptions:
    """How a training is run; little of it changes what is learned."""

    seeds: tuple[int, ...] = fields.field(
        (0,), fields.NOT_NEGATIVE.items("seed", fewest=1, distinct=True)
    )
    """One model for each, all in one program [ours]."""
    num_devices: int = fields.field(0, fields.NOT_NEGATIVE, run_only=True)
    """How many of all hosts together; 0 takes as many as the layout can use (devices)
    [ours]."""
    layout: str = fields.field("", fields.choices("", *LAYOUTS), run_only=True)
    """How devices share the work: "batch" splits every batch over the devices; "seed"
    splits the seeds, for many seeds at a small batch; "" takes the one that uses more
    devices [ours]."""
    map_seeds: str = fields.field("", fields.choices("", VMAP, UNROLL))
    """How they are one program; "" unrolls on CPU and vmaps elsewhere [ours]."""
    steps_per_call: int = fields.field(1, fields.POSITIVE, run_only=True)
    """How many in one dispatch; more than one pays where an update takes less than a
    millisecond, and compiles a second program for what it leaves over (updates)
    [ours]."""
    checkpoint_minutes: float = fields.field(5.0, fields.NOT_NEGATIVE, run_only=True)
    """Time between checkpoints (minutes) [ours]."""
    log_every: int = fields.field(50, fields.POSITIVE)
    """Distance between rows of metrics.jsonl (updates) [ours]."""


@dataclasses.dataclass(eq=False, kw_only=True)
class Experiment(RunOptions):
    """Train one method on some categories, evaluate and report.

    The three sizes are the method's own where they are None. A method that trains
    nothing has no epochs and no batch_size, and runs the first of several seeds, on one
    device.
    """

    data: DataSet = fields.field(fields.REQUIRED)
    """A data set of gcad_jax.data; its root and categories say what [ours]."""
    method: Method = fields.field(fields.REQUIRED)
    """A method of gcad_jax.methods with its hyper-parameters [ours]."""
    image_size: int | tuple[int, int] | None = fields.field(None, fields.SIDES)
    """The method's input: one side, or (height, width) where the method takes other
    than squares (pixels) [the method's]."""
    epochs: int | None = fields.field(None, fields.POSITIVE)
    """Passes over the training images, or what the method calls so (epochs) [the
    method's]."""
    batch_size: int | None = fields.field(None, fields.BATCH)
    """Examples of one update, over all devices (images) [the method's]."""
    cache_features: bool = fields.field(False)
    """Compute the frozen features of each training image only once; only where images
    are not augmented. Costs device memory [ours]."""
    write_maps: bool = fields.field(False, run_only=True)
    """Also write the test maps as TIFF files in the official layout [ours]."""
    write_detectors: bool = fields.field(True, run_only=True)
    """Write what `predict` and `export` read: for each category and seed a file with
    the networks (of GCAD at full size 0.5 GB) [ours]."""
    figure_images: int = fields.field(3, fields.NOT_NEGATIVE, run_only=True)
    """How many of each kind in the figure of maps (images) [ours]."""


@dataclasses.dataclass(eq=False, kw_only=True)
class Pretraining(RunOptions):
    """Distil a classification network into E_loc."""

    data: Photos = fields.field(fields.REQUIRED)
    """The natural images [ours]."""
    method: Distillation = fields.field(fields.REQUIRED)
    """Losses and schedule; its p is taken from P [ours]."""
    P: tuple[int, ...] = fields.field((17, 33, 65), fields.choices(*PATCH_SIZES))
    """Patch sizes, one E_loc each (pixels) [P 5.2]."""
    target: str = fields.field("")
    """Weight file of the network that is learned from, written by gcad_jax.convert
    [ours]."""
    threads: int = fields.field(
        2,
        fields.Allowed(
            at_least=1,
            at_most=1024,
            reason="no machine has as many cores",
            too_low="threads must be 1 or more",
        ),
        run_only=True,
    )
    """How many cut patches (threads) [ours]."""
    processes: int = fields.field(
        0,
        fields.Allowed(at_least=0, at_most=1024, reason="each takes memory of its own"),
        run_only=True,
    )
    """How many cut patches in place of the threads, where above 0. Each names the
    images that it cannot read; they are not counted then (processes) [ours]."""
    stored_as: str = fields.field(
        "float32", fields.choices(*STORED_TYPES), run_only=True
    )
    """Type of the numbers in the weight files; "float16" halves their size [ours]."""
