"""What a training writes while it runs: metrics.jsonl, TensorBoard, a progress bar."""

import json
import math
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gcad_jax import hosts
from gcad_jax.checks import UserError
from gcad_jax.files import write_text


class MetricsLog:
    """Rows {"step", "epoch", "phase", "seed", losses...}, in a file and TensorBoard.

    Written by the first process; with others it does nothing.

    Rows of steps that a resumed run will do again are dropped first, so that the file
    ends as if the run had never been interrupted.
    """

    def __init__(self, folder: pathlib.Path, resume_step: int) -> None:
        """folder: of the category. resume_step: finished updates; 0 starts afresh."""
        self._writes = hosts.is_first()
        if not self._writes:
            return
        from tensorboardX import SummaryWriter

        self._path = folder / "metrics.jsonl"
        _keep_rows(self._path, resume_step)
        self._file = self._path.open("a")
        self._board = SummaryWriter(
            str(folder / "tensorboard"), purge_step=resume_step + 1, write_to_disk=True
        )

    def write(
        self,
        step: int,
        epoch: float,
        phase: str,
        seeds: Sequence[int],
        metrics: Mapping[str, np.ndarray],
    ) -> None:
        """metrics: name -> (S,) values of this step."""
        if not self._writes:
            return
        for i, seed in enumerate(seeds):
            values = {name: float(column[i]) for name, column in metrics.items()}
            row: dict[str, Any] = {"step": step, "epoch": epoch, "phase": phase}
            self._file.write(json.dumps({**row, "seed": seed, **values}) + "\n")
            for name, value in values.items():
                self._board.add_scalar(f"seed_{seed}/{name}", value, step)

    def flush(self) -> None:
        """Puts all rows on disk; called before a checkpoint that counts on them."""
        if not self._writes:
            return
        self._file.flush()
        os.fsync(self._file.fileno())
        self._board.flush()

    def close(self) -> None:
        """Flushes and closes both files."""
        if not self._writes:
            return
        self.flush()
        self._file.close()
        self._board.close()


def read_rows(path: pathlib.Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl; a last line that a kill cut short is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text().splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


def _keep_rows(path: pathlib.Path, resume_step: int) -> None:
    rows = [row for row in read_rows(path) if row["step"] <= resume_step]
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def check_finite(
    step: int, seeds: Sequence[int], metrics: Mapping[str, np.ndarray]
) -> None:
    """Raises UserError at a NaN or infinite loss, naming step, term and seed."""
    for name, column in metrics.items():
        for seed, value in zip(seeds, column, strict=True):
            if not math.isfinite(value):
                raise UserError(
                    f"{name} is {value} at step {step}, seed {seed}: training stopped, "
                    "the checkpoints before it are kept; try a lower "
                    "--config.method.learning_rate in another --workdir."
                )


def progress_bar(total: int, done: int, label: str):  # type: ignore[no-untyped-def]
    """A bar over images: rate in images/s and the time left.

    Redrawn twice a second on a terminal, once a minute elsewhere.
    """
    from tqdm import tqdm

    return tqdm(
        total=total,
        initial=done,
        desc=label,
        unit="img",
        unit_scale=True,
        dynamic_ncols=True,
        mininterval=0.5 if sys.stderr.isatty() else 60.0,
        disable=not hosts.is_first(),
    )
