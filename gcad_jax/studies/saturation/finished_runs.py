"""Runs of the main job, as a study reads them: their maps and their test images."""

import contextlib
import dataclasses
import fcntl
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from gcad_jax.core.checks import nearest
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, is_local, list_folder
from gcad_jax.data.circles import Circles
from gcad_jax.data.dataset import DataSet, TestImage
from gcad_jax.data.folder import Folder
from gcad_jax.data.loco import MvtecLocoAd
from gcad_jax.data.mvtec_ad import MvtecAd
from gcad_jax.evaluation.map_files import MAPS
from gcad_jax.evaluation.result_files import METRICS

CONFIG, DATA, LOCK = "config.json", "data.json", ".lock"
# Only what is annotated is used of the test images: the least that is loaded.
IMAGE_SIZE, CHANNELS = 32, 1


@dataclasses.dataclass(frozen=True)
class Workdir:
    """One run.

    path: its --workdir. config: what its config.json holds.
    """

    path: epath.Path
    config: Mapping[str, Any]

    @property
    def data_class(self) -> str:
        """Name of the class of its data set."""
        return str(self.config["data"]["class"])

    @property
    def input(self) -> tuple[str, int]:
        """What decides the form of its test images: class of the method and size."""
        method = self.config["method"]
        return method["class"], method["image_size"]

    def categories(self) -> tuple[str, ...]:
        """Those that were begun, sorted."""
        folders, _ = list_folder(self.path)
        return tuple(f.name for f in folders if (f / DATA).exists())

    def category(self, name: str) -> epath.Path:
        """Folder of a finished category; raises UserError for any other."""
        there = self.categories()
        if name not in there:
            raise UserError(
                f"{self.path} has no category {name!r} but {', '.join(there) or 'none'}"
                "; name categories that all of config.workdirs have by "
                f"--config.object_names.{nearest(name, there)}"
            )
        if not (self.path / name / METRICS).exists():
            raise UserError(
                f"{self.path / name} is not finished, for it holds no {METRICS}; run "
                f"the command of --workdir={self.path} again, which continues it."
            )
        return self.path / name

    def maps(self, name: str) -> dict[int, epath.Path]:
        """Folder of the maps of each seed, ascending; raises UserError for none."""
        folder = self.category(name) / MAPS
        seeds = {
            int(number): path
            for path in (list_folder(folder)[0] if folder.is_dir() else [])
            if (number := path.name.removeprefix("seed_")).isdigit()
        }
        if not seeds:
            raise UserError(
                f"{folder} holds no anomaly maps; run the command of "
                f"--workdir={self.path} once more with --config.write_maps=True, "
                "which evaluates again without training."
            )
        return {seed: seeds[seed] for seed in sorted(seeds)}

    def digest(self, name: str) -> str:
        """Of the test images, as zoomed for the method, and of all their regions."""
        file = self.category(name) / DATA
        try:
            return str(json.loads(file.read_text())["test"]["sha256"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is damaged ({error!r}); {_AGAIN}") from error

    def test_images(self, name: str) -> tuple[TestImage, ...]:
        """Loaded again with the data set of the config; raises UserError."""
        root = self.config["data"].get("root")
        if root and not as_path(root).expanduser().is_dir():
            raise UserError(
                f"{self.path / CONFIG} says that the data set is in {root}, which is "
                "not a folder; put it there again or, where that is a relative path, "
                "start the study in the folder in which the run was started."
            )
        try:
            return self._data_set().load(name, IMAGE_SIZE, CHANNELS).test_images
        except UserError as error:
            raise UserError(f"the data set of {self.path}: {error}") from error

    def _data_set(self) -> DataSet:
        known: dict[str, Callable[..., DataSet]] = {
            c.__name__: c for c in (Circles, Folder, MvtecAd, MvtecLocoAd)
        }
        fields = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in self.config["data"].items()
            if key != "class"
        }
        try:
            return known[self.data_class](**fields)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{self.path / CONFIG} names a data set that this version does not "
                f"know ({self.data_class}: {error}); give the data set in MVTec's "
                "layout by --config.dataset_base_dir=DIR."
            ) from error


_AGAIN = "name the --workdir of a run, or start that run again."


@contextlib.contextmanager
def opened(paths: Sequence[str]) -> Iterator[tuple[Workdir, ...]]:
    """The runs; none of them can be continued while the block runs.

    Raises:
      UserError: no folder, no run in it, or one in which a process is at work.
    """
    with contextlib.ExitStack() as locks:
        yield tuple(_open(as_path(path).expanduser(), locks) for path in paths)


def _open(path: epath.Path, locks: contextlib.ExitStack) -> Workdir:
    if not path.is_dir():
        raise UserError(
            f"config.workdirs names {path}, which is not a folder; name the --workdir "
            "of a run."
        )
    if is_local(path) and (path / LOCK).exists():
        lock = locks.enter_context((path / LOCK).open())
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UserError(
                f"config.workdirs names {path}, in which a run is still at work; wait "
                "for it to end."
            ) from error
    file = path / CONFIG
    if not file.is_file():
        raise UserError(f"{path} holds no {CONFIG}, so no run; {_AGAIN}")
    try:
        run = Workdir(path, json.loads(file.read_text()))
        _ = run.data_class, run.input
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} does not hold the config of a run ({error!r}); {_AGAIN}"
        ) from error
    return run
