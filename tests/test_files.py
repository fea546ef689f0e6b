"""Files are written whole or not at all."""

import pytest

from gcad_jax.checks import UserError
from gcad_jax.files import write_text, written


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half(path, error, *advice):
    with written(path, *advice) as part:
        part.write_text("half")
        raise error


def test_a_file_appears_whole_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with written(path) as part:
        part.write_text("half")
        assert not path.exists()
        part.write_text("whole")
    assert path.read_text() == "whole"
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("mistake", [KeyboardInterrupt, ValueError])
def test_an_interruption_leaves_the_old_file_alone(tmp_path, mistake):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(mistake):
        write_half(tmp_path / "a.txt", mistake)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_full_disk_is_one_sentence(tmp_path):
    path = tmp_path / "a.txt"
    full = OSError(28, "No space left on device")
    with pytest.raises(UserError) as caught:
        write_half(path, full, "choose another --output")
    assert str(caught.value) == (
        f"{path} cannot be written (No space left on device); choose another --output."
    )
    assert names(tmp_path) == []


def test_a_full_disk_names_the_file_and_not_its_temporary_name(tmp_path):
    def fill():
        with written(tmp_path / "b.txt"), written(tmp_path / "a.txt") as outer:
            write_half(outer, OSError(28, "No space left on device"))

    with pytest.raises(UserError) as caught:
        fill()
    assert str(caught.value).startswith(f"{tmp_path / 'a.txt'} cannot be written (No")
    assert names(tmp_path) == []


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(UserError, match=r"a/b\.txt cannot be written"):
        write_text(tmp_path / "a" / "b.txt", "")
