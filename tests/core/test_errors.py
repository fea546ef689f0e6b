"""Errors that carry fields, for which a command says its flags."""

import ast
import pickle
import re

from helpers.runs import PACKAGE

from gcad_jax.core.errors import UserError


def test_fields_are_renamed_where_they_are_set_and_nowhere_else():
    error = UserError(
        "data.root is /data.root=3. Set data.root=FOLDER, or seeds=1.", "data.root"
    )
    error.rename_fields(lambda name: f"--config.{name}")
    assert str(error) == (
        "data.root is /data.root=3. Set --config.data.root=FOLDER, or seeds=1."
    )
    error.rename_fields(lambda name: name.replace("data", "circles.data"))
    assert str(error).endswith("Set --config.circles.data.root=FOLDER, or seeds=1.")
    plain = UserError("x=3")
    plain.rename_fields(str.upper)
    assert str(plain) == "x=3"


def test_other_processes_get_the_fields_too():
    error = UserError("workdir=a is in use.", "workdir")
    error.agreed = True
    other = pickle.loads(pickle.dumps(error))
    assert (str(other), other.fields, other.agreed) == (
        "workdir=a is in use.",
        ("workdir",),
        True,
    )


def test_rooms_below_the_commands_name_no_flags():
    """They name fields, in `UserError.fields`; a command puts its flags there."""
    # In a wheel the config files are in the package; their headers are commands.
    others = ("cli", "benchmarks", "configs")
    files = [
        p
        for p in PACKAGE.glob("*/**/*.py")
        if p.relative_to(PACKAGE).parts[0] not in others
    ]
    assert len(files) > 100
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                assert not re.search(r"--[a-z]\w", node.value), (file, node.lineno)
