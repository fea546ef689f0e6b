"""Flags of the commands: mistakes answered with one sentence and the nearest name."""

import ast
import typing
from collections.abc import Mapping
from typing import Any

from absl import flags

from gcad_jax.checks import UserError
from gcad_jax.config_files import found, load
from gcad_jax.given_flags import answer, check_names, fail, given_values, listen

HOST_FLAGS = ("coordinator", "num_processes", "process_id")


def parse(argv: list[str]) -> list[str]:
    """Parses the flags of a command with --config and --workdir.

    Exits with code 2 and one sentence for an unknown flag or field, a wrong type, a
    missing flag, or a config file that cannot be loaded.
    """
    answer(argv, HELP)
    given: dict[str, str] = {}
    types: dict[str, Any] = {}
    try:
        given = given_values(argv)
        if given.get("config"):
            types = _types(given["config"])
        check_names(given, [*types, "config", "workdir", "plan", *HOST_FLAGS])
        if types:
            check_overriding(given)
        for name in ("config", "workdir"):
            if not given.get(name):
                raise missing(name)
        rest = flags.FLAGS([_with_found(word, given["config"]) for word in argv])
        if len(rest) > 1:
            raise UserError(f"{rest[1]!r} is not a flag; flags begin with --.")
        listen()
    except UserError as error:
        fail(error, 2)
    except flags.IllegalFlagValueError as error:
        fail(wrong_type(given, types) or UserError(_one_line(error)), 2)
    except (flags.Error, ValueError, TypeError, OSError, KeyError) as error:
        fail(UserError(_one_line(error)), 2)
    return rest


def _types(path: str) -> dict[str, Any]:
    """The type of each field of the config at `path`, by its flag."""
    # Imported here, so that --help and a mistyped flag answer at once.
    from gcad_jax.config import fields

    return {f"config.{name}": kind for name, kind in fields(load(path))}


def _with_found(word: str, path: str) -> str:
    """A word of the command, with the file of the package where `path` means that."""
    flag, equals, value = word.rpartition("=")
    return f"{flag}{equals}{found(path)}" if value == path else word


def missing(name: str) -> UserError:
    """What to say where --config or --workdir is not given."""
    return UserError(
        f"--{name} is missing; the command is python -m gcad_jax.main "
        "--config=configs/circles.py --workdir=DIR."
    )


def check_overriding(given: Mapping[str, str]) -> None:
    """Raises UserError for a value that is given twice over, in two ways."""
    from gcad_jax.config import OVERRIDING

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


HELP = """\
Train a method, evaluate it and write a report.

  python -m gcad_jax.main --config=FILE[:PRESET] --workdir=DIR \\
      [--config.NAME=VALUE ...]

  --config    a file of configs/: circles.py (toy set, nothing to download),
              folder.py (your images), loco.py (MVTec LOCO AD), mvtec_ad.py,
              pretrain_teacher.py (weights of E_loc from photos),
              study_benchmark.py, study_ablations.py, study_toy.py,
              study_seeds.py, study_precision.py, study_saturation.py,
              study_throughput.py (their headers say how);
              ':small' behind it scales everything down for two CPU cores
  --workdir   where checkpoints, metrics and report.md go; the same command
              again continues a run that was stopped
  --coordinator=HOST:PORT --num_processes=N --process_id=I
              one command on several hosts (docs/scale.md); Cloud TPU, SLURM
              and Open MPI need none of them; --num_processes=1: alone

The values most often set (every field of the config can be):
  --config.data.root=PATH                        where the images are
  --config.data.categories="('juice_bottle',)"   which categories
  --config.image_size=256                        a multiple of 32
  --config.epochs=500   --config.batch_size=16   --config.seeds="(0,1)"
  --config.method.g=64                           any hyper-parameter

Exit codes: 0 done; 2 a mistake in flags, data or workdir, said in one sentence;
143 stopped by SIGTERM after saving; 3 another host was lost: the same command
on all of them continues; 1 anything else (a bug: please report it).
"""
