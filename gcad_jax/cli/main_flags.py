"""Flags of the commands: mistakes answered with one sentence and the nearest name."""

import ast
import typing
from collections.abc import Mapping
from typing import Any

from absl import flags

from gcad_jax.cli.shared_flags import (
    SHARED_HELP,
    check_names,
    configure_verbosity,
    fail,
    given_values,
    print_help,
)
from gcad_jax.core.errors import UserError

OWN_FLAGS = {
    **{"config": str, "workdir": str, "plan": bool, "quiet": bool, "verbose": bool},
    **{"coordinator": str, "num_processes": int, "process_id": int},
}


def parse(argv: list[str]) -> list[str]:
    """Parses the flags of a command with --config and --workdir.

    Exits with code 2 and one sentence for an unknown flag or field, a wrong type, a
    missing flag, or a config file that cannot be loaded.
    """
    print_help(argv, HELP)
    given: dict[str, str] = {}
    types: dict[str, Any] = {}
    try:
        given = given_values(argv)
        if given.get("config"):
            types = _types(given["config"])
        check_names(given, [*types, *OWN_FLAGS])
        if types:
            check_overriding(given)
        for name in ("config", "workdir"):
            if not given.get(name):
                raise missing(name, argv)
        rest = flags.FLAGS([_with_found(word, given["config"]) for word in argv])
        if len(rest) > 1:
            raise UserError(f"{rest[1]!r} is not a flag; flags begin with --.")
        configure_verbosity()
    except UserError as error:
        fail(error, 2)
    except flags.IllegalFlagValueError as error:
        fail(wrong_type(given, types | OWN_FLAGS) or UserError(_one_line(error)), 2)
    except (flags.Error, ValueError, TypeError, OSError, KeyError) as error:
        fail(UserError(_one_line(error)), 2)
    return rest


def _types(path: str) -> dict[str, Any]:
    """The type of each field of the config at `path`, by its flag."""
    # Imported here, so that --help and a mistyped flag answer at once.
    from gcad_jax.config.files import load
    from gcad_jax.config.serialization import leaf_fields

    return {f"config.{name}": kind for name, kind in leaf_fields(load(path))}


def _with_found(word: str, path: str) -> str:
    """A word of the command, with the file of the package where `path` means that."""
    from gcad_jax.config.files import found

    flag, equals, value = word.rpartition("=")
    return f"{flag}{equals}{found(path)}" if value == path else word


def missing(name: str, argv: list[str]) -> UserError:
    """What to say where --config or --workdir is not given."""
    if without := [word for word in argv if word.startswith(f"{name}=")]:
        return UserError(f"{without[0]!r} is not a flag; write --{without[0]}.")
    return UserError(
        f"--{name} is missing; the command is python -m gcad_jax.main "
        "--config=configs/circles.py --workdir=DIR."
    )


def check_overriding(given: Mapping[str, str]) -> None:
    """Raises UserError for a value that is given twice over, in two ways."""
    from gcad_jax.config.validation import OVERRIDING

    for short in OVERRIDING:
        one, other = f"config.{short}", f"config.method.{short}"
        if one in given and given.get(other, given[one]) != given[one]:
            raise UserError(
                f"--{one}={given[one]} and --{other}={given[other]} contradict each "
                "other; both set the same value, so give one of them."
            )


def wrong_type(given: Mapping[str, str], types: Mapping[str, Any]) -> UserError | None:
    """What to say of the first value that cannot be read as the type of its field."""
    for name, value in given.items():
        kind = next((k for k in WORDS if _is_type(types.get(name), k)), None)
        if kind and not _reads_as(value, kind):
            return UserError(f"--{name} is {value!r}; it must be {WORDS[kind]}.")
    return None


WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    tuple: """a tuple in quotes, such as "(0,1)" or "('juice_bottle',)\"""",
}


def _is_type(annotation: Any, kind: type) -> bool:
    """Whether an annotation is `kind`, `kind | None` or `kind[...]`."""
    parts = [annotation, typing.get_origin(annotation), *typing.get_args(annotation)]
    return kind in parts[:2] or (kind in parts and type(None) in parts)


def _reads_as(value: str, kind: type) -> bool:
    try:
        if kind is tuple:
            ast.literal_eval(value)
        elif kind is bool:
            return value.lower() in ("true", "false", "0", "1", "t", "f", "")
        else:
            kind(value)
    except (ValueError, SyntaxError):
        return False
    return True


def _one_line(error: Exception) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    # A config file's own error arrives as a traceback: its last line says it.
    return lines[-1] if "Traceback" in str(error) else lines[0]


HELP = f"""\
Train a method on good images, evaluate it on test images and write a report.
Stopped at any moment, the same command goes on where it was.

Try it, on a toy set that is generated (minutes on two CPU cores):

  python -m gcad_jax.main --config=configs/circles.py --workdir=runs/circles

With your own images, a folder of good ones:

  python -m gcad_jax.main --config=configs/folder.py:small --workdir=runs/mine \\
      --config.data.root=FOLDER

The two that must be given:
  --config    what is done: a file of yours, or one that comes with the package:
                configs/circles.py     toy set, nothing to download
                configs/folder.py      your images
                configs/loco.py        MVTec LOCO AD
                configs/mvtec_ad.py    MVTec AD
                configs/NAME.py        another method: student_teacher, vae,
                                       autoencoder, mnad, fanogan, spade,
                                       variation_model
                configs/study_NAME.py  the paper's experiments: benchmark, toy,
                                       ablations, seeds, precision, saturation,
                                       throughput
                configs/pretrain_teacher.py   weights of E_loc from photos
              ':small' behind it scales all down for two CPU cores; the header
              of each file says what else may stand there
  --workdir   folder of report.md, results, checkpoints and trained detectors

Values of the config that are set most often (every field can be):
  --config.data.root=PATH                        where the images are
  --config.data.categories="('juice_bottle',)"   which categories
  --config.image_size=256                        a multiple of 32
  --config.epochs=500   --config.batch_size=16   --config.seeds="(0,1)"
  --config.method.g=64                           any hyper-parameter

Other flags:
  --plan      say what would be done and written, how far it is and how long it
              would take, by a few timed updates, and stop. Mistakes are found
              as by the run. Leaves compiled programs in WORKDIR/.programs,
              which the run need not compile again, and what data sets are
              packed into (--config.data.cache_dir), and nothing else
{SHARED_HELP}\
  --coordinator=HOST:PORT --num_processes=N --process_id=I
              one command on several hosts (docs/scale.md); Cloud TPU, SLURM
              and Open MPI need none of them; --num_processes=1: alone

Exit codes:
  0    done
  2    a mistake in flags, data or workdir, or too little memory of the device,
       said in one sentence
  3    another host was lost: the same command on all of them continues
  130  stopped by Ctrl-C: the same command continues from the last checkpoint
  143  stopped by SIGTERM after saving: the same command continues
  1    anything else (a bug: please report it)
"""
