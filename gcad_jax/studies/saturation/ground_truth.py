"""Where a study takes ground truth from: a data set on disk, or the runs themselves."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

from etils import epath

from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, list_entries, walk_files
from gcad_jax.data.dataset import TestImage
from gcad_jax.evaluation import ground_truth_files, map_folders
from gcad_jax.runs.data_digest import digest_files, digest_ground_truth
from gcad_jax.studies.saturation.finished_runs import Workdir


class GroundTruthSource(Protocol):
    """Ground truth of several categories."""

    def categories(self) -> tuple[str, ...]:
        """Their names; raises UserError where there are none."""
        ...

    def digest(self, category: str) -> str:
        """Changes where the ground truth does; quick. Raises UserError."""
        ...

    def load(
        self, category: str, maps: Mapping[str, epath.Path]
    ) -> tuple[TestImage, ...]:
        """The test images; maps: of one method, by image name. Raises UserError."""
        ...


def ground_truth_source(
    dataset_base_dir: str, runs: Sequence[Workdir]
) -> GroundTruthSource:
    """The data set in `dataset_base_dir` or, without it, that of the runs."""
    if dataset_base_dir:
        return FolderGroundTruth(as_path(dataset_base_dir).expanduser())
    return RunGroundTruth(tuple(runs))


@dataclasses.dataclass(frozen=True)
class FolderGroundTruth:
    """A data set in MVTec LOCO AD's or MVTec AD's layout; images are not needed."""

    root: epath.Path

    def categories(self) -> tuple[str, ...]:
        """All folders of the data set."""
        names = map_folders.subfolders(self.root) if self.root.is_dir() else []
        if not names:
            raise UserError(
                f"config.dataset_base_dir is {self.root}, which holds no folder; point "
                "it at the folder above those of the categories."
            )
        return tuple(names)

    def digest(self, category: str) -> str:
        """Of names, sizes and times of the files."""
        data = ground_truth_files.find_category(self.root, category)
        truth = map(epath.Path, walk_files(data / "ground_truth"))
        test = data / "test" / "good"
        good = list_entries(test) if test.is_dir() else []
        return digest_files([data / ground_truth_files.CONFIG, *truth, *good])

    def load(
        self, category: str, maps: Mapping[str, epath.Path]
    ) -> tuple[TestImage, ...]:
        """Sizes of good images are those of the maps where the images are missing."""
        data = ground_truth_files.find_category(self.root, category)
        _, anomalous = ground_truth_files.anomalous_images(data)
        return (*ground_truth_files.good_images(data, maps), *anomalous)


@dataclasses.dataclass(frozen=True)
class RunGroundTruth:
    """The data set that runs were evaluated on, any that a config can name."""

    runs: tuple[Workdir, ...]

    def categories(self) -> tuple[str, ...]:
        """Those of the first run; the others must have them too."""
        if not (names := self.runs[0].categories()):
            raise UserError(
                f"config.workdirs names {self.runs[0].path}, which holds no category; "
                "run its command first, with --config.write_maps=True."
            )
        return names

    def digest(self, category: str) -> str:
        """Raises UserError where the runs had other data sets or test images."""
        return " ".join(self._distinct(category))

    def load(self, category: str, _: object) -> tuple[TestImage, ...]:
        """Loads the data set as the config of the first run says.

        Raises UserError where another run, whose images are zoomed to another size,
        has other ones.
        """
        first, *others = self._distinct(category).values()
        images = first.test_images(category)
        digest = digest_ground_truth(images)
        for other in others:
            if digest_ground_truth(other.test_images(category)) != digest:
                raise _differ(category, first, other)
        return images

    def _distinct(self, category: str) -> dict[str, Workdir]:
        """One run for each digest; different ones need a different input."""
        first = self.runs[0]
        found: dict[tuple[str, int], tuple[str, Workdir]] = {}
        for run in self.runs:
            if run.data_class != first.data_class:
                raise UserError(
                    f"{first.path} was trained on {first.data_class} and {run.path} "
                    f"on {run.data_class}; compare runs of one data set."
                )
            own = run.digest(category)
            known, other = found.setdefault(run.input, (own, run))
            if known != own:
                raise _differ(category, other, run)
        return dict(found.values())


def _differ(category: str, first: Workdir, other: Workdir) -> UserError:
    return UserError(
        f"{first.path} and {other.path} have other test images or masks of {category}; "
        "compare runs of the same ones, or run the command of the older one again, "
        "which evaluates it anew."
    )
