"""What a config file returns: plain dataclasses that flags can override.

ml_collections reads the annotations, so they must be types, not strings.
"""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import jax

from gcad_jax.core import checks, errors
from gcad_jax.core.version import __version__
from gcad_jax.data.dataset import DataSet
from gcad_jax.data.photos import Photos
from gcad_jax.methods.base import Method, read_phases
from gcad_jax.pretraining.distillation import Distillation
from gcad_jax.training.parallel.choose import LAYOUTS
from gcad_jax.training.step import UNROLL, VMAP

# Fields that change how a run proceeds but nothing that it computes: a workdir may be
# continued with other values of these.
FREE = (
    "gcad_jax",  # the version: a newer one continues what it can
    "checkpoint_minutes",
    "data.cache_dir",
    "num_devices",
    "layout",
    "steps_per_call",
    "write_maps",
    "write_detectors",
    "figure_images",
    "threads",
    "processes",
    "data.memory_gib",
    "stored_as",
)

# Sizes of an experiment that take the place of the method's own where they are given.
OVERRIDING = ("image_size", "epochs", "batch_size")


@dataclasses.dataclass(eq=False, kw_only=True)
class RunOptions:
    """How a training is run; little of it changes what is learned.

    seeds: one model for each, all in one program [ours].
    num_devices: how many of all hosts together; 0 takes as many as the layout can use
        (devices) [ours].
    layout: "batch" splits every batch over the devices; "seed" splits the seeds, for
        many seeds at a small batch; "" takes the one that uses more devices [ours].
    map_seeds: "vmap" or "unroll" the seeds; "" unrolls on CPU and vmaps elsewhere
        [ours].
    steps_per_call: how many in one dispatch; more than one pays where an update takes
        less than a millisecond, and compiles a second program for what it leaves over
        (updates) [ours].
    checkpoint_minutes: time between checkpoints (minutes) [ours].
    log_every: distance between rows of metrics.jsonl (updates) [ours].
    """

    seeds: tuple[int, ...] = (0,)
    num_devices: int = 0
    layout: str = ""
    map_seeds: str = ""
    steps_per_call: int = 1
    checkpoint_minutes: float = 5.0
    log_every: int = 50


@dataclasses.dataclass(eq=False, kw_only=True)
class Experiment(RunOptions):
    """Train one method on some categories, evaluate and report.

    The three sizes are the method's own where they are None. A method that trains
    nothing has no epochs and no batch_size, and runs the first of several seeds, on one
    device.

    data: a data set of gcad_jax.data; `data.root` and `data.categories` say what
        [ours].
    method: a method of gcad_jax.methods with its hyper-parameters [ours].
    image_size: side of the method's square input (pixels) [the method's].
    epochs: passes over the training images, or what the method calls so (epochs) [the
        method's].
    batch_size: examples of one update, over all devices (images) [the method's].
    cache_features: compute the frozen features of each training image only once; only
        where images are not augmented. Costs device memory [ours].
    write_maps: also write the test maps as TIFF files in the official layout [ours].
    write_detectors: write what `predict` and `export` read: for each category and seed
        a file with the networks (of GCAD at full size 0.5 GB) [ours].
    figure_images: how many of each kind in the figure of maps (images) [ours].
    """

    data: DataSet
    method: Method
    image_size: int | None = None
    epochs: int | None = None
    batch_size: int | None = None
    cache_features: bool = False
    write_maps: bool = False
    write_detectors: bool = True
    figure_images: int = 3


@dataclasses.dataclass(eq=False, kw_only=True)
class Pretraining(RunOptions):
    """Distil a classification network into E_loc.

    data: the natural images [ours].
    method: losses and schedule; its p is taken from P [ours].
    P: patch sizes, one E_loc each, of 17, 33, 65 (pixels) [P 5.2].
    target: weight file of the network that is learned from, written by gcad_jax.convert
        [ours].
    threads: how many cut patches (threads) [ours].
    processes: how many cut patches in place of the threads, where above 0. Each names
        the images that it cannot read; they are not counted then (processes) [ours].
    stored_as: type of the numbers in the weight files: "float32", or "float16" for half
        the size [ours].
    """

    data: Photos
    method: Distillation
    P: tuple[int, ...] = (17, 33, 65)
    target: str = ""
    threads: int = 2
    processes: int = 0
    stored_as: str = "float32"


def resolve(config: Experiment) -> Experiment:
    """Copies the overriding sizes into the method, and checks every field.

    Raises:
      UserError: a field outside its range, or two phases of one name.
    """
    values = {name: getattr(config, name) for name in OVERRIDING}
    given = {name: value for name, value in values.items() if value is not None}
    allowed = {field.name for field in dataclasses.fields(config.method)}  # type: ignore[arg-type]
    for name in given:
        if name not in allowed:
            raise errors.UserError(
                f"config.{name} is {given[name]}, but "
                f"{config.method.title} has no {name}: leave it out."
            )
    method = dataclasses.replace(config.method, **given)  # type: ignore[type-var]
    own = {name: getattr(method, name) for name in OVERRIDING if name in allowed}
    config = dataclasses.replace(config, method=method, **own)
    method.validate()
    check_training(config)
    if not read_phases(method, 1):
        # Nothing is trained: seeds would give the same, and no batch is shared out.
        config = dataclasses.replace(config, seeds=config.seeds[:1], num_devices=1)
    return config


def check_training(config: RunOptions) -> None:
    """Raises UserError for a field of `RunOptions` outside its range."""
    if any(type(seed) is not int for seed in config.seeds):
        raise errors.UserError(
            f"config.seeds is {config.seeds}; seeds are whole numbers, as in "
            'seeds="(0,1)".',
            "seeds",
        )
    if not config.seeds or len(set(config.seeds)) < len(config.seeds):
        raise errors.UserError(
            f"config.seeds is {config.seeds}; it must name one seed or more, each once."
        )
    if not all(isinstance(s, int) and 0 <= s < 2**31 for s in config.seeds):
        raise errors.UserError(
            f"config.seeds is {config.seeds}; they are whole numbers of 0 or more, "
            "below 2**31."
        )
    checks.one_of("config.map_seeds", config.map_seeds, ("", VMAP, UNROLL))
    checks.one_of("config.layout", config.layout, ("", *LAYOUTS))
    checks.positive("config.log_every", config.log_every)
    checks.positive("config.steps_per_call", config.steps_per_call)
    for name in ("num_devices", "checkpoint_minutes"):
        checks.not_negative(f"config.{name}", getattr(config, name))


def fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name and type of every field that a flag can set: ('data.root', str)."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field.type


def settings(config: Any) -> dict[str, Any]:
    """What processes that work on one command must have alike, versions included."""
    values = {"jax": jax.__version__, "gcad_jax": __version__}
    for name, _ in fields(config):
        value = config
        for part in name.split("."):
            value = getattr(value, part)
        if not name.endswith("data.cache_dir"):  # each host has its own disk
            values[name] = value
    return values


def as_dict(config: RunOptions) -> dict[str, Any]:
    """The config as JSON can hold it, with version, class of `data` and `method`."""
    tree = json.loads(json.dumps(dataclasses.asdict(config)))
    for part in ("data", "method"):
        tree[part] = {"class": type(getattr(config, part)).__name__, **tree[part]}
    return {"gcad_jax": __version__, **tree}


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """'name: old -> new' for every field that changes what is computed."""
    olds, news = dict(_flat(old)), dict(_flat(new))
    return [
        f"{name}: {olds.get(name)!r} -> {news.get(name)!r}"
        for name in sorted(olds.keys() | news.keys())
        if name not in FREE and olds.get(name) != news.get(name)
    ]


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
