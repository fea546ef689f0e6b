"""What can be set in the study of the throughput."""

import dataclasses

from gcad_jax.config.presets import BEHIND, PAPER, SMALL, small
from gcad_jax.core import checks
from gcad_jax.core.checks import not_negative, one_of, positive
from gcad_jax.core.errors import UserError
from gcad_jax.core.types import COMPUTE_TYPES
from gcad_jax.methods.base import Method
from gcad_jax.methods.gcad import GCAD


@dataclasses.dataclass(eq=False, kw_only=True)
class ThroughputStudy:
    """How fast a method trains and scores images on this machine.

    One thing at a time is changed from the method's own setting, with one seed.

    method: its hyper-parameters; precision, batch_size, inference_batch_size and P are
        the own setting [ours].
    own_steps_per_call: how many in a dispatch, of the own setting (updates) [ours].
    precisions: other values to train with [ours].
    batch_sizes: other values to train with (images) [ours].
    steps_per_call: other values to train with (updates) [ours].
    scales: other values to train with: each a receptive field p that stands alone in P
        (pixels) [ours].
    seed_counts: how many are trained at once (seeds) [ours].
    map_seeds: how they are: "vmap" or "unroll" [ours].
    several_devices: also train on 2, 4, ... and all devices of this machine, in both
        layouts; all else is measured on the first [ours].
    loop_updates: those of the loop against its bare calls; 0 takes 200, on CPU 20
        (updates) [ours].
    inference_batch_sizes: other values to score with (images) [ours].
    latency_batch_sizes: of the latency from host array to host array (images) [ours].
    latency_passes: how many to warm up, and as many timed; 0 takes 1000, on CPU 20
        (passes) [ours].
    calls: how many in a round; they follow each other, and only the last is waited for
        (calls) [ours].
    num_images: random ones to train on (images) [ours].
    profile: write a trace of one call of the own setting into WORKDIR/profile [ours].
    """

    method: Method
    own_steps_per_call: int = 1
    precisions: tuple[str, ...] = ("float32", "bfloat16")
    batch_sizes: tuple[int, ...] = (1, 4, 16, 32)
    steps_per_call: tuple[int, ...] = (1, 20)
    scales: tuple[int, ...] = (17, 33)
    seed_counts: tuple[int, ...] = (2,)
    map_seeds: tuple[str, ...] = ("vmap", "unroll")
    several_devices: bool = True
    loop_updates: int = 0
    inference_batch_sizes: tuple[int, ...] = (1, 8, 32)
    latency_batch_sizes: tuple[int, ...] = (1, 16)
    latency_passes: int = 0
    calls: int = 5
    num_images: int = 64
    profile: bool = False

    def has(self, field: str) -> bool:
        """Whether the method has a hyper-parameter of this name."""
        return field in {f.name for f in dataclasses.fields(self.method)}  # type: ignore[arg-type]


def check(config: ThroughputStudy) -> None:
    """Raises UserError for a field outside its range."""
    config.method.validate()
    counts = (
        *("batch_sizes", "steps_per_call", "scales", "seed_counts"),
        *("inference_batch_sizes", "latency_batch_sizes"),
    )
    for name in counts:
        values = getattr(config, name)
        if not all(type(value) is int and value > 0 for value in values):
            raise UserError(
                f"config.{name} is {values}; it must be whole numbers above 0, as in "
                f'--config.{name}="(1,16)".'
            )
    for name, allowed in (
        ("precisions", tuple(COMPUTE_TYPES)),
        ("map_seeds", ("vmap", "unroll")),
    ):
        for value in getattr(config, name):
            one_of(f"config.{name}", value, allowed)
    positive("config.own_steps_per_call", config.own_steps_per_call)
    positive("config.calls", config.calls)
    not_negative("config.latency_passes", config.latency_passes)
    not_negative("config.loop_updates", config.loop_updates)
    if not config.has("batch_size"):
        return
    largest = max((config.method.batch_size, *config.batch_sizes))
    if config.num_images < largest:
        raise UserError(
            f"config.num_images is {config.num_images}, but a batch of {largest} is "
            "to be trained; make it that many or more."
        )


def throughput(preset: str) -> ThroughputStudy:
    """The study of the throughput of GCAD.

    preset: "" for the paper's networks on an accelerator; "small" for those of the
        preset `small` on two CPU cores.

    Raises:
      UserError: another preset.
    """
    checks.one_of(BEHIND, preset, (PAPER, SMALL))
    if preset == SMALL:
        return ThroughputStudy(
            method=small(),
            batch_sizes=(1, 16),
            steps_per_call=(),  # weight gradients in a loop are very slow on CPU
            scales=(17,),
            num_images=16,
            latency_batch_sizes=(1, 16),
        )
    return ThroughputStudy(method=GCAD(batch_size=16, precision="bfloat16"))
