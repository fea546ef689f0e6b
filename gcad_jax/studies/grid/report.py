"""What a study of runs writes: every number, tables, figures, one page of them."""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from etils import epath

from gcad_jax.core.atomic_files import atomic_file
from gcad_jax.core.console import print_line
from gcad_jax.core.errors import UserError
from gcad_jax.data.dataset import KINDS
from gcad_jax.data.image_size import as_pair
from gcad_jax.evaluation.map_files import MAPS, map_path, read_map
from gcad_jax.evaluation.spro import RATES
from gcad_jax.reporting import html, run_figures
from gcad_jax.reporting.plots import curves, map_grid, panels, style
from gcad_jax.reporting.plots.panels import Panel
from gcad_jax.reporting.tables import short
from gcad_jax.runs.devices import hardware_sentence, loop_options
from gcad_jax.runs.train_and_evaluate import load_images_of
from gcad_jax.runs.workdir import REPORT
from gcad_jax.studies.grid.plan import PlannedRun
from gcad_jax.studies.grid.results import FinishedRun, Runs, numbers_as_json
from gcad_jax.studies.grid.study import Study

_ABSENT = "Not in this report"


def output_names(name: str) -> dict[str, str]:
    """Names of the files of the study `name`, by format."""
    return {form: f"{name}.{form}" for form in ("json", "md", "html", *style.FORMATS)}


def missing_sentence(missing: Mapping[str, str]) -> str:
    """About runs that have no results, by label and why; "" for none."""
    runs = "; ".join(f"{label} ({why})" for label, why in missing.items())
    return f"{_ABSENT}: {runs}." if runs else ""


def has_report(
    folder: epath.Path,
    name: str,
    numbers: Mapping[str, Any],
    missing: Mapping[str, str],
) -> bool:
    """Whether the folder has this very report, all of its files but the page.

    missing: as in `missing_sentence`.
    """
    files = {form: folder / file for form, file in output_names(name).items()}
    if not all(file.exists() for form, file in files.items() if form != "html"):
        return False
    sentence = missing_sentence(missing)
    try:
        text = files["md"].read_text(encoding="utf-8")
        if (sentence not in text) if sentence else (_ABSENT in text):
            return False
        # Through JSON, where tuples are lists.
        return json.loads(files["json"].read_text()) == json.loads(json.dumps(numbers))
    except ValueError:
        return False


def write_study(
    folder: epath.Path,
    study: Study,
    finished: Runs,
    shown: Sequence[PlannedRun],
    missing: Mapping[str, str],
    minutes: float,
) -> None:
    """Writes the report of a study, its numbers and its figures.

    shown: the runs that are finished. missing: as in `missing_sentence`.
    """
    options = [loop_options(run.config) for run in shown]
    most_devices = max(options, key=lambda o: len(o.layout.devices))
    parts = [f"# {study.title}", hardware_sentence(most_devices, minutes)]
    parts += filter(None, [missing_sentence(missing), study.reading])
    figure: list[Panel] = []
    for dataset, runs in finished.items():
        planned = [run for run in shown if run.dataset == dataset]
        parts += study.sections(dataset, runs)
        parts += ["### Data", _data(runs)]
        settings = [
            f"- {run.name}: {' '.join(run.config.method.describe())}"
            for run in planned
            if study.explains(run.name)
        ]
        parts += ["### Settings", "\n".join(settings), *_pages(planned, folder)]
        figure += study.panels(dataset, runs)
        drawn = []
        if lines := study.curves(runs):
            name = f"{dataset}_curves.png"
            style.save_figure(
                curves.render_spro_curves(RATES, lines),
                style.figure_paths(folder / name),
            )
            drawn = [
                f"![sPRO curves of {dataset}, one a run]({name})",
                f"*{dataset}: sPRO over the false positive rate, means over categories "
                "and seeds; AU-sPRO is taken up to the limit*",
            ]
        try:
            drawn += _draw_maps(dataset, runs, planned, folder)
        except UserError as error:  # a map was lost; the numbers are all there
            print_line(f"figure      {error}")
        parts += ["### Figures", *drawn] if drawn else []
    write_report(folder, study.name, numbers_as_json(finished), parts, figure)


def write_report(
    folder: epath.Path,
    name: str,
    numbers: Mapping[str, Any],
    parts: Sequence[str],
    figure: Sequence[Panel],
) -> None:
    """Writes the `output_names`, all or none.

    numbers: for the JSON. parts: of the report, Markdown, the heading first; the figure
    of the panels comes behind the second.
    """
    png = output_names(name)["png"]
    measures = " and ".join(dict.fromkeys(panel.measure for panel in figure))
    seeds = "" if any(panel.several for panel in figure) else "; one seed"
    caption = f"{measures or 'No numbers'}, by kind of anomaly{seeds}"
    link = f"![AU-sPRO and image AU-ROC by kind]({png})\n\n*{caption}*"
    text = "\n\n".join([*parts[:2], link, *parts[2:]]) + "\n"
    with contextlib.ExitStack() as files:
        part = {
            form: files.enter_context(atomic_file(folder / file))
            for form, file in output_names(name).items()
        }
        style.save_figure(
            panels.render_panels(figure), {form: part[form] for form in style.FORMATS}
        )
        part["json"].write_text(
            json.dumps(numbers, indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
        part["md"].write_text(text, encoding="utf-8")
        page = html.render_page(text, folder, {png: part["png"]})
        part["html"].write_text(page, encoding="utf-8")


def _data(runs: Mapping[str, FinishedRun]) -> str:
    """What was tested on, and what is to be known of it."""
    lines = []
    for result in next(iter(runs.values())).results:
        counts = ", ".join(f"{result.count(kind)} {short(kind)}" for kind in KINDS)
        notes = "".join(f"; {note}" for note in result.notes)
        lines.append(f"- {result.name}: test images {counts}{notes}.")
    return "\n".join(lines)


def _pages(planned: Sequence[PlannedRun], folder: epath.Path) -> list[str]:
    """A sentence with links to the pages of the runs."""
    pages = {run.name: html.page_path(run.folder / REPORT) for run in planned}
    links = ", ".join(
        f"[{name}]({quote(str(path.relative_to(folder)))})"
        for name, path in pages.items()
        if path.exists()
    )
    about = "The page of each run has its curves and its best and worst images"
    return [f"{about}: {links}."] if links else []


def _draw_maps(
    dataset: str,
    runs: Mapping[str, FinishedRun],
    planned: Sequence[PlannedRun],
    folder: epath.Path,
) -> list[str]:
    """Draws a figure for each category, where every run has written its maps.

    Returns their links.
    """
    if not planned or not all(run.config.write_maps for run in planned):
        return []
    links = []
    # The method with the most pixels shows the images best.
    config = max(
        (run.config for run in planned),
        key=lambda c: (c.method.channels, math.prod(as_pair(c.method.image_size))),
    )
    for name in config.data.names():
        category = load_images_of(config.data, name, config.method)
        rows = []
        for i in run_figures.select_images(category.test_images, config.figure_images):
            maps = {}
            for run in planned:
                root = run.folder / name / MAPS / f"seed_{run.config.seeds[0]}"
                path = map_path(root, name, category.test_images[i])
                maps[runs[run.name].title] = read_map(path)
            rows.append(run_figures.image_row(category, i, maps))
        if rows:
            file = f"{dataset}_{name}_maps.png"
            style.save_figure(
                map_grid.render_map_grid(rows), style.figure_paths(folder / file)
            )
            links += [
                f"![Maps of {name}, one a run]({quote(file)})",
                f"*{name}: input, ground truth and the map of each run, of its first "
                f"seed; {run_figures.SCALE}*",
            ]
    return links
