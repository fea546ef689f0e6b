"""The study of the throughput: every row measured, written as soon as it is."""

import dataclasses
import gc
import json
import os
import platform
from typing import Any

import jax
import jaxlib
from etils import epath

from gcad_jax.core.atomic_files import check_writable, write_text
from gcad_jax.core.console import print_line
from gcad_jax.core.errors import UserError, is_out_of_memory
from gcad_jax.core.paths import as_path
from gcad_jax.reporting import html
from gcad_jax.runs import workdir
from gcad_jax.runs.lock import lock_workdir
from gcad_jax.runs.plan import Plan
from gcad_jax.studies.throughput import report
from gcad_jax.studies.throughput.config import ThroughputStudy, check
from gcad_jax.studies.throughput.measure import (
    ROUNDS,
    SharedState,
    measure_inference,
    measure_latency,
    measure_loop,
    measure_training,
    method_as_json,
)
from gcad_jax.studies.throughput.peaks import Peaks, measure_peaks
from gcad_jax.studies.throughput.results import (
    RESULTS,
    Failure,
    MeasuredRow,
    Result,
    StudyResults,
)
from gcad_jax.studies.throughput.rows import INFERENCE, LATENCY, LOOP, Row, rows

JSON, MARKDOWN, PROFILE = "throughput.json", "throughput.md", "profile"


def run(config: ThroughputStudy, path: str) -> StudyResults:
    """Measures on this machine, and writes JSON and MARKDOWN into folder `path`.

    A row that is there, of the same settings and device, is kept.

    Raises:
      UserError: a field or a folder that do not fit.
    """
    folder = _check_folder(config, path)
    with lock_workdir(folder):
        return _Study(config, folder).run()


def plan(config: ThroughputStudy, path: str) -> Plan:
    """What `run` would measure; prints each row. Nothing is written.

    Raises:
      UserError: as `run`.
    """
    folder = _check_folder(config, path)
    workdir.check_free(folder)
    study = _Study(config, folder)
    study.print_summary()
    for row, measured in zip(study.rows, study.measured, strict=True):
        print_line(f"{row.kind:<12}{row.varied}{', kept' if measured else ''}")
    return Plan(
        estimate=("none: how long a row takes is what it measures",),
        writes=(f"in {folder}: {JSON}, {MARKDOWN}",),
    )


def _check_folder(config: ThroughputStudy, path: str) -> epath.Path:
    """The folder of the study."""
    check(config)
    folder = as_path(path).expanduser()
    check_writable(folder, (JSON, MARKDOWN), "workdir")
    return folder


class _Study:
    """The rows of a study.

    measured: of each row what was measured, at first that which the folder holds, or
        None.
    """

    def __init__(self, config: ThroughputStudy, folder: epath.Path) -> None:
        self.config, self.folder = config, folder
        self.device = jax.local_devices()[0]
        self.rows = rows(config, jax.local_device_count())
        for row in self.rows:
            row.method.validate()
        self.shared = SharedState(config, self.device)
        self.earlier = self._read_earlier()
        earlier = self.earlier.rows if self.earlier else ()
        self.measured = [
            next((old for old in earlier if old.settings == self._settings(row)), None)
            for row in self.rows
        ]
        if config.profile:
            self.measured[0] = None  # the trace is of the first row

    def run(self) -> StudyResults:
        """All rows that were not measured earlier."""
        self.print_summary()
        method, results = method_as_json(self.config.method), self.earlier
        # Of other networks, peaks would be of another convolution.
        if results is None or results.method != method:
            print_line("peaks       a matrix product and a convolution")
            peaks = measure_peaks(self.config.method)
            results = StudyResults(method, self._describe_device(), peaks, start=None)
        results = self._write(results)
        for number, row in enumerate(self.rows):
            if self.measured[number] is None:
                print_line(f"{row.kind:<12}{row.varied} ...")
                result = self._measure(row, results.peaks)
                print_line(f"            {_describe(result)}")
                self.measured[number] = MeasuredRow(self._settings(row), result)
                results = self._write(results)
        print_line(f"report      {self.folder / MARKDOWN}", result=True)
        return results

    def print_summary(self) -> None:
        """How many rows of what."""
        kinds = [row.kind for row in self.rows]
        counts = ", ".join(f"{kinds.count(kind)} of {kind}" for kind in RESULTS)
        num_kept = len(kinds) - self.measured.count(None)
        print_line(
            f"study       {len(kinds)} rows on {self.device.device_kind}: "
            f"{counts}; {num_kept} are kept from earlier"
        )

    def _measure(self, row: Row, peaks: Peaks) -> Result:
        """A row, or that it does not fit into memory; the first one may be traced."""
        try:
            if row.kind == LOOP:
                return measure_loop(self.shared, row)
            if row.kind == INFERENCE:
                return measure_inference(self.shared, row, peaks)
            if row.kind == LATENCY:
                return measure_latency(self.shared, row)
            traced = self.config.profile and row is self.rows[0]
            folder = self.folder / PROFILE if traced else None
            return measure_training(self.shared, row, peaks, folder)
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
            return Failure("out of memory")
        finally:
            gc.collect()  # the next row needs the memory of this one

    # -- files ------------------------------------------------------------------

    def _read_earlier(self) -> StudyResults | None:
        """What the folder holds of this device and versions, if anything."""
        path = self.folder / JSON
        if not path.exists():
            return None
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["device"] != self._describe_device():
                return None
            return StudyResults.from_json(content)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} cannot be read as the results of a study of the throughput; "
                "move it away or choose another folder."
            ) from error

    def _write(self, results: StudyResults) -> StudyResults:
        """All files, of the results with the rows that are measured so far."""
        results = dataclasses.replace(
            results,
            start=results.start or self.shared.start,
            rows=tuple(row for row in self.measured if row),
        )
        write_text(self.folder / JSON, json.dumps(results.to_json(), indent=1) + "\n")
        write_text(self.folder / MARKDOWN, report.markdown(results))
        html.write_page(self.folder / MARKDOWN)
        return results

    def _settings(self, row: Row) -> dict[str, Any]:
        """What identifies a row: everything that its result depends on."""
        timed = {LATENCY: self.shared.passes, LOOP: self.shared.loop_updates}
        return {
            **dataclasses.asdict(row),
            "method": method_as_json(row.method),
            "num_images": self.config.num_images,
            "timed": timed.get(row.kind, self.config.calls),
            "rounds": ROUNDS,
        }

    def _describe_device(self) -> dict[str, str]:
        """The device and the versions."""
        return {
            "kind": self.device.device_kind,
            "platform": self.device.platform,
            "jax": jax.__version__,
            "jaxlib": jaxlib.__version__,
            "products": str(
                jax.config.values["jax_default_matmul_precision"] or "default"
            ),
            "xla_flags": os.environ.get("XLA_FLAGS", ""),
            "python": platform.python_version(),
        }


def _describe(result: Result) -> str:
    if isinstance(result, Failure):
        return result.failed
    text = f"{result.images_per_second:.4g} images/s"
    if mfu := getattr(result, "mfu", None):
        text += f", MFU {mfu:.1%}"
    if seconds := getattr(result, "compile_seconds", None):
        text += f", compiled in {seconds:.1f} s"
    return text
