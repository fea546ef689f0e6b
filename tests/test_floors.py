"""A file imports only from lower floors (docs/design.md); read off the source."""

import ast
import pathlib

import pytest
from runs import PACKAGE

FLOORS = (
    ("axes", "types", "checks", "files", "hosts", "speech"),
    ("data",),
    ("models",),
    ("methods",),
    ("training",),
    ("pretraining",),
    ("evaluation",),
    ("style", "plots", "map_figure", "extremes", "figures", "overlay", "png", "page"),
    ("studies",),
    (
        *("config", "config_files", "presets", "workdir", "experiment", "pretrain"),
        *("command_line", "given_flags", "folder_scores", "throughput"),
        *("study", "study_plan", "study_presets", "study_runs", "run_plan"),
        *("detector_file", "detector", "statement", "image_files", "predictions"),
        *("main", "evaluate", "convert", "merge", "predict", "predict_benchmark"),
        *("artefact", "parity", "export"),
        "configs",  # in a wheel
    ),
)
# Not even downwards: scoring a folder of maps must not pull in the trainer.
FORBIDDEN = (("evaluation", "training"), ("evaluation", "models"))
NOBODY_IMPORTS = "main"


def part(path: pathlib.Path) -> str:
    """The file or folder directly under the package."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def floor(name: str) -> int:
    return next(i for i, names in enumerate(FLOORS) if name in names)


def imported(path: pathlib.Path) -> set[str]:
    """Parts of the package that a file imports, wherever in the file."""
    parts = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            module, names = node.module.split("."), [a.name for a in node.names]
            if module[0] == "gcad_jax":
                parts |= {module[1]} if len(module) > 1 else set(names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("gcad_jax."):
                    parts.add(alias.name.split(".")[1])
    return parts - {"__version__"}


FILES = sorted(p for p in PACKAGE.rglob("*.py") if not p.name.startswith("__"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_only_from_lower_floors(path):
    own = part(path)
    for other in imported(path) - {own}:
        assert floor(other) <= floor(own), f"{own} imports {other}, which is above it"
        assert (own, other) not in FORBIDDEN
        assert other != NOBODY_IMPORTS


def test_flags_are_read_on_the_top_floor_only():
    for path in FILES:
        reads = "absl import flags" in path.read_text() or "config_flags" in (
            path.read_text()
        )
        assert not reads or floor(part(path)) == len(FLOORS) - 1
