"""What can be set in the study of the saturation thresholds."""

import dataclasses
import pathlib

from gcad_jax.core import fields
from gcad_jax.core.errors import UserError
from gcad_jax.evaluation.ranks.rank import AUTO, BINNED, EXACT


@dataclasses.dataclass(eq=False)
class SaturationStudy:
    """Compare sets of anomaly maps at many draws of the saturation thresholds."""

    dataset_base_dir: str = fields.field("")
    """The data set, in MVTec LOCO AD's layout or MVTec AD's; '' takes the one that the
    runs of workdirs were evaluated on [ours]."""
    object_names: tuple[str, ...] = fields.field(())
    """Its categories; () takes all of them [ours]."""
    maps: tuple[str, ...] = fields.field(())
    """Folders of anomaly maps in the official layout, one for each method [ours]."""
    workdirs: tuple[str, ...] = fields.field(())
    """Runs of this program with write_maps, one set of maps for each seed [ours]."""
    names: tuple[str, ...] = fields.field(())
    """Of the methods, first those of maps; () takes the names of the folders [ours]."""
    num_draws: int = fields.field(10_000, fields.POSITIVE)
    """How many of all thresholds of a category (draws) [ours; ten in P 5.4]."""
    seed: int = fields.field(0, fields.NOT_NEGATIVE)
    """Of the draws, which are the same for every method [ours]."""
    low: float = fields.field(0.5, fields.POSITIVE)
    """Least factor that a threshold is drawn with, uniformly; 1 is the original [P
    5.4]."""
    high: float = fields.field(1.5, fields.POSITIVE)
    """Largest factor [P 5.4]."""
    vary_relative: bool = fields.field(True)
    """Draw relative thresholds too, where they are below 1 [ours]."""
    mode: str = fields.field(AUTO, fields.choices(AUTO, EXACT, BINNED))
    """Of the pass [ours]."""
    tolerance: float = fields.field(1e-5, fields.POSITIVE)
    """Of the binned pass, the largest bound of an AU-sPRO [ours]."""


def check_config(config: SaturationStudy) -> None:
    """Raises UserError for a field outside its range."""
    if not (config.dataset_base_dir or config.workdirs):
        raise UserError(
            "config.dataset_base_dir is empty; point dataset_base_dir=DIR at the data "
            "set that the maps belong to, or name runs by workdirs=\"('DIR',)\".",
            "dataset_base_dir",
            "workdirs",
        )
    fields.validate_fields(config, "config.")
    for name in config.object_names:
        if config.object_names.count(name) > 1 or pathlib.PurePath(name).name != name:
            raise UserError(
                f"config.object_names is {config.object_names}; it must name "
                "categories, which are folders, each once."
            )
    if not config.low <= config.high:
        raise UserError(
            f"config.high is {config.high} and config.low {config.low}; high must "
            "not be below low."
        )
