"""Checkpoints of one category: written atomically, restored exactly."""

import pathlib
from typing import Any

import jax
import numpy as np

from gcad_jax.methods.base import TrainState
from gcad_jax.types import Tree


class Checkpoints:
    """The newest states of one training, in `folder`/<step>/.

    A save goes to a temporary folder that is renamed when complete, in the
    background; a killed save leaves the one before untouched.
    """

    def __init__(self, folder: pathlib.Path, config: dict[str, Any]) -> None:
        """folder: created if missing. config: stored in every checkpoint."""
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self._config = config
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(max_to_keep=2, create=True),
        )

    def latest_step(self) -> int | None:
        """Number of finished updates in the newest checkpoint, None without one."""
        return self._manager.latest_step()

    def restore(self, like: TrainState) -> TrainState:
        """The newest state, on the host; `like` gives names, shapes and types."""
        saved = self._manager.restore(
            self.latest_step(),
            args=self._ocp.args.Composite(
                state=self._ocp.args.StandardRestore(_storable(like))
            ),
        )["state"]
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
        """Copies the state to the host and writes it in the background."""
        self._manager.save(
            step,
            args=self._ocp.args.Composite(
                state=self._ocp.args.StandardSave(_storable(state)),
                config=self._ocp.args.JsonSave(self._config),
            ),
        )

    def wait(self) -> None:
        """Returns when the last save is on disk; raises what went wrong in it."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits and releases the threads."""
        self._manager.close()


def _storable(state: TrainState) -> Tree:
    """Plain arrays under plain names, copied: the state itself will be donated."""
    tree = {
        "step": state.step,
        "params": state.learned.params,
        "model_state": state.learned.model_state,
        "opt_state": state.opt_state,
        "key": jax.random.key_data(state.key),
    }
    return jax.tree.map(np.array, tree)
