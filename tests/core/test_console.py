"""How loudly commands speak."""

import pytest

from gcad_jax.core import console
from gcad_jax.core.console import progress_bar


@pytest.fixture(autouse=True)
def _loud_again():
    yield
    console.set_verbosity()


def test_a_quiet_command_says_only_results(capsys):
    console.print_line("data")
    console.set_verbosity(quiet=True)
    console.print_line("data")
    console.print_line("\nreport", result=True)
    with progress_bar(10, 0, "circles") as bar:
        bar.update(10)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("data\nreport\n", "")
