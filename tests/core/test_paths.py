"""Files are written whole or not at all."""

import pytest
from etils import epath

from gcad_jax.core.atomic_files import atomic_file, write_text
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import (
    as_path,
    fingerprint,
    list_entries,
    list_folder,
    walk_files,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def write_half(path, error):
    with atomic_file(path) as part:
        part.write_text("half")
        raise error


def test_a_file_appears_whole_in_a_folder_that_is_made(tmp_path):
    path = tmp_path / "new" / "a.txt"
    with atomic_file(path) as part:
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
        write_half(path, full)
    assert str(caught.value) == (
        f"{path} cannot be written (No space left on device); free space there or "
        "choose another folder."
    )
    assert names(tmp_path) == []


def test_a_full_disk_names_the_file_and_not_its_temporary_name(tmp_path):
    def fill():
        with atomic_file(tmp_path / "b.txt"), atomic_file(tmp_path / "a.txt") as outer:
            write_half(outer, OSError(28, "No space left on device"))

    with pytest.raises(UserError) as caught:
        fill()
    assert str(caught.value).startswith(f"{tmp_path / 'a.txt'} cannot be written (No")
    assert names(tmp_path) == []


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "a").write_text("")
    with pytest.raises(UserError, match=r"a/b\.txt cannot be written"):
        write_text(tmp_path / "a" / "b.txt", "")


def test_every_name_of_a_folder_is_listed(tmp_path):
    folder = epath.Path(tmp_path)
    for name in ("b", "a~", ".c", "d/e", "d/f/g"):
        write_text(folder / name, name)
    (tmp_path / "to_d").symlink_to("d")
    (tmp_path / "to_nothing").symlink_to("nothing")
    listed = [".c", "a~", "b", "d", "to_d", "to_nothing"]
    assert list_entries(folder) == [folder / name for name in listed]
    assert list_folder(folder) == (
        [folder / "d", folder / "to_d"],
        [folder / ".c", folder / "a~", folder / "b"],
    )
    found = [".c", "a~", "b", "to_nothing", "d/e", "d/f/g"]
    assert list(walk_files(folder)) == [str(tmp_path / name) for name in found]


def test_the_stamp_of_a_file_has_its_nanoseconds(tmp_path):
    write_text(tmp_path / "a", "text")
    assert fingerprint(tmp_path / "a") == (4, (tmp_path / "a").stat().st_mtime_ns)


def test_a_store_that_cannot_be_reached_is_one_sentence(monkeypatch):
    def exists(_):
        raise RuntimeError("Invalid credentials, 401\nTraceback")

    monkeypatch.setattr(type(epath.Path("gs://b")), "exists", exists)
    with pytest.raises(UserError) as caught:
        as_path("gs://b/unreachable")
    assert str(caught.value) == (
        "gs://b/unreachable cannot be reached (Invalid credentials, 401); check its "
        "name, the network and your credentials."
    )
