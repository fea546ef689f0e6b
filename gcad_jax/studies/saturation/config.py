"""What can be set in the study of the saturation thresholds."""

import dataclasses
import math
import pathlib

from gcad_jax.core.checks import not_negative, one_of, positive
from gcad_jax.core.errors import UserError
from gcad_jax.evaluation.ranks.rank import AUTO, BINNED, EXACT


@dataclasses.dataclass(eq=False)
class SaturationStudy:
    """Compare sets of anomaly maps at many draws of the saturation thresholds.

    dataset_base_dir: the data set, in MVTec LOCO AD's layout or MVTec AD's; '' takes
        the one that the runs of workdirs were evaluated on [ours].
    object_names: its categories; () takes all of them [ours].
    maps: folders of anomaly maps in the official layout, one for each method [ours].
    workdirs: runs of this program with write_maps, one set of maps for each seed
        [ours].
    names: of the methods, first those of maps; () takes the names of the folders
        [ours].
    num_draws: how many of all thresholds of a category (draws) [ours; ten in P 5.4].
    seed: of the draws, which are the same for every method [ours].
    low: least factor that a threshold is drawn with, uniformly; 1 is the original [P
        5.4].
    high: largest factor [P 5.4].
    vary_relative: draw relative thresholds too, where they are below 1 [ours].
    mode: of the pass: "auto", "exact" or "binned" [ours].
    tolerance: of the binned pass, the largest bound of an AU-sPRO [ours].
    """

    dataset_base_dir: str = ""
    object_names: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    workdirs: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    num_draws: int = 10_000
    seed: int = 0
    low: float = 0.5
    high: float = 1.5
    vary_relative: bool = True
    mode: str = AUTO
    tolerance: float = 1e-5


def check_config(config: SaturationStudy) -> None:
    """Raises UserError for a field outside its range."""
    if not (config.dataset_base_dir or config.workdirs):
        raise UserError(
            "config.dataset_base_dir is empty; point --config.dataset_base_dir=DIR at "
            "the data set that the maps belong to, or name runs by --config.workdirs."
        )
    _check_names(config)
    positive("config.num_draws", config.num_draws)
    not_negative("config.seed", config.seed)
    positive("config.low", config.low)
    positive("config.tolerance", config.tolerance)
    one_of("config.mode", config.mode, (AUTO, EXACT, BINNED))
    if not config.low <= config.high < math.inf:
        raise UserError(
            f"config.high is {config.high} and config.low {config.low}; high must be "
            "a finite number that is not below low."
        )


def _check_names(config: SaturationStudy) -> None:
    for field in ("object_names", "maps", "workdirs", "names"):
        values = getattr(config, field)
        if not all(isinstance(v, str) and v for v in values):
            raise UserError(
                f"config.{field} is {values}; it must be names in quotes, as in "
                f"--config.{field}=\"('A','B')\"."
            )
    for name in config.object_names:
        if config.object_names.count(name) > 1 or pathlib.PurePath(name).name != name:
            raise UserError(
                f"config.object_names is {config.object_names}; it must name "
                "categories, which are folders, each once."
            )
