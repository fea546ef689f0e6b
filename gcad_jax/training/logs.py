"""What a training writes while it runs: metrics.jsonl, TensorBoard, a progress bar."""

import contextlib
import dataclasses
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from gcad_jax.core import multihost
from gcad_jax.core.atomic_files import copy_tree, local_folder_for, write_text
from gcad_jax.core.errors import UserError, one_line
from gcad_jax.core.paths import is_local
from gcad_jax.core.types import Tree
from gcad_jax.training.parallel.layout import Layout

ROWS = "metrics.jsonl"


class MetricsLog:
    """Rows {"step", "epoch", "phase", "seed", losses...}, in a file and TensorBoard.

    Written by the first process; with others it does nothing.

    Rows of steps that a resumed run will do again are dropped first, so that the file
    ends as if the run had never been interrupted.

    An object store cannot append: for one, all is written on this machine and copied
    with each `flush`.
    """

    def __init__(self, folder: epath.Path, resume_step: int) -> None:
        """folder: of the category. resume_step: finished updates; 0 starts afresh."""
        self._writes = multihost.is_first()
        if not self._writes:
            return
        from tensorboardX import SummaryWriter

        self._folder, self._open = folder, contextlib.ExitStack()
        rows = [r for r in read_rows(folder / ROWS) if r["step"] <= resume_step]
        self._place = epath.Path(self._open.enter_context(local_folder_for(folder)))
        text = "".join(json.dumps(row) + "\n" for row in rows)
        write_text(self._place / ROWS, text)
        self._file = (self._place / ROWS).open("a")
        self._board = SummaryWriter(
            str(self._place / "tensorboard"),
            purge_step=resume_step + 1,
            write_to_disk=True,
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
        """Puts all rows where they stay; called before a checkpoint counts on them.

        Raises:
          UserError: they cannot be copied into an object store.
        """
        if not self._writes:
            return
        self._sync()
        if not is_local(self._folder):
            with self._errors_as_sentences():
                copy_tree(self._place, self._folder)

    def _sync(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._board.flush()

    def close(self) -> None:
        """Flushes and closes both files; raises as `flush` does."""
        if not self._writes:
            return
        self._sync()
        self._file.close()
        self._board.close()
        with self._errors_as_sentences():
            self._open.close()  # which copies

    @contextlib.contextmanager
    def _errors_as_sentences(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{ROWS} and tensorboard/ cannot be written to {self._folder} "
                f"({one_line(error)}); give the same command again: it continues from "
                "the last checkpoint."
            ) from error


@dataclasses.dataclass
class MetricsReader:
    """Checks, logs and shows the metrics of each call, one call late.

    Reading metrics waits until the device has computed them: those of one call are
    read when the next has been dispatched, so that the device is never idle.

    bar: counts images. seeds: of all processes. total_steps: the last is logged too.
    """

    log: MetricsLog
    bar: Any
    layout: Layout
    seeds: Sequence[int]
    batch_size: int
    log_every: int
    steps_per_epoch: int
    total_steps: int
    _pending: tuple[int, int, str, Tree] | None = None

    def add(self, step: int, calls: int, phase: str, metrics: Tree) -> None:
        """Metrics of updates step + 1 .. step + calls, once those before are read.

        metrics: as a program gives them, still on the devices.
        """
        self.read_pending()
        self._pending = (step, calls, phase, metrics)

    def read_pending(self) -> None:
        """Waits for the metrics that were added last.

        Raises:
          UserError: one of them is not finite.
        """
        if self._pending is None:
            return
        (first, calls, phase, metrics), self._pending = self._pending, None
        columns = self.layout.metrics_to_host(metrics)  # each (K, local seeds)
        local = [self.seeds[i] for i in self.layout.local_seeds(len(self.seeds))]
        for i in range(calls):
            step = first + i + 1
            values = {name: column[i] for name, column in columns.items()}
            # With other seeds on other processes, this one would stop alone.
            if len(local) == len(self.seeds):
                check_finite(step, local, values)
            if step % self.log_every == 0 or step in (1, self.total_steps):
                values = self.layout.gather_seeds(values)
                check_finite(step, self.seeds, values)
                epoch = step / self.steps_per_epoch
                self.log.write(step, epoch, phase, self.seeds, values)
        self.bar.update(calls * self.batch_size * len(self.seeds))


def read_rows(path: epath.Path) -> list[dict[str, Any]]:
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
                    "method.learning_rate=VALUE in another workdir.",
                    "method.learning_rate",
                )
