"""The tasks of a sweep, each a workdir of some categories and seeds, joined to one."""

import dataclasses
import fnmatch
import json
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

from gcad_jax.config.serialization import differences
from gcad_jax.core.atomic_files import write_text
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, list_folder, make_folder
from gcad_jax.evaluation import result_files
from gcad_jax.evaluation.results import CategoryResult
from gcad_jax.reporting import html, run_figures
from gcad_jax.runs import workdir
from gcad_jax.runs.workdir import CONFIG, DATA, REPORT


@dataclasses.dataclass(frozen=True)
class Part:
    """One category of one task.

    folder: of the category. config: of the task. data: digests of its images.
    """

    folder: epath.Path
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    result: CategoryResult


def merge(pattern: str, target: str) -> str:
    """Joins the workdirs that `pattern` finds; returns a sentence of what there is.

    The results of a category are then those of all its seeds, as if one run had trained
    them: the command of that run, with `target` as its workdir, finds everything
    finished and writes the report. Checkpoints and maps stay where they are.

    Raises:
      UserError: no workdir, one that is not finished, parts of different settings or
        images, a category that lacks a seed, or a folder that cannot be written.
    """
    categories: dict[str, list[Part]] = {}
    for folder in find_folders(pattern):
        for part in read_parts(folder):
            categories.setdefault(part.result.name, []).append(part)
    if not categories:
        raise UserError(f"parts={pattern} finds no workdir of a run.", "parts")
    check_alike([part for parts in categories.values() for part in parts])
    joined = {name: join_parts(categories[name]) for name in sorted(categories)}
    seeds = sorted({seed for result in joined.values() for seed in result.seeds})
    for name, result in joined.items():
        if missing := [str(seed) for seed in seeds if seed not in result.seeds]:
            raise UserError(f"{name} lacks the seeds {', '.join(missing)}.")
    any_part = next(iter(categories.values()))[0]
    config = {**any_part.config, "seeds": seeds}
    if "categories" in config["data"]:
        config["data"] = {**config["data"], "categories": list(joined)}
    with workdir.open_workdir(target, config) as folder:
        (folder / REPORT).unlink(missing_ok=True)
        html.page_path(folder / REPORT).unlink(missing_ok=True)
        for name, result in joined.items():
            target_folder, parts = folder / name, categories[name]
            make_folder(target_folder)
            first = min(parts, key=lambda part: min(part.result.seeds))
            for file in run_figures.FILES:  # those of the first seed
                if (first.folder / file).exists():
                    (first.folder / file).copy(target_folder / file, overwrite=True)
            digests = json.dumps(first.data, indent=2) + "\n"
            write_text(target_folder / DATA, digests)
            result_files.write_result(target_folder, result)
    return (
        f"{target}: {', '.join(joined)}; seeds {', '.join(map(str, seeds))}. The "
        "command of the parts with this workdir and all categories and seeds writes "
        "the report."
    )


def find_folders(pattern: str) -> list[epath.Path]:
    """The folders of a pattern with * and ?, on a disk or in gs://, in order."""
    first = next((i for i, c in enumerate(pattern) if c in "*?["), len(pattern))
    begin = pattern.rfind("/", 0, first) + 1
    folders = [as_path(pattern[:begin] or ".")]
    for name in filter(None, pattern[begin:].split("/")):
        inner = [path for f in folders if f.is_dir() for path in list_folder(f)[0]]
        folders = [path for path in inner if fnmatch.fnmatchcase(path.name, name)]
    return sorted(folder for folder in folders if folder.is_dir())


def read_parts(folder: epath.Path) -> list[Part]:
    """The categories of a workdir; none where it is not one.

    Raises:
      UserError: one of its categories has no results, or they are damaged.
    """
    if not (folder / CONFIG).exists():
        return []
    config = _read_json(folder / CONFIG)
    if not isinstance(config.get("data"), dict):
        raise UserError(f"{folder / CONFIG} does not hold the config of a run.")
    names = config["data"].get("categories") or [
        category.name
        for category in find_folders(f"{folder}/*")
        if (category / result_files.METRICS).exists()
    ]
    parts = []
    for name in names or ["it"]:
        if not (folder / name / result_files.METRICS).exists():
            raise UserError(
                f"{folder} is not finished ({name} has no results); repeat its command."
            )
        data = _read_json(folder / name / DATA)
        parts.append(
            Part(folder / name, config, data, result_files.read_result(folder / name))
        )
    return parts


def _read_json(path: epath.Path) -> dict[str, Any]:
    """What a JSON file holds; raises UserError where it is gone or damaged."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} does not hold what a run writes there ({error}); restore it, or "
            "leave its workdir out."
        ) from error


def check_alike(parts: Sequence[Part]) -> None:
    """Raises UserError where parts differ in more than categories and seeds."""
    first = parts[0]
    for part in parts:
        changes = [
            change
            for change in differences(dict(first.config), dict(part.config))
            if change.partition(":")[0] not in ("seeds", "data.categories")
        ]
        if changes:
            raise UserError(
                f"{part.folder.parent} has other settings than {first.folder.parent} "
                f"({'; '.join(changes)})."
            )


def join_parts(parts: Sequence[Part]) -> CategoryResult:
    """One category with the seeds of all its parts, in the order of the seeds.

    Raises:
      UserError: a seed in two parts, other images, or another image score.
    """
    first = parts[0]
    places: dict[int, tuple[CategoryResult, int]] = {}
    for part in parts:
        if part.data != first.data or part.result.images != first.result.images:
            raise UserError(f"{part.folder} has other images than {first.folder}.")
        if part.result.image_score != first.result.image_score:
            raise UserError(
                f"{part.folder} decides by another image score than {first.folder} "
                f"({part.result.image_score}, not {first.result.image_score}); "
                "evaluate them with one version."
            )
        for place, seed in enumerate(part.result.seeds):
            if seed in places:
                raise UserError(f"{part.folder}: another part has the seed {seed} too.")
            places[seed] = part.result, place
    ordered = [places[seed] for seed in sorted(places)]
    return dataclasses.replace(
        first.result,
        seeds=tuple(sorted(places)),
        branches={
            branch: tuple(result.branches[branch][place] for result, place in ordered)
            for branch in first.result.branches
        },
        validation=tuple(result.validation[place] for result, place in ordered),
        method_validation=tuple(
            result.method_validation[place]
            for result, place in ordered
            if result.has_method_scores
        ),
    )
