"""Configs as flags name them, as files hold them, and as a workdir compares them."""

import dataclasses
import json
import operator
from collections.abc import Iterator
from typing import Any

import jax

from gcad_jax.config import presets
from gcad_jax.config.experiment import Experiment, Pretraining, RunOptions
from gcad_jax.core.fields import field_specs
from gcad_jax.core.version import __version__
from gcad_jax.data.loco import MvtecLocoAd
from gcad_jax.data.mvtec_ad import MvtecAd
from gcad_jax.data.photos import Photos
from gcad_jax.methods.common.hparams import HParams
from gcad_jax.pretraining.distillation import Distillation

# Fields that change how a run proceeds but nothing that it computes: a workdir may be
# continued with other values of these. A newer version continues what it can.
FREE = {"gcad_jax"} | {
    f"{'' if issubclass(kind, RunOptions) else 'data.'}{name}"
    for kind in (Experiment, Pretraining, MvtecAd, MvtecLocoAd, Photos)
    for name, spec in field_specs(kind).items()
    if spec.run_only
}
DATA_SETS = {kind.__name__: kind for kind in (*presets.DATA_SETS.values(), Photos)}


def leaf_fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Name and type of every field that a flag can set: ('data.root', str)."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaf_fields(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, field.type


def shared_settings(config: Any) -> dict[str, Any]:
    """What processes that work on one command must have alike, versions included."""
    names = (name for name, _ in leaf_fields(config))
    values = {
        name: operator.attrgetter(name)(config)
        for name in names
        if not name.endswith("data.cache_dir")  # each host has its own disk
    }
    return {"jax": jax.__version__, "gcad_jax": __version__, **values}


def as_dict(config: RunOptions) -> dict[str, Any]:
    """The config as JSON can hold it, with version, class of `data` and `method`."""
    tree = json.loads(json.dumps(dataclasses.asdict(config)))
    for part in ("data", "method"):
        tree[part] = {"class": type(getattr(config, part)).__name__, **tree[part]}
    return {"gcad_jax": __version__, **tree}


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """'name: old -> new' for every field that changes what is computed.

    A field that an older version did not have counts as at its default: what a version
    adds to a class must by default compute what the class did before.
    """
    olds, news = dict(_flat(_completed(old))), dict(_flat(_completed(new)))
    return [
        f"{name}: {olds.get(name)!r} -> {news.get(name)!r}"
        for name in sorted(olds.keys() | news.keys())
        if name not in FREE and olds.get(name) != news.get(name)
    ]


def _completed(tree: dict[str, Any]) -> dict[str, Any]:
    """The config with the fields that its version did not have, at their defaults."""
    methods = {kind.__name__: kind for kind in _kinds_below(HParams)}
    methods[Distillation.__name__] = Distillation
    whole = dict(tree)
    for part, kinds in (("data", DATA_SETS), ("method", methods)):
        fields = tree.get(part)
        if isinstance(fields, dict) and str(fields.get("class")) in kinds:
            whole[part] = {**_defaults(kinds[str(fields["class"])]), **fields}
    method = tree.get("method")
    distilled = isinstance(method, dict) and method.get("class") == "Distillation"
    return {**_defaults(Pretraining if distilled else Experiment), **whole}


def _kinds_below(kind: type[Any]) -> Iterator[type[Any]]:
    """The classes that inherit from one, those of others included."""
    inheriting: type[Any]
    for inheriting in kind.__subclasses__():
        yield inheriting
        yield from _kinds_below(inheriting)


def _defaults(kind: Any) -> dict[str, Any]:
    """The fields of a dataclass that have a value by default, as JSON has it."""
    return {
        field.name: json.loads(json.dumps(field.default))
        for field in dataclasses.fields(kind)
        if field.default is not dataclasses.MISSING
    }


def _flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
