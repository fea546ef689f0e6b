"""What the study compares: the maps of every method, and their ground truth."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from etils import epath

from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, list_entries, make_absolute, walk_files
from gcad_jax.data.dataset import TestImage
from gcad_jax.evaluation import ground_truth_files, map_files
from gcad_jax.runs.data_digest import digest_files, digest_ground_truth
from gcad_jax.studies.saturation.config import SaturationStudy
from gcad_jax.studies.saturation.finished_runs import SourceRun, TestForm


@dataclasses.dataclass(frozen=True)
class CategoryInputs:
    """One category: a set of maps for each method, and its ground truth.

    roots: by method the folder whose CATEGORY/test holds its maps; each seed of a run
        counts as a method.
    maps: by method the files of its maps, by image name.
    digests: what changes with the ground truth ("truth") and with any map ("maps").
    """

    name: str
    roots: Mapping[str, epath.Path]
    maps: Mapping[str, Mapping[str, epath.Path]]
    digests: Mapping[str, str]
    ground_truth: "GroundTruthSource"


@contextlib.contextmanager
def open_inputs(config: SaturationStudy) -> Iterator[tuple[CategoryInputs, ...]]:
    """All categories, which have the same methods; no run goes on within the block.

    Raises:
      UserError: ground truth, maps or runs that are missing or do not fit.
    """
    with contextlib.ExitStack() as locks:
        runs = [SourceRun.open(path, locks) for path in config.workdirs]
        source: GroundTruthSource = RunGroundTruth(tuple(runs))
        if config.dataset_base_dir:
            root = as_path(config.dataset_base_dir).expanduser()
            source = FolderGroundTruth(root)
        names = config.object_names or source.categories()
        roots = {name: _map_roots(config, runs, name) for name in names}
        (first, methods), *others = roots.items()
        for name, other_methods in others:
            if list(other_methods) != list(methods):
                raise UserError(
                    f"{name} has maps by {', '.join(other_methods)}, but {first} by "
                    f"{', '.join(methods)}; every category needs the same methods and "
                    "seeds."
                )
        yield tuple(_find_inputs(name, roots[name], source) for name in names)


def _map_roots(
    config: SaturationStudy, runs: Sequence[SourceRun], category: str
) -> dict[str, epath.Path]:
    """`CategoryInputs.roots`."""
    folders = [as_path(folder).expanduser() for folder in config.maps]
    paths = (*folders, *(run.path for run in runs))
    if not paths:
        raise UserError(
            "config.maps and config.workdirs are both empty; name the maps of at least "
            "one method, as in maps=\"('MAPS_A','MAPS_B')\".",
            "maps",
        )
    if config.names and len(config.names) != len(paths):
        raise UserError(
            f"config.names has {len(config.names)} names for {len(paths)} methods; "
            "give one for each of config.maps, then for each of config.workdirs, or "
            "none."
        )
    names = config.names or [make_absolute(path).name for path in paths]
    roots = list(zip(names, folders, strict=False))
    for name, run in zip(names[len(folders) :], runs, strict=True):
        seeds = run.maps(category)
        roots += [
            (f"{name} seed {seed}" if len(seeds) > 1 else name, root)
            for seed, root in seeds.items()
        ]
    methods = [method for method, _ in roots]
    if duplicate := next((m for m in methods if methods.count(m) > 1), None):
        raise UserError(
            f"two methods are called {duplicate!r}; give each its own name by "
            "names=\"('NAME','NAME')\".",
            "names",
        )
    return dict(roots)


def _find_inputs(
    name: str, roots: Mapping[str, epath.Path], source: "GroundTruthSource"
) -> CategoryInputs:
    ground_truth = source.digest(name)
    maps = {m: map_files.list_maps(root / name / "test") for m, root in roots.items()}
    # Taken before the maps are read: one that changes meanwhile is noticed next time.
    files = (path for by_image in maps.values() for path in by_image.values())
    digests = {"truth": ground_truth, "maps": digest_files(files)}
    return CategoryInputs(name, roots, maps, digests, source)


@dataclasses.dataclass(frozen=True)
class FolderGroundTruth:
    """A data set in MVTec LOCO AD's or MVTec AD's layout; images are not needed."""

    root: epath.Path

    def categories(self) -> tuple[str, ...]:
        """All folders of the data set; raises UserError where there are none."""
        names = map_files.subfolders(self.root) if self.root.is_dir() else []
        if not names:
            raise UserError(
                f"config.dataset_base_dir is {self.root}, which holds no folder; point "
                "it at the folder above those of the categories."
            )
        return tuple(names)

    def digest(self, category: str) -> str:
        """Of names, sizes and times of the files; raises UserError."""
        data = ground_truth_files.find_category(self.root, category)
        masks = map(epath.Path, walk_files(data / "ground_truth"))
        good_folder = data / "test" / "good"
        good = list_entries(good_folder) if good_folder.is_dir() else []
        return digest_files([data / ground_truth_files.CONFIG, *masks, *good])

    def load(
        self, category: str, maps: Mapping[str, epath.Path]
    ) -> tuple[TestImage, ...]:
        """The test images; good ones are as large as `maps` where they are missing.

        maps: of one method, by image name. Raises UserError.
        """
        data = ground_truth_files.find_category(self.root, category)
        _, anomalous = ground_truth_files.anomalous_images(data)
        return (*ground_truth_files.good_images(data, maps), *anomalous)


@dataclasses.dataclass(frozen=True)
class RunGroundTruth:
    """The data set that runs were evaluated on, any that a config can name."""

    runs: tuple[SourceRun, ...]

    def categories(self) -> tuple[str, ...]:
        """Those of the first run; the others must have them too. Raises UserError."""
        if not (names := self.runs[0].categories()):
            raise UserError(
                f"config.workdirs names {self.runs[0].path}, which holds no category; "
                "run its command first, with write_maps=True.",
                "write_maps",
            )
        return names

    def digest(self, category: str) -> str:
        """Raises UserError where the runs had other data sets or test images."""
        return " ".join(self._by_digest(category))

    def load(self, category: str, _: object) -> tuple[TestImage, ...]:
        """Loads the data set as the config of the first run says.

        Raises UserError where another run, whose images are resized to another size,
        has other ones.
        """
        first, *others = self._by_digest(category).values()
        images = first.test_images(category)
        digest = digest_ground_truth(images)
        for other in others:
            if digest_ground_truth(other.test_images(category)) != digest:
                raise _different_images(category, first, other)
        return images

    def _by_digest(self, category: str) -> dict[str, SourceRun]:
        """One run for each digest.

        Runs of one form have one digest, or other images; those of another form have
        another digest in any case, and what they load has to be compared.
        """
        first = self.runs[0]
        by_form: dict[TestForm, tuple[str, SourceRun]] = {}
        for run in self.runs:
            if run.data_class != first.data_class:
                raise UserError(
                    f"{first.path} was trained on {first.data_class} and {run.path} "
                    f"on {run.data_class}; compare runs of one data set."
                )
            digest = run.digest(category)
            known_digest, known_run = by_form.setdefault(run.test_form, (digest, run))
            if known_digest != digest:
                raise _different_images(category, known_run, run)
        return dict(by_form.values())


GroundTruthSource: TypeAlias = FolderGroundTruth | RunGroundTruth


def _different_images(category: str, first: SourceRun, other: SourceRun) -> UserError:
    return UserError(
        f"{first.path} and {other.path} have other test images or masks of {category}; "
        "compare runs of the same ones, or run the command of the older one again, "
        "which evaluates it anew."
    )
