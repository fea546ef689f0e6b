"""The main job: every category trained, evaluated, and all of it reported."""

import dataclasses
import functools
import time

from etils import epath

from gcad_jax.config import serialization, validation
from gcad_jax.config.experiment import Experiment
from gcad_jax.core import multihost
from gcad_jax.core.console import print_line
from gcad_jax.core.errors import UserError, one_line
from gcad_jax.core.machine.program_folder import keep_in_workdir
from gcad_jax.core.paths import make_folder
from gcad_jax.data.dataset import Category, DataSet
from gcad_jax.data.image_size import ShortSide, size_text
from gcad_jax.evaluation import result_files
from gcad_jax.evaluation.results import CategoryResult
from gcad_jax.methods.base import Method, wanted_size
from gcad_jax.reporting import html, run_figures
from gcad_jax.reporting.report import write_report
from gcad_jax.runs import workdir
from gcad_jax.runs.data_digest import digest_category
from gcad_jax.runs.devices import hardware_sentence, loop_options
from gcad_jax.runs.evaluate_category import (
    evaluate_category,
    has_results,
    print_result,
)
from gcad_jax.runs.workdir import REPORT
from gcad_jax.training.logs import ROWS, read_rows
from gcad_jax.training.loop import train
from gcad_jax.training.options import LoopOptions, RunContext


def run(
    config: Experiment, path: str, programs: epath.Path | None = None
) -> list[CategoryResult]:
    """Trains, evaluates and reports all categories of a config in folder `path`.

    What is finished there is kept, what was interrupted is continued.
    programs: folder of the compiled programs, where several runs share them.

    Raises:
      UserError: a mistake in config, data or folder.
      Preempted: on SIGTERM, after saving.
    """
    config = validation.resolve(config)
    multihost.check_equal(serialization.shared_settings(config), "the settings")
    options = loop_options(config)
    names = multihost.run_on_first(config.data.names)
    started = time.monotonic()
    with workdir.open_workdir(path, serialization.as_dict(config)) as folder:
        keep_in_workdir(programs or folder)
        # Asked first: a run with nothing left to do keeps the minutes of its report.
        files = [folder / name / result_files.METRICS for name in names]
        files.append(folder / REPORT)
        finished = multihost.run_on_first(lambda: all(f.exists() for f in files))
        results = [run_category(config, name, folder / name, options) for name in names]
        report = folder / REPORT
        if not finished:
            minutes = (time.monotonic() - started) / 60
            hardware = hardware_sentence(options, minutes)
            about = [*config.method.describe(), hardware]
            figures = run_figures.list_figures(folder, names)
            multihost.run_on_first(
                lambda: write_report(
                    report, config.method.title, about, results, figures
                )
            )
        multihost.run_on_first(lambda: html.write_page(report))
        print_line(
            f"\nreport      {report} and {html.page_path(report).name}", result=True
        )
    return results


def run_category(
    config: Experiment, name: str, folder: epath.Path, options: LoopOptions
) -> CategoryResult:
    """Trains and evaluates one category, or reads the results that are there."""
    print_line(f"\n== {name}", result=True)
    category = load_category(config, name)
    rows = functools.partial(read_rows, folder / ROWS)
    earlier = multihost.run_on_first(lambda: _read_earlier(config, category, folder))
    if earlier:
        print_line("finished    earlier: its results are kept", result=True)
        multihost.run_on_first(
            lambda: run_figures.render_missing(folder, earlier, rows)
        )
        return earlier
    for line in config.method.describe():
        print_line(f"method      {line}")
    settings = serialization.as_dict(config)
    context = RunContext(config.seeds, folder, options, settings, print_line)
    trained = train(config.method, category, context)
    result = evaluate_category(config, category, trained, folder)
    print_result(result)
    return result


def load_category(config: Experiment, name: str) -> Category:
    """A category at the method's size and channels, the same on every process."""
    load = functools.partial(load_images_of, config.data, name, config.method)
    category = multihost.run_on_all(load)
    if multihost.num_processes() > 1:
        multihost.check_equal(digest_category(category), f"the images of {name}")
    return category


def load_images_of(data: DataSet, name: str, method: Method) -> Category:
    """A category at the size and channels of a method.

    Raises:
      UserError: images that cannot be read, or a data set that knows only squares
        where the method takes others.
    """
    wanted = wanted_size(method)
    try:
        category = data.load(name, wanted, method.channels)
    except (TypeError, ValueError) as error:
        # Those of this package take any; one of somebody else may take a number alone.
        if isinstance(wanted, int) or isinstance(error, UserError):
            raise
        if not _loads_squares(data, name, method, _side(wanted)):
            raise  # it is not about the aspect
        raise _squares_alone(data, wanted, error) from error
    if not isinstance(wanted, ShortSide):
        return category
    note = (
        f"images were zoomed to {size_text(category.image_size)} pixels (width x "
        "height): the median aspect of the training images, in multiples of "
        f"{wanted.multiple_of}"
    )
    if wanted.side % wanted.multiple_of:
        note += (
            f"; image_size={wanted.side} was rounded, for both sides are multiples of "
            f"{wanted.multiple_of}"
        )
    return dataclasses.replace(category, notes=(note, *category.notes))


def _side(wanted: tuple[int, int] | ShortSide) -> int:
    """Of the square that is tried in place of a size."""
    return wanted.side if isinstance(wanted, ShortSide) else wanted[0]


def _loads_squares(data: DataSet, name: str, method: Method, side: int) -> bool:
    """Whether a data set that fails at another size loads squares."""
    try:
        data.load(name, side, method.channels)
    except (TypeError, ValueError):
        return False
    return True


def _squares_alone(
    data: DataSet, wanted: tuple[int, int] | ShortSide, error: Exception
) -> UserError:
    """What is said where a data set fails at other than squares."""
    if isinstance(wanted, ShortSide):
        images = "images whose aspect is kept"
    else:
        images = f"images of {size_text(wanted)} pixels"
    return UserError(
        f"{type(data).__name__} does not load {images} ({type(error).__name__}: "
        f"{one_line(error).rstrip('.')}); take squares, method.keep_aspect=False and "
        f"method.image_size={_side(wanted)}, or have its `load` zoom to "
        "gcad_jax.data.image_size.network_size.",
        "method.keep_aspect",
        "method.image_size",
    )


def _read_earlier(
    config: Experiment, category: Category, folder: epath.Path
) -> CategoryResult | None:
    """The results that are there of these very images; makes the folder."""
    make_folder(folder)
    same_tests = workdir.check_data(folder, category)
    if same_tests and has_results(config, folder, len(category.test) > 0):
        return result_files.read_result(folder)
    return None
