"""What can be set in the study of the throughput."""

import dataclasses

from gcad_jax.config.presets import BEHIND, PAPER, SMALL, narrow
from gcad_jax.core import checks, fields
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import COMPUTE_TYPES
from gcad_jax.methods.base import Method
from gcad_jax.methods.gcad import GCAD
from gcad_jax.training.step import UNROLL, VMAP


@dataclasses.dataclass(eq=False, kw_only=True)
class ThroughputStudy:
    """How fast a method trains and scores images on this machine.

    One thing at a time is changed from the method's own setting, with one seed.
    """

    method: Method = fields.field(fields.REQUIRED)
    """Its hyper-parameters; precision, batch_size, inference_batch_size and P are the
    own setting [ours]."""
    own_steps_per_call: int = fields.field(1, fields.POSITIVE)
    """How many in a dispatch, of the own setting (updates) [ours]."""
    precisions: tuple[str, ...] = fields.field(
        ("float32", "bfloat16"), fields.choices(*COMPUTE_TYPES)
    )
    """Other values to train with [ours]."""
    batch_sizes: tuple[int, ...] = fields.field((1, 4, 16, 32), fields.BATCH)
    """Other values to train with (images) [ours]."""
    steps_per_call: tuple[int, ...] = fields.field(
        (1, 20), fields.POSITIVE, run_only=True
    )
    """Other values to train with (updates) [ours]."""
    scales: tuple[int, ...] = fields.field((17, 33), fields.POSITIVE)
    """Other values to train with: each a receptive field p that stands alone in P
    (pixels) [ours]."""
    seed_counts: tuple[int, ...] = fields.field((2,), fields.POSITIVE)
    """How many are trained at once (seeds) [ours]."""
    map_seeds: tuple[str, ...] = fields.field(
        ("vmap", "unroll"), fields.choices(VMAP, UNROLL)
    )
    """How they are one program [ours]."""
    several_devices: bool = fields.field(True)
    """Also train on 2, 4, ... and all devices of this machine, in both layouts; all
    else is measured on the first [ours]."""
    loop_updates: int = fields.field(0, fields.NOT_NEGATIVE)
    """Those of the loop against its bare calls; 0 takes 200, on CPU 20 (updates)
    [ours]."""
    inference_batch_sizes: tuple[int, ...] = fields.field((1, 8, 32), fields.BATCH)
    """Other values to score with (images) [ours]."""
    latency_batch_sizes: tuple[int, ...] = fields.field((1, 16), fields.BATCH)
    """Of the latency from host array to host array (images) [ours]."""
    latency_passes: int = fields.field(0, fields.NOT_NEGATIVE)
    """How many to warm up, and as many timed; 0 takes 1000, on CPU 20 (passes)
    [ours]."""
    calls: int = fields.field(5, fields.POSITIVE)
    """How many in a round; they follow each other, and only the last is waited for
    (calls) [ours]."""
    num_images: int = fields.field(64, fields.POSITIVE)
    """Random ones to train on (images) [ours]."""
    profile: bool = fields.field(False)
    """Write a trace of one call of the own setting into WORKDIR/profile [ours]."""


def check(config: ThroughputStudy) -> None:
    """Raises UserError for a field outside its range."""
    config.method.validate()
    fields.validate_fields(config, "config.")
    largest = max((config.method.batch_size, *config.batch_sizes))
    if config.method.phases(1) and config.num_images < largest:
        raise UserError(
            f"config.num_images is {config.num_images}, but a batch of {largest} is "
            "to be trained; make it that many or more."
        )


def throughput(preset: str) -> ThroughputStudy:
    """The study of the throughput of GCAD.

    preset: "" for the paper's networks on an accelerator; "small" for narrow
        ones on two CPU cores.

    Raises:
      UserError: another preset.
    """
    checks.one_of(BEHIND, preset, (PAPER, SMALL))
    if preset == SMALL:
        return ThroughputStudy(
            method=narrow(),
            batch_sizes=(1, 16),
            steps_per_call=(),  # weight gradients in a loop are very slow on CPU
            scales=(17,),
            num_images=16,
            latency_batch_sizes=(1, 16),
        )
    return ThroughputStudy(method=GCAD(batch_size=16, precision="bfloat16"))
