"""Runs of the main job, as the study reads them: their maps and their test images."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from etils import epath

from gcad_jax.core.checks import nearest
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, list_folder
from gcad_jax.data.circles import Circles
from gcad_jax.data.dataset import DataSet, TestImage
from gcad_jax.data.folder import Folder
from gcad_jax.data.loco import MvtecLocoAd
from gcad_jax.data.mvtec_ad import MvtecAd
from gcad_jax.evaluation.map_files import MAPS
from gcad_jax.evaluation.result_files import METRICS
from gcad_jax.runs.lock import lock_for_reading
from gcad_jax.runs.workdir import CONFIG, DATA

# Only what is annotated is used of the test images: the least that is loaded.
_IMAGE_SIZE, _CHANNELS = 32, 1
_DATA_SETS: Mapping[str, Callable[..., DataSet]] = {
    c.__name__: c for c in (Circles, Folder, MvtecAd, MvtecLocoAd)
}
# Class of a method, its image size, whether it keeps the aspect.
TestForm: TypeAlias = tuple[str, int | tuple[int, int], bool]
_NO_RUN = "name the workdir of a run, or start that run again."


@dataclasses.dataclass(frozen=True)
class SourceRun:
    """A run of the main job.

    path: its workdir.
    data_class: name of the class of its data set.
    data_fields: what that class is constructed from.
    test_form: what decides the form of its test images: class of the method, image
        size, and whether the aspect is kept.
    """

    path: epath.Path
    data_class: str
    data_fields: Mapping[str, Any]
    test_form: TestForm

    @classmethod
    def open(cls, folder: str, locks: contextlib.ExitStack) -> "SourceRun":
        """Reads the config of a run, which cannot be continued before `locks` end.

        Raises:
          UserError: no folder, no run in it, or one in which a process is at work.
        """
        path = as_path(folder).expanduser()
        if not path.is_dir():
            raise UserError(
                f"config.workdirs names {path}, which is not a folder; name the "
                "workdir of a run."
            )
        locks.enter_context(lock_for_reading(path))
        file = path / CONFIG
        if not file.is_file():
            raise UserError(f"{path} holds no {CONFIG}, so no run; {_NO_RUN}")
        try:
            config = json.loads(file.read_text())
            fields, method = dict(config["data"]), config["method"]
            data_class = str(fields.pop("class"))
            size = _as_tuple(method["image_size"])
            # Runs of version 0.1.0 have no such field: all images were squares.
            form = method["class"], size, method.get("keep_aspect", False)
            return cls(path, data_class, fields, form)
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{file} does not hold the config of a run ({error!r}); {_NO_RUN}"
            ) from error

    def categories(self) -> tuple[str, ...]:
        """Those that have begun, sorted."""
        folders, _ = list_folder(self.path)
        return tuple(f.name for f in folders if (f / DATA).exists())

    def category(self, name: str) -> epath.Path:
        """Folder of a finished category; raises UserError for any other."""
        names = self.categories()
        if name not in names:
            raise UserError(
                f"{self.path} has no category {name!r} but "
                f"{', '.join(names) or 'none'}; name categories that all of "
                f"config.workdirs have by object_names=\"('NAME',)\"."
                f"{nearest(name, names)}",
                "object_names",
            )
        if not (self.path / name / METRICS).exists():
            raise UserError(
                f"{self.path / name} is not finished, for it holds no {METRICS}; run "
                f"the command of workdir={self.path} again, which continues it.",
                "workdir",
            )
        return self.path / name

    def maps(self, category: str) -> dict[int, epath.Path]:
        """Folder of the maps of each seed, ascending; raises UserError for none."""
        folder = self.category(category) / MAPS
        seeds = {
            int(number): path
            for path in (list_folder(folder)[0] if folder.is_dir() else [])
            if (number := path.name.removeprefix("seed_")).isdigit()
        }
        if not seeds:
            raise UserError(
                f"{folder} holds no anomaly maps; run the command of "
                f"workdir={self.path} once more with write_maps=True, which evaluates "
                "again without training.",
                "workdir",
                "write_maps",
            )
        return dict(sorted(seeds.items()))  # by number: 2 before 10

    def digest(self, category: str) -> str:
        """Of the test images, as resized for the method, and of all their regions."""
        file = self.category(category) / DATA
        try:
            return str(json.loads(file.read_text())["test"]["sha256"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{file} is damaged ({error!r}); {_NO_RUN}") from error

    def test_images(self, category: str) -> tuple[TestImage, ...]:
        """Loaded again with the data set of the config; raises UserError."""
        root = self.data_fields.get("root")
        if root and not as_path(root).expanduser().is_dir():
            raise UserError(
                f"{self.path / CONFIG} says that the data set is in {root}, which is "
                "not a folder; put it there again or, where that is a relative path, "
                "start the study in the folder in which the run was started."
            )
        fields = {key: _as_tuple(value) for key, value in self.data_fields.items()}
        try:
            data = _DATA_SETS[self.data_class](**fields)
        except (KeyError, TypeError) as error:
            raise UserError(
                f"{self.path / CONFIG} names a data set that this version does not "
                f"know ({self.data_class}: {error}); give the data set in MVTec's "
                "layout by dataset_base_dir=DIR.",
                "dataset_base_dir",
            ) from error
        try:
            return data.load(category, _IMAGE_SIZE, _CHANNELS).test_images
        except UserError as error:
            raise UserError(f"the data set of {self.path}: {error}") from error


def _as_tuple(value: Any) -> Any:
    """A list, which JSON makes of a tuple, as a tuple; anything else as it is."""
    return tuple(value) if isinstance(value, list) else value
