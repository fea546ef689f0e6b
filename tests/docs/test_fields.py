"""Every field that a flag can set is on the page of all fields, and is described."""

import dataclasses
import re
import sys

import pytest
from helpers import runs

from gcad_jax.config import files
from gcad_jax.core import fields as core_fields

sys.path.insert(0, str(runs.ROOT / "docs" / "_ext"))
import api
import docstrings
import fields

PAGE = (runs.ROOT / "docs" / "config.md").read_text()
PART = re.compile(r"<!-- generated: fields ([\w.]+) (--config\.[\w.]*) -->")
ON_PAGE = PART.findall(PAGE)


def described():
    """Class -> the fields that the page has of it."""
    found = {}
    for path, _ in ON_PAGE:
        module, name = path.rsplit(".", 1)
        kind = getattr(__import__(module, fromlist=[name]), name)
        found[kind] = {field.name for field in fields.fields(kind)}
    return found


def test_the_page_has_every_field_of_every_config_file():
    there = described()
    assert len(there) == len(ON_PAGE) == PAGE.count("<!-- generated: ")
    reached = {
        pair for file in runs.CONFIGS for pair in fields.reached(files.load(str(file)))
    }
    assert len(reached) > 200
    missing = {
        f"{kind.__name__}.{name}"
        for kind, name in reached
        if name not in there.get(kind, ())
    }
    assert not missing


def test_the_flags_on_the_page_are_ones_that_there_are():
    flags = {
        f"--config.{name}"
        for file in runs.CONFIGS
        for preset in ("", ":small,circles")
        if preset == "" or "study_benchmark" in file.name
        for name in command_line_fields(f"{file}{preset}")
    }
    for path, flag in ON_PAGE:
        module, name = path.rsplit(".", 1)
        kind = getattr(__import__(module, fromlist=[name]), name)
        for field in fields.fields(kind):
            whole = f"{flag}{field.name}"
            assert any(f == whole or f.startswith(f"{whole}.") for f in flags), whole
            assert f"- **`{whole}`**: " in PAGE


def command_line_fields(path):
    from gcad_jax.config.serialization import leaf_fields

    return [name for name, _ in leaf_fields(files.load(path))]


def test_values_of_presets_stand_beside_the_defaults():
    from gcad_jax.methods.vae import VAE

    [shown] = [f for f in fields.fields(VAE) if f.name == "kl_weight"]
    assert (shown.default, shown.source[:4]) == ("1", "ours")
    assert shown.others == {"0.1": ("vae.py:small,circles",)}
    assert shown.allowed == "0 or more"
    assert "  *presets*: `0.1` in `vae.py:small,circles`.\n" in PAGE
    [shown] = [f for f in fields.fields(VAE) if f.name == "image_size"]
    assert (shown.unit, shown.source, shown.default) == ("pixels", "P 5.2", "256")


@dataclasses.dataclass
class Silent:
    """Two fields."""

    said: int = core_fields.field(1)
    """How many there are, at
    most (images) [ours: a guess]."""
    silent: int = 2


def test_a_field_that_is_not_described_is_named():
    with pytest.raises(ValueError, match="Silent must say of silent what"):
        fields.fields(Silent)


def test_docstrings_become_lists_and_their_symbols_stay():
    text = (
        "Sum of A_i*: two words.\n\nimages: (N, S) at\n    most.\nx, y: two.\n\n"
        "Order: first\none.\n\n"
        "Raises:\n  UserError: `a*`s <b>."
    )
    assert [line for line in docstrings.to_markdown(text) if line] == [
        r"Sum of A_i\*: two words.",
        "- **images**: (N, S) at most.",
        "- **x, y**: two.",
        "Order: first one.",
        "**Raises:**",
        r"- **UserError**: `a*`s \<b>.",
    ]


def test_no_line_of_a_paragraph_becomes_a_list():
    words = ["word"] * 19 + ["-", "word", "1.", "word"]
    lines = docstrings.to_markdown("A. " + " ".join(words))
    assert not [line for line in lines if line.startswith(("-", "1."))]
    assert " ".join(lines).split()[1:] == words


class Counter:
    """Counts."""

    def __init__(self, start: int = 0, *, step: "int" = 1, **names: str) -> None:
        """Not shown."""

    @property
    def value(self) -> int:
        """How far it is."""
        return 0

    def undocumented(self):
        pass


def test_signatures_and_members_are_those_of_the_source():
    assert api.document("Counter", Counter) == [
        "#### Counter",
        "",
        "```py",
        "class Counter(start: int = 0, *, step: int = 1, **names: str)",
        "```",
        "",
        "Counts.",
        "",
        "**`Counter.value`**",
        "",
        "How far it is.",
        "",
    ]
    assert (
        api.signature("Silent", Silent)
        == "class Silent(said: int = 1, silent: int = 2)"
    )
