"""Checkpoints of one category: written atomically, restored exactly."""

import contextlib
import errno
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from etils import epath

from gcad_jax.core import multihost
from gcad_jax.core.errors import UserError, one_line
from gcad_jax.core.paths import list_folder, make_absolute
from gcad_jax.core.types import Tree
from gcad_jax.methods.base import TrainState
from gcad_jax.training.parallel.layout import Layout

CHECKPOINTS = "checkpoints"  # beside the results of a category
# By this file Orbax tells that a checkpoint on gs:// is complete; it comes last.
COMMITTED = "commit_success.txt"


def finished_steps(folder: epath.Path) -> list[int]:
    """Steps of the complete checkpoints in `folder`, ascending; [] where it is none."""
    if not folder.is_dir():
        return []
    steps = [path for path in list_folder(folder)[0] if path.name.isdigit()]
    if os.fspath(folder).startswith("gs://"):  # nothing is renamed there
        steps = [path for path in steps if (path / COMMITTED).exists()]
    return sorted(int(path.name) for path in steps)


def newest_step(folder: epath.Path) -> int:
    """Finished updates of the newest checkpoint in `folder`; 0 without one."""
    return max(finished_steps(folder), default=0)


class Checkpoints:
    """The newest states of one training, in `folder`/<step>/.

    A save goes to a temporary folder that is renamed when complete, in the
    background; a killed save leaves the one before untouched. On gs://, where it is
    not renamed, `finished_steps` tells which are complete.
    """

    def __init__(
        self, folder: epath.Path, config: dict[str, Any], layout: Layout
    ) -> None:
        """folder: created if missing. config: stored in every checkpoint.

        layout: of the states; each can read what another saved.
        """
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._config, self._layout = config, layout
        self._folder = make_absolute(folder)
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=2,
                create=True,
                cleanup_tmp_directories=True,  # of a save that was killed
            ),
        )

    def restore(
        self, like: TrainState, print_line: Callable[[str], None]
    ) -> tuple[int, TrainState] | None:
        """(finished updates, state for `Layout.states_to_device`), or None without any.

        A newest checkpoint that cannot be read (a full disk, a copy cut short) is
        said and set aside as <step>.unreadable, and the one before it taken.

        Args:
          like: a state of the own seeds that gives names, shapes and types.
          print_line: called with a sentence about each unreadable checkpoint.

        Raises:
          UserError: if there are checkpoints and none can be read; all are kept.
        """
        steps = multihost.run_on_first(
            lambda: sorted(self._manager.all_steps(), reverse=True)
        )
        for i, step in enumerate(steps):
            state, reason = None, ""
            try:
                state = self._read(step, like)
            except Exception as error:  # Orbax and its storage raise many kinds
                reason = _reason(error)
            reasons = [text for text in multihost.all_gather(reason) if text]
            if state is None or reasons:
                print_line(
                    f"checkpoint  {self._folder / str(step)} cannot be read: "
                    f"{reasons[0]}"
                )
                continue
            if i:
                multihost.run_on_first(functools.partial(self._set_aside, steps[:i]))
                self._manager.reload()
            return step, state
        if steps:
            raise UserError(
                f"none of the {len(steps)} checkpoints in {self._folder} can be read; "
                "restore that folder from a backup, or delete it to train from the "
                "start."
            )
        return None

    def _set_aside(self, steps: Sequence[int]) -> None:
        """Frees the places of checkpoints: new saves of these steps need them."""
        for step in steps:
            target = self._folder / f"{step}.unreadable"
            if target.exists():
                target.rmtree()
            (self._folder / str(step)).rename(target)

    def _read(self, step: int, like: TrainState) -> TrainState:
        """Each process by itself: one that fails does not leave the others waiting."""
        process = jax.process_index()
        alone = self._ocp.options.MultiprocessingOptions(
            primary_host=process, active_processes={process}
        )
        with self._ocp.Checkpointer(
            self._ocp.StandardCheckpointHandler(multiprocessing_options=alone),
            multiprocessing_options=alone,
        ) as reader:
            saved = reader.restore(
                self._folder / str(step) / "state",
                args=self._ocp.args.StandardRestore(
                    self._layout.checkpoint_like(_named(like))
                ),
            )
        return like.replace(  # type: ignore[attr-defined]
            step=saved["step"],
            learned=like.learned.replace(  # type: ignore[attr-defined]
                params=saved["params"], model_state=saved["model_state"]
            ),
            opt_state=jax.tree.unflatten(
                jax.tree.structure(like.opt_state), jax.tree.leaves(saved["opt_state"])
            ),
            key=jax.random.wrap_key_data(saved["key"]),
        )

    def save(self, step: int, state: TrainState) -> None:
        """Copies the state to the host and writes it in the background.

        Raises:
          UserError: this save, or the one before it in the background, failed.
        """
        with self._errors_as_sentences():
            self._manager.save(
                step,
                args=self._ocp.args.Composite(
                    # Copied: the state itself will be donated.
                    state=self._ocp.args.StandardSave(
                        self._layout.to_checkpoint(_named(state))
                    ),
                    config=self._ocp.args.JsonSave(self._config),
                ),
            )

    def wait(self) -> None:
        """Returns when the last save is on disk; raises UserError if it failed."""
        with self._errors_as_sentences():
            self._manager.wait_until_finished()

    @contextlib.contextmanager
    def _errors_as_sentences(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # Orbax and its storage raise many kinds
            if multihost.num_processes() > 1 and multihost.is_lost(error):
                raise
            raise UserError(
                f"a checkpoint cannot be written to {self._folder} "
                f"({_reason(error)}); free space there and give the same command "
                "again: it continues from the last complete one."
            ) from error

    def close(self) -> None:
        """Waits and releases the threads; raises UserError if the last save failed."""
        with self._errors_as_sentences():
            self._manager.close()


def _reason(error: Exception) -> str:
    # The storage wraps the system's message into all that it knows.
    codes = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES)
    first = str(error).strip().partition("\n")[0]
    messages = [text for text in map(os.strerror, codes) if text in first]
    return messages[0] if messages else one_line(error)


def _named(state: TrainState) -> Tree:
    """Plain arrays under plain names."""
    return {
        "step": state.step,
        "params": state.learned.params,
        "model_state": state.learned.model_state,
        "opt_state": state.opt_state,
        "key": jax.random.key_data(state.key),
    }
