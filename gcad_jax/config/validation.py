"""What a config means: its sizes in its method, and every field in its range."""

import dataclasses

from gcad_jax.config.experiment import Experiment, RunOptions
from gcad_jax.core import errors, fields
from gcad_jax.methods.base import read_phases

# Sizes of an experiment that take the place of the method's own where they are given.
OVERRIDING = ("image_size", "epochs", "batch_size")


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
    """Raises UserError for a field of the config or of its data outside its range."""
    fields.validate_fields(config, "config.")
    data = getattr(config, "data", None)
    if dataclasses.is_dataclass(data):
        fields.validate_fields(data, "data.")
