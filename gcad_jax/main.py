"""python -m gcad_jax.main --config=configs/loco.py --workdir=DIR

Trains, evaluates and reports; the same command again continues where it stopped.
Short on purpose: everything else can be imported and tested without flags.
"""

import ctypes
import sys
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import config_flags

from gcad_jax.cli import main_flags, shared_flags
from gcad_jax.core.console import print_line
from gcad_jax.core.errors import UserError

if TYPE_CHECKING:
    from gcad_jax.runs.plan import Job

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file, with an optional preset: configs/loco.py:small."
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder for checkpoints, metrics and the report."
)
PLAN = flags.DEFINE_boolean("plan", False, "Say what would happen, and stop.")

COORDINATOR = flags.DEFINE_string(
    "coordinator", "", "HOST:PORT of the first of several processes."
)
NUM_PROCESSES = flags.DEFINE_integer(
    "num_processes", 0, "Processes of this command; 1: alone, 0: found out."
)
PROCESS_ID = flags.DEFINE_integer(
    "process_id", -1, "Which of them this is, counted from 0."
)

# Exit codes beside 0, and 1 for a bug.
USER_ERROR = 2
LOST = 3  # another process of the command has gone
PREEMPTED = 143  # 128 + SIGTERM, as a process that the signal had ended

INTERRUPTED = "stopped; the same command continues from the last checkpoint."
TOO_LARGE = (
    "it does not fit into the memory of the device; lower --config.batch_size (of a "
    "pretraining --config.method.batch_size) or --config.method.inference_batch_size, "
    "or train fewer seeds at once."
)


def main(_: list[str]) -> None:
    """Runs what the config is of; a user's mistake is one sentence and exit code 2."""
    # Imported here, so that --help and a mistyped flag answer at once.
    from gcad_jax.core import multihost
    from gcad_jax.core.errors import is_out_of_memory
    from gcad_jax.runs.workdir import unlocked
    from gcad_jax.training.preemption import Preempted

    workdir = str(WORKDIR.value)
    try:
        multihost.join(COORDINATOR.value, NUM_PROCESSES.value, PROCESS_ID.value)
        file = config_flags.get_config_filename(flags.FLAGS["config"])
        print_line(f"config      {file}")
        if told := unlocked(workdir):
            print_line(f"workdir     {told}")
        _run(CONFIG.value, workdir, PLAN.value)
    except UserError as error:
        if multihost.num_processes() > 1:
            sentence = shared_flags.sentence_of(error)
            multihost.exit_process(f"error: {sentence}", USER_ERROR)
        main_flags.fail(error, USER_ERROR)
    except Preempted as stopped:
        main_flags.fail(stopped, PREEMPTED)
    except KeyboardInterrupt:
        if multihost.num_processes() > 1:
            multihost.exit_process(INTERRUPTED, shared_flags.INTERRUPTED)
        main_flags.fail(UserError(INTERRUPTED), shared_flags.INTERRUPTED)
    except Exception as error:
        if multihost.num_processes() == 1:
            if is_out_of_memory(error):
                main_flags.fail(UserError(TOO_LARGE), USER_ERROR)
            raise
        # At a plain exit JAX would wait for the others, and they for this one.
        if multihost.is_lost(error):
            multihost.exit_process(
                f"another process of this command was lost ({_first_line(error)}); "
                "give the same command again on all hosts: it continues from the last "
                "checkpoint.",
                LOST,
            )
        multihost.exit_process(traceback.format_exc(), 1)


def _run(config: Any, path: str, planned: bool) -> None:
    """Does what a config is for, or only plans it.

    Raises:
      UserError: a config of no kind that is known, or several processes for what runs
        on one.
    """
    from gcad_jax.core import multihost
    from gcad_jax.runs.plan import print_plan

    jobs = _jobs()
    # A study has a class of its own, below one of the table.
    kinds = [kind for kind in type(config).__mro__ if kind in jobs]
    if not kinds:
        raise UserError(
            f"get_config returns a {type(config).__name__}; it must return a "
            "gcad_jax.config.Experiment, or a study."
        )
    job = jobs[kinds[0]]
    if job.alone:
        multihost.check_alone(job.alone)
    if planned or getattr(config, "plan", False):
        print_plan(job.plan(config, path))
    else:
        job.run(config, path)


def _jobs() -> Mapping[type, "Job"]:
    """What is done with each kind of config."""
    from gcad_jax.config import Experiment, Pretraining
    from gcad_jax.runs import plan, pretrain, train_and_evaluate
    from gcad_jax.runs.plan import Job
    from gcad_jax.studies.grid import runner
    from gcad_jax.studies.grid.study import Study
    from gcad_jax.studies.saturation import run as saturation
    from gcad_jax.studies.saturation.config import SaturationStudy
    from gcad_jax.studies.throughput import run as throughput
    from gcad_jax.studies.throughput.config import ThroughputStudy

    return {
        Experiment: Job(train_and_evaluate.run, plan.plan_run),
        Pretraining: Job(pretrain.run, pretrain.plan, "pretraining"),
        Study: Job(runner.run, runner.plan),
        SaturationStudy: Job(
            saturation.run, saturation.plan, "the study of the thresholds"
        ),
        ThroughputStudy: Job(
            throughput.run, throughput.plan, "the study of the throughput"
        ),
    }


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:200]


def keep_freed_memory() -> None:
    """Has glibc keep the working memory of a step instead of returning it each time.

    XLA on CPU allocates it anew for every step, and faulting the pages in again is a
    sixth of a step's time. Does nothing where there is no glibc.
    """
    # From malloc.h: M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX.
    options = {-1: 2**31 - 1, -2: 2**28, -4: 0, -8: 1}
    if sys.platform == "linux":
        for option, value in options.items():
            getattr(ctypes.CDLL(None), "mallopt", lambda *_: 0)(option, value)


def run() -> None:
    """Entry point: how memory is kept, then flags and `main`."""
    keep_freed_memory()
    shared_flags.run(main, main_flags.parse)


if __name__ == "__main__":
    run()
    sys.exit(0)
