"""python -m gcad_jax.main --config=configs/loco.py --workdir=DIR

Trains, evaluates and reports; the same command again continues where it stopped.
Short on purpose: everything else can be imported and tested without flags.
"""

import traceback
from collections.abc import Mapping
from typing import Any

from absl import flags
from ml_collections import config_flags

from gcad_jax.cli import command
from gcad_jax.cli.config_flags import ConfigCommand
from gcad_jax.core.console import print_line
from gcad_jax.core.errors import UserError
from gcad_jax.core.machine.memory import keep_freed_memory

# Exit codes beside those of every command.
LOST = 3  # another process of the command has gone
PREEMPTED = 143  # 128 + SIGTERM, as a process that the signal had ended

TOO_LARGE = (
    "it does not fit into the memory of the device; lower --config.batch_size (of a "
    "pretraining --config.method.batch_size) or --config.method.inference_batch_size, "
    "or train fewer seeds at once."
)
COMMAND = ConfigCommand(
    name="main",
    summary="""
    Train a method on good images, evaluate it on test images and write a report.
    Stopped at any moment, the same command goes on where it was.
    """,
    examples={
        "Try it, on a toy set that is generated (minutes on two CPU cores):": (
            "python -m gcad_jax.main --config=configs/circles.py --workdir=runs/circles"
        ),
        "With your own images, a folder of good ones:": (
            "python -m gcad_jax.main --config=configs/closed_form.py:folder "
            "--workdir=runs/mine --config.data.root=FOLDER"
        ),
    },
    required={
        "--config=FILE": """
        what is done: a file of yours, or one that comes with the package:
          configs/circles.py     toy set, nothing to download
          configs/folder.py      your images
          configs/loco.py        MVTec LOCO AD
          configs/mvtec_ad.py    MVTec AD
          configs/NAME.py        another method: closed_form, for
                                 CPUs; student_teacher, spade, vae,
                                 autoencoder, mnad, fanogan,
                                 variation_model
          configs/study_NAME.py  the paper's experiments: benchmark,
                                 toy, ablations, seeds, precision,
                                 saturation, throughput
          configs/pretrain_teacher.py   weights of E_loc from photos
        ':small' behind it scales all down for two CPU cores; the header of each
        file says what else may stand there; with --help its fields are listed
        """,
        "--workdir=DIR": """
        folder of report.md, results, checkpoints and trained detectors
        """,
    },
    optional={
        "--plan": """
        say what would be done and written, how far it is and how long it would
        take, by a few timed updates, and stop. Mistakes are found as by the run.
        Leaves compiled programs in WORKDIR/.programs, which the run need not
        compile again, and what data sets are packed into
        (--config.data.cache_dir), and nothing else
        """,
        "--coordinator=HOST:PORT": """
        with the next two: one command on several hosts (docs/scale.md); Cloud TPU,
        SLURM and Open MPI need none of them
        """,
        "--num_processes=N": "of the command; 1: alone",
        "--process_id=N": "which of them this is, from 0",
    },
    notes="""
    Values of the config that are set most often (every field can be):
      --config.data.root=PATH                        where the images are
      --config.data.categories="('juice_bottle',)"   which categories
      --config.image_size=256                        a multiple of 32, or
      --config.image_size="(256,512)"                height and width, where a
                                                     method takes both
      --config.epochs=500   --config.batch_size=16   --config.seeds="(0,1)"
      --config.method.g=64                           any hyper-parameter
    """,
    exit_codes={
        command.USER_ERROR: """
        a mistake in flags, data or workdir, or too little memory of the device, said
        in one sentence
        """,
        LOST: "another host was lost: the same command on all of them continues",
        command.INTERRUPTED: (
            "stopped by Ctrl-C: the same command continues from the last checkpoint"
        ),
        PREEMPTED: "stopped by SIGTERM after saving: the same command continues",
    },
    interrupted="stopped; the same command continues from the last checkpoint.",
)


def main(given: flags.FlagValues) -> None:
    """Runs what the config is of; what ends it says so to all of its processes."""
    from gcad_jax.core import multihost
    from gcad_jax.core.errors import is_out_of_memory, one_line
    from gcad_jax.runs.lock import lock_notice
    from gcad_jax.training.preemption import Preempted

    try:
        multihost.join(given.coordinator, given.num_processes, given.process_id)
        file = config_flags.get_config_filename(given["config"])
        print_line(f"config      {file}")
        if notice := lock_notice(given.workdir):
            print_line(f"workdir     {notice}")
        _run(given.config, given.workdir, given.plan)
    except UserError as error:
        if multihost.num_processes() == 1:
            raise
        sentence = command.sentence_of(error)
        multihost.exit_process(f"error: {sentence}", command.USER_ERROR)
    except Preempted as stopped:
        command.fail(stopped, PREEMPTED)
    except KeyboardInterrupt:
        if multihost.num_processes() == 1:
            raise
        multihost.exit_process(COMMAND.interrupted, command.INTERRUPTED)
    except Exception as error:
        if multihost.num_processes() == 1:
            if is_out_of_memory(error):
                raise UserError(TOO_LARGE) from error
            raise
        # At a plain exit JAX would wait for the others, and they for this one.
        if multihost.is_lost(error):
            multihost.exit_process(
                f"another process of this command was lost ({one_line(error)}); "
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
    from gcad_jax.config import Experiment, Pretraining
    from gcad_jax.core import multihost
    from gcad_jax.runs import plan, pretrain, train_and_evaluate
    from gcad_jax.runs.plan import Job, print_plan
    from gcad_jax.studies.grid import runner
    from gcad_jax.studies.grid.study import Study
    from gcad_jax.studies.saturation import run as saturation
    from gcad_jax.studies.saturation.config import SaturationStudy
    from gcad_jax.studies.throughput import run as throughput
    from gcad_jax.studies.throughput.config import ThroughputStudy

    jobs: Mapping[type, Job] = {
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


if __name__ == "__main__":
    keep_freed_memory()
    COMMAND.run(main)
