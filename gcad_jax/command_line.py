"""Flags of the commands: mistakes answered with one sentence and the nearest name."""

import pathlib
import runpy
import sys
from typing import Any, NoReturn

from absl import flags

from gcad_jax.checks import UserError, nearest
from gcad_jax.config import field_names


def fail(error: Exception, code: int) -> NoReturn:
    """Prints one sentence and ends the process."""
    print(f"error: {error}" if code == 2 else str(error), file=sys.stderr)
    sys.exit(code)


def parse(argv: list[str]) -> list[str]:
    """Parses the flags of a command with --config and --workdir.

    Exits with code 2 and one sentence for an unknown flag or field, a wrong type, a
    missing flag, or a config file that is not there.
    """
    if any(argument in ("--help", "-h", "-help", "--helpfull") for argument in argv):
        print(HELP)
        sys.exit(0)
    try:
        check_names(argv)
        rest = flags.FLAGS(argv)
        for name in ("config", "workdir"):
            if not flags.FLAGS[name].value:
                raise UserError(
                    f"--{name} is missing; the command is python -m gcad_jax.main "
                    "--config=configs/circles.py --workdir=DIR."
                )
        if len(rest) > 1:
            raise UserError(f"{rest[1]!r} is not a flag; flags begin with --.")
    except UserError as error:
        fail(error, 2)
    except (flags.Error, ValueError, TypeError, OSError) as error:
        fail(UserError(_first_sentence(str(error))), 2)
    return rest


def check_names(argv: list[str]) -> None:
    """Raises UserError for a config that cannot be loaded, or an unknown flag."""
    values = dict(_split(argument) for argument in argv[1:] if argument[:2] == "--")
    if "config" not in values and "--config" in argv[1:-1]:
        values["config"] = argv[argv.index("--config") + 1]
    if not values.get("config"):
        return
    known = [f"config.{name}" for name in field_names(load(values["config"]))]
    known += ["config", "workdir"]
    for name in values:
        if name.startswith("config.") and name not in known:
            raise UserError(
                f"--{name} is unknown in {values['config']}.{nearest(name, known)}"
            )
        if name and "." not in name and name not in flags.FLAGS:
            raise UserError(f"--{name} is unknown.{nearest(name, known)}")


def load(path: str) -> Any:
    """What get_config of 'file.py' or 'file.py:preset' returns."""
    file, *preset = path.split(":", 1)
    if not pathlib.Path(file).is_file():
        folder = pathlib.Path(file).parent
        there = sorted(f"{folder}/{f.name}" for f in folder.glob("*.py"))
        raise UserError(
            f"--config={path}: there is no file {file}."
            + (nearest(file, there) or f" There are: {', '.join(there) or 'none'}.")
        )
    try:
        return runpy.run_path(file)["get_config"](*preset)
    except KeyError as error:
        raise UserError(f"--config={path}: {file} has no function {error}.") from error


def _split(argument: str) -> tuple[str, str]:
    name, _, value = argument[2:].partition("=")
    return name, value


def _first_sentence(text: str) -> str:
    lines = [line for line in text.strip().splitlines() if line.strip()]
    # A config file's own error arrives as a traceback: its last line says it.
    return lines[-1] if "Traceback" in text else lines[0]


HELP = """\
Train a method, evaluate it and write a report.

  python -m gcad_jax.main --config=FILE[:PRESET] --workdir=DIR [--config.NAME=VALUE]

  --config    a file of configs/: circles.py (toy set, nothing to download),
              folder.py (your images), loco.py (MVTec LOCO AD), mvtec_ad.py;
              ':small' behind it scales everything down for two CPU cores
  --workdir   where checkpoints, metrics and report.md go; the same command
              again continues a run that was stopped

The values most often set (every field of the config can be):
  --config.data.root=PATH                        where the images are
  --config.data.categories="('juice_bottle',)"   which categories
  --config.image_size=256                        a multiple of 32
  --config.epochs=500   --config.batch_size=16   --config.seeds="(0,1)"
  --config.method.g=64                           any hyper-parameter

Exit codes: 0 done; 2 a mistake in flags, data or workdir, said in one sentence;
143 stopped by SIGTERM after saving; 1 anything else (a bug: please report it).
"""
