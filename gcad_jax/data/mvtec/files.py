"""Which files a category of a data set in MVTec's layout consists of; opens none."""

import collections
import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

from etils import epath

from gcad_jax.core.checks import nearest, one_of
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, list_folder, resolve
from gcad_jax.data.annotations.saturation import Defect
from gcad_jax.data.images import list_images
from gcad_jax.data.mvtec.facts import DatasetFacts


@dataclasses.dataclass(frozen=True)
class Record:
    """One image and its masks, as paths.

    name: folder and stem, unique within its split ("good/000", "crack/001").
    kind: one of dataset.KINDS.
    masks: all of them, one for each annotated region; () for good images.
    defects: what those masks may show.
    """

    name: str
    kind: str
    image: epath.Path
    masks: tuple[epath.Path, ...] = ()
    defects: tuple[Defect, ...] = ()


@dataclasses.dataclass(frozen=True)
class FileLayout:
    """The files of one category.

    folder: of the category; every file below it that matters is in `splits`, or is
        `config`.
    splits: "train", "validation" where the data set has one, and "test" where there
        are test images; in the order in which images are numbered.
    notes: what the log should say.
    """

    dataset: str
    category: str
    folder: epath.Path
    splits: dict[str, tuple[Record, ...]]
    config: epath.Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def files(self) -> list[epath.Path]:
        """Every file whose change changes the category."""
        files = [self.config] if self.config else []
        for record in (r for records in self.splits.values() for r in records):
            files += [record.image, *record.masks]
        return files

    @property
    def counts(self) -> dict[str, int]:
        """Images of train, of validation and of each kind of test image."""
        counts = collections.Counter(
            f"test {record.kind}" for record in self.splits.get("test", ())
        )
        for split in ("train", "validation"):
            counts[split] = len(self.splits.get(split, ()))
        return dict(counts)


@dataclasses.dataclass(frozen=True)
class Archive:
    """A data set as MVTec publishes it.

    name: of its TFDS builder. title, url: what to get, and where.
    form: which files there must be, in words. facts: by category.
    read_layout: lists the files of the category in a folder; raises UserError.
    """

    name: str
    title: str
    url: str
    form: str
    facts: Mapping[str, DatasetFacts]
    read_layout: Callable[[epath.Path], FileLayout]


def check_names(categories: Sequence[str], known: Sequence[str]) -> None:
    """Raises UserError for no, an unknown or a repeated category."""
    if not categories:
        raise UserError(
            "data.categories is empty; name at least one of "
            f"{', '.join(known)}: data.categories=\"('{known[0]}',)\".",
            "data.categories",
        )
    for category in categories:
        one_of("data.categories", category, known)
        if list(categories).count(category) > 1:
            raise UserError(f"data.categories names {category!r} twice; remove one.")


def find_category(root: str, category: str, archive: Archive) -> epath.Path:
    """The folder `root`/`category`; raises UserError where it is not there."""
    hint = (
        f"get {archive.title} from {archive.url} (it asks for your consent to its "
        f"license), unpack it so that ROOT holds {archive.form}, and pass "
        "data.root=ROOT."
    )
    if not root:
        raise UserError(f"data.root is empty; {hint}", "data.root")
    folder = as_path(root).expanduser()
    if not folder.is_dir():
        problem = "is not a folder" if folder.exists() else "does not exist"
        raise UserError(f"data.root is {root}, which {problem}; {hint}", "data.root")
    if (folder / category).is_dir():
        return folder / category
    here = [name for name in archive.facts if (folder / name).is_dir()]
    if not here and (folder / "train").is_dir():
        raise UserError(
            f"data.root is {root}, which is the folder of one category; give the "
            f"folder above it, data.root={resolve(folder).parent}.",
            "data.root",
        )
    if not here:
        raise UserError(
            f"data.root is {root}, which holds no category; {hint}", "data.root"
        )
    raise UserError(
        f"data.categories names {category!r}, but {root} holds only "
        f"{', '.join(here)}; choose among these, for example "
        f"data.categories=\"('{here[0]}',)\", or add the missing one."
        + nearest(category, here),
        "data.categories",
    )


def images_by_stem(folder: epath.Path) -> dict[str, epath.Path]:
    """Stem -> image of the images in `folder`, sorted; {} without it.

    Raises:
      UserError: two images of one stem.
    """
    images: dict[str, epath.Path] = {}
    for path in list_images(folder) if folder.is_dir() else ():
        if path.stem in images:
            raise UserError(
                f"{path} and {images[path.stem].name} beside it differ in their suffix "
                "only, so that results and masks cannot tell them apart; an image must "
                "be there once, rename or remove one."
            )
        images[path.stem] = path
    return images


def subfolder_names(folder: epath.Path) -> list[str]:
    """Names of the folders in `folder`, sorted, without hidden ones; [] without it."""
    if not folder.is_dir():
        return []
    return [f.name for f in list_folder(folder)[0] if not f.name.startswith(".")]


def left_out_note(kind: str, unused: Collection[str]) -> tuple[str, ...]:
    """A note where `kind` has masks, `unused`, whose images are not there."""
    if not unused:
        return ()
    return (
        f"ground_truth/{kind} has masks for {len(unused)} images that are not in "
        f"test/{kind} (such as {min(unused)}); they are left out",
    )


def require_folders(folder: epath.Path, names: Sequence[str], layout: str) -> None:
    """Raises UserError that lists which of the folders `names` are missing."""
    missing = [name for name in names if not (folder / name).is_dir()]
    if missing:
        raise UserError(
            f"{folder} lacks the folder{'s' if len(missing) > 1 else ''} "
            f"{' and '.join(missing)}; MVTec's layout is {layout}."
        )


def good_records(folder: epath.Path, split: str, least: int) -> tuple[Record, ...]:
    """The records of `split`/good; raises UserError for fewer than `least` images."""
    images = images_by_stem(folder / split / "good")
    if len(images) < least:
        raise UserError(
            f"{folder / split / 'good'} holds {len(images) or 'no'} "
            f"image{'' if len(images) == 1 else 's'}; at least {least} "
            f"{'is' if least == 1 else 'are'} needed."
        )
    return tuple(
        Record(f"good/{stem}", "good", image) for stem, image in images.items()
    )
