"""The study of the throughput: every row measured, written as soon as it is."""

import dataclasses
import json
import os
import platform
from collections.abc import Mapping
from typing import Any

import jax
import jaxlib
from etils import epath

from gcad_jax.core.atomic_files import check_writable, write_text
from gcad_jax.core.console import print_line
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path
from gcad_jax.reporting import html
from gcad_jax.runs import workdir
from gcad_jax.studies.throughput import report
from gcad_jax.studies.throughput.config import ThroughputStudy, check
from gcad_jax.studies.throughput.measure import ROUNDS, Measurements, as_dict
from gcad_jax.studies.throughput.rows import (
    INFERENCE,
    LATENCY,
    LOOP,
    TRAINING,
    Row,
    rows,
)

JSON, MARKDOWN, PROFILE = "throughput.json", "throughput.md", "profile"


def run(config: ThroughputStudy, path: str) -> dict[str, Any]:
    """Measures on this machine, and writes JSON and MARKDOWN into folder `path`.

    A row that is there, of the same settings and device, is kept.

    Returns what throughput.json holds.

    Raises:
      UserError: a field or a folder that do not fit.
    """
    folder = _checked(config, path)
    with workdir.locked(folder):
        return _Study(config, folder).run()


def plan(config: ThroughputStudy, path: str) -> None:
    """Says what `run` would measure; nothing is written.

    Raises:
      UserError: as `run`.
    """
    folder = _checked(config, path)
    workdir.check_free(folder)
    study = _Study(config, folder)
    kept = study.kept(study.earlier())
    study.say_rows(kept)
    for row, old in zip(study.rows, kept, strict=True):
        print_line(f"{row.kind:<12}{row.varied}{', kept' if old else ''}")
    print_line(
        "estimate    none: how long a row takes is what it measures", result=True
    )
    print_line(f"writes      in {folder}: {JSON}, {MARKDOWN}")


def _checked(config: ThroughputStudy, path: str) -> epath.Path:
    """The folder of the study."""
    check(config)
    folder = as_path(path).expanduser()
    check_writable(folder, (JSON, MARKDOWN), "workdir")
    return folder


class _Study:
    """What was found so far, and what is written of it."""

    def __init__(self, config: ThroughputStudy, folder: epath.Path) -> None:
        self.config, self.folder = config, folder
        self.device = jax.local_devices()[0]
        self.rows = rows(config, jax.local_device_count())
        for row in self.rows:
            row.method.validate()
        self.measurements = Measurements(config, self.device, print_line)
        self.found: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """All rows that are not kept."""
        earlier = self.earlier()
        same_method = earlier.get("method") == as_dict(self.config.method)
        self.found = {
            "method": as_dict(self.config.method),
            "device": self.about_device(),
            # Of other networks they would be of another convolution and start.
            "peaks": earlier.get("peaks") if same_method else None,
            "start": earlier.get("start") if same_method else None,
            "rows": [],
        }
        kept = self.kept(earlier)
        self.say_rows(kept)
        if self.found["peaks"] is None:
            print_line("peaks       a matrix product and a convolution")
            self.found["peaks"] = self.measurements.measured_peaks()
            self.write(kept)
        for row, old in zip(self.rows, kept, strict=True):
            if old is None:
                print_line(f"{row.kind:<12}{row.varied} ...")
            new = old or {**self.entry(row), "values": self.measured(row)}
            self.found["rows"].append(new)
            self.found["start"] = self.found["start"] or self.measurements.begun
            self.write(kept[len(self.found["rows"]) :])
            if old is None:
                print_line(f"            {_sentence(new['values'])}")
        self.write()
        print_line(f"report      {self.folder / MARKDOWN}", result=True)
        return self.found

    def kept(self, earlier: Mapping[str, Any]) -> list[Any]:
        """Of every row what was measured earlier, or None."""
        there = {_key(row): row for row in earlier.get("rows", [])}
        kept = [there.get(_key(self.entry(row))) for row in self.rows]
        if self.config.profile:
            kept[0] = None  # the trace is of the first row
        return kept

    def say_rows(self, kept: list[Any]) -> None:
        """How many rows of what."""
        counts = ", ".join(
            f"{sum(row.kind == kind for row in self.rows)} of {kind}"
            for kind in (TRAINING, LOOP, INFERENCE, LATENCY)
        )
        print_line(
            f"study       {len(self.rows)} rows on {self.device.device_kind}: "
            f"{counts}; {len(self.rows) - kept.count(None)} are kept from earlier"
        )

    # -- what is written --------------------------------------------------------

    def earlier(self) -> dict[str, Any]:
        """What the folder holds of this device and versions; {} where nothing is."""
        path = self.folder / JSON
        if not path.exists():
            return {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            same = found["device"] == self.about_device()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} cannot be read as the results of a study of the throughput; "
                "move it away or choose another --workdir."
            ) from error
        return found if same else {}

    def write(self, later: list[Any] | None = None) -> None:
        """Both files; `later` are the kept rows whose turn has not come."""
        found = {
            **self.found,
            "rows": self.found["rows"] + [row for row in later or [] if row],
        }
        write_text(self.folder / JSON, json.dumps(found, indent=1) + "\n")
        write_text(self.folder / MARKDOWN, report.markdown(found))
        html.write(self.folder / MARKDOWN)

    def entry(self, row: Row) -> dict[str, Any]:
        """What identifies a row: everything that its values depend on."""
        step = dataclasses.asdict(row.step) if row.step else None
        timed = {
            LATENCY: self.measurements.passes,
            LOOP: self.measurements.loop_updates,
        }.get(row.kind, self.config.calls)
        return {
            "kind": row.kind,
            "varied": row.varied,
            "method": as_dict(row.method),
            "batch_size": row.batch_size,
            "step": step,
            "num_seeds": row.num_seeds,
            "num_devices": row.num_devices,
            "layout": row.layout,
            "num_images": self.config.num_images,
            "timed": timed,
            "rounds": ROUNDS,
        }

    def measured(self, row: Row) -> dict[str, Any]:
        """Its values; the first row leaves a trace where one is asked for."""
        traced = self.config.profile and row is self.rows[0]
        folder = self.folder / PROFILE if traced else None
        return self.measurements.values(row, self.found["peaks"], folder)

    def about_device(self) -> dict[str, str]:
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


def _key(entry: Mapping[str, Any]) -> str:
    """What identifies a row, whatever its values."""
    own = {name: value for name, value in entry.items() if name != "values"}
    return json.dumps(own, sort_keys=True)


def _sentence(values: Mapping[str, Any]) -> str:
    if "failed" in values:
        return str(values["failed"])
    rate = f"{values['images_per_second']:.4g} images/s"
    if values.get("mfu"):
        rate += f", MFU {values['mfu']:.1%}"
    if "compile_seconds" in values:
        rate += f", compiled in {values['compile_seconds']:.1f} s"
    return rate
