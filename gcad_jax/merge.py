"""python -m gcad_jax.merge --parts="RESULTS/*/seed_*" --workdir=MERGED

The tasks of a sweep, each a workdir with some categories and seeds, as one workdir.
"""

import dataclasses
import fnmatch
import json
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags
from etils import epath

from gcad_jax.cli import shared_flags
from gcad_jax.cli.shared_flags import SHARED_HELP, fail, parse_all
from gcad_jax.core.atomic_files import write_text
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path, list_folder, make_folder
from gcad_jax.evaluation.results import CategoryResult

NAMES = ("parts", "workdir")
CONFIG, DATA = "config.json", "data.json"  # as in gcad_jax/runs/workdir.py


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
    from gcad_jax.reporting import html
    from gcad_jax.runs import workdir
    from gcad_jax.runs.train_and_evaluate import REPORT

    categories: dict[str, list[Part]] = {}
    for folder in find(pattern):
        for part in read(folder):
            categories.setdefault(part.result.name, []).append(part)
    if not categories:
        raise UserError(f"--parts={pattern} finds no workdir of a run.")
    check_alike([part for parts in categories.values() for part in parts])
    joined = {name: join(categories[name]) for name in sorted(categories)}
    seeds = sorted({seed for result in joined.values() for seed in result.seeds})
    for name, result in joined.items():
        if missing := [str(seed) for seed in seeds if seed not in result.seeds]:
            raise UserError(f"{name} lacks the seeds {', '.join(missing)}.")
    any_part = next(iter(categories.values()))[0]
    config = {**any_part.config, "seeds": seeds}
    if "categories" in config["data"]:
        config["data"] = {**config["data"], "categories": list(joined)}
    with workdir.opened(target, config) as folder:
        (folder / REPORT).unlink(missing_ok=True)
        html.page_path(folder / REPORT).unlink(missing_ok=True)
        for name, result in joined.items():
            write(folder / name, result, categories[name])
    return (
        f"{target}: {', '.join(joined)}; seeds {', '.join(map(str, seeds))}. The "
        "command of the parts with this workdir and all categories and seeds writes "
        "the report."
    )


def find(pattern: str) -> list[epath.Path]:
    """The folders of a pattern with * and ?, on a disk or in gs://, in order."""
    first = next((i for i, c in enumerate(pattern) if c in "*?["), len(pattern))
    begin = pattern.rfind("/", 0, first) + 1
    folders = [as_path(pattern[:begin] or ".")]
    for name in filter(None, pattern[begin:].split("/")):
        found = [path for f in folders if f.is_dir() for path in list_folder(f)[0]]
        folders = [path for path in found if fnmatch.fnmatchcase(path.name, name)]
    return sorted(folder for folder in folders if folder.is_dir())


def read(folder: epath.Path) -> list[Part]:
    """The categories of a workdir; none where it is not one.

    Raises:
      UserError: one of its categories has no results, or they are damaged.
    """
    from gcad_jax.evaluation import result_files

    if not (folder / CONFIG).exists():
        return []
    config = _object(folder / CONFIG)
    if not isinstance(config.get("data"), dict):
        raise UserError(f"{folder / CONFIG} does not hold the config of a run.")
    names = config["data"].get("categories") or [
        found.name
        for found in find(f"{folder}/*")
        if (found / result_files.METRICS).exists()
    ]
    parts = []
    for name in names or ["it"]:
        if not (folder / name / result_files.METRICS).exists():
            raise UserError(
                f"{folder} is not finished ({name} has no results); repeat its command."
            )
        data = _object(folder / name / DATA)
        parts.append(
            Part(folder / name, config, data, result_files.read_result(folder / name))
        )
    return parts


def _object(path: epath.Path) -> dict[str, Any]:
    """What a JSON file holds; raises UserError where it is gone or damaged."""
    try:
        return dict(json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} does not hold what a run writes there ({error}); restore it, or "
            "leave its workdir out of --parts."
        ) from error


def check_alike(parts: Sequence[Part]) -> None:
    """Raises UserError where parts differ in more than categories and seeds."""
    from gcad_jax.config.serialization import differences

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


def join(parts: Sequence[Part]) -> CategoryResult:
    """One category with the seeds of all its parts, in the order of the seeds.

    Raises:
      UserError: a seed in two parts, or other images.
    """
    first = parts[0]
    places: dict[int, tuple[CategoryResult, int]] = {}
    for part in parts:
        if part.data != first.data or part.result.images != first.result.images:
            raise UserError(f"{part.folder} has other images than {first.folder}.")
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
    )


def write(folder: epath.Path, result: CategoryResult, parts: Sequence[Part]) -> None:
    """A category as a run leaves it; the figures are those of the first seed."""
    from gcad_jax.evaluation import result_files
    from gcad_jax.reporting import run_figures

    make_folder(folder)
    first = min(parts, key=lambda part: min(part.result.seeds))
    for name in run_figures.FILES:
        if (first.folder / name).exists():
            (first.folder / name).copy(folder / name, overwrite=True)
    write_text(folder / DATA, json.dumps(first.data, indent=2) + "\n")
    result_files.write_result(folder, result)


def parse(argv: list[str]) -> list[str]:
    """Parses the flags; exits with one sentence for an unknown or missing one."""
    return parse_all(argv, NAMES, HELP, EXAMPLE, "put the pattern of --parts in quotes")


EXAMPLE = 'python -m gcad_jax.merge --parts="RESULTS/*/seed_*" --workdir=MERGED'
HELP = f"""\
Join the workdirs of a sweep, which has trained each category and seed by itself
(launch/task.sh), to the workdir of one run with all of them.

  {EXAMPLE}

  --parts    the workdirs, as a pattern in quotes; each may have several
             categories and seeds, and together they must be complete
  --workdir  the new workdir. The command of the parts, with this workdir and
             all categories and seeds, then finds all finished and writes
             report.md and report.html. Checkpoints and maps stay in the parts.

{SHARED_HELP}
Exit codes: 0 done; 2 a mistake in flags or files, said in one sentence;
130 stopped by Ctrl-C; 1 anything else (a bug: please report it).
"""


def main(_: list[str]) -> None:
    """Merges; a user's mistake is one sentence and exit code 2."""
    values = flags.FLAGS.flag_values_dict()
    try:
        print(merge(values["parts"], values["workdir"]))
    except UserError as error:
        fail(error, 2)


def run() -> None:
    """Entry point: the flags defined and checked, then `main`."""
    # Here, because the main command has a flag of the same name.
    for name in NAMES:
        flags.DEFINE_string(name, None, "See --help.")
    shared_flags.run(main, parse)


if __name__ == "__main__":
    run()
