"""Mistakes in the input of the study: one sentence, and nothing written."""

import pytest
from helpers import runs
from helpers.study_runs import make_category, study_maps

from gcad_jax.core.errors import UserError

BAD = {
    "no data": ({"dataset_base_dir": ""}, "dataset_base_dir is empty"),
    "no such data": ({"dataset_base_dir": "/no"}, "/no, which holds no folder"),
    "other category": ({"object_names": ("pushpin",)}, "Did you mean 'pushpins'"),
    "category twice": ({"object_names": ("pushpins",) * 2}, "each once"),
    "a path": ({"object_names": ("a/b",)}, "must name categories"),
    "numbers": ({"maps": (1, 2)}, r"config.maps is \(1, 2\)"),
    "no maps": ({"maps": ()}, "both empty"),
    "one map": ({"names": ("one",)}, "1 names for 2 methods"),
    "same names": ({"names": ("A", "A")}, "two methods are called 'A'"),
    "maps elsewhere": ({"maps": ("/no",)}, "/no/pushpins/test is not a folder"),
    "no run": ({"workdirs": ("/no",)}, "/no, which is not a folder"),
    "draws": ({"num_draws": 0}, "num_draws is 0"),
    "seed": ({"seed": -1}, "seed is -1"),
    "low": ({"low": 0.0}, "low is 0.0; it must be above 0"),
    "high": ({"high": 0.25}, "high is 0.25 and config.low 0.5"),
    "infinite": ({"high": float("inf")}, "a finite number"),
    "nan": ({"low": float("nan")}, "low is nan"),
    "mode": ({"mode": "exac"}, "config.mode is 'exac'.*'exact'"),
}


@pytest.fixture
def root(tmp_path):
    make_category(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("fields", "sentence"), BAD.values(), ids=BAD.keys())
def test_bad_config(root, fields, sentence):
    with pytest.raises(UserError, match=sentence) as error:
        study_maps(root, **fields)
    assert str(error.value)[-1] in ".?"
    assert not (root / "out").exists()


def test_missing_map_leaves_nothing(root):
    (root / "v/pushpins/test/logical_anomalies/000.tiff").unlink()
    with pytest.raises(UserError, match=r"logical_anomalies/000\.tiff does not exist"):
        study_maps(root)
    assert not (root / "out").exists()


def test_the_folder_of_one_category(root):
    with pytest.raises(UserError, match="is the folder of one category"):
        study_maps(
            root,
            dataset_base_dir=str(root / "data/pushpins"),
            object_names=("pushpins",),
        )


@pytest.mark.parametrize("blocked", ["out", "out/saturation.png/x"])
def test_folder_that_cannot_be_written(root, blocked):
    (root / blocked).parent.mkdir(parents=True, exist_ok=True)
    (root / blocked).write_text("")
    with pytest.raises(UserError, match=r"workdir=.*out cannot be written"):
        study_maps(root)


def test_the_five_files_are_written_together(root, monkeypatch):
    study_maps(root)
    out = sorted(path for path in (root / "out").iterdir() if path.is_file())
    before = {path: path.read_bytes() for path in out}

    def full(*_args):
        raise OSError(28, "No space left on device", "saturation.png")

    monkeypatch.setattr("gcad_jax.studies.saturation.report.render_figure", full)
    with pytest.raises(UserError, match="No space left"):
        study_maps(root, seed=5)
    assert {path: path.read_bytes() for path in out} == before
    assert len(before) == 5
    assert runs.leftovers(root) == []
