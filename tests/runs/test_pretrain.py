"""The pretraining command as `main` calls it: weights, report, and what is refused."""

import dataclasses
import json
import re
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import small_classifier
from helpers.colors import write_photos

from gcad_jax.config import Pretraining
from gcad_jax.config.presets import DENSE
from gcad_jax.core.errors import UserError
from gcad_jax.data.photos import Photos
from gcad_jax.methods.gcad import GCAD
from gcad_jax.models.io.patch_descriptors import load_descriptor
from gcad_jax.runs import pretrain

ARCH = "mobilenet_v2"


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """Random weights of what stands in for MobileNetV2."""
    path = tmp_path_factory.mktemp("target") / "target.npz"
    with pytest.MonkeyPatch.context() as patch:
        small_classifier.stand_in(patch, ARCH)
        small_classifier.save(path, ARCH)
        yield path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = write_photos(tmp_path_factory.mktemp("photos"))
    (folder / "broken.jpg").write_bytes(b"no image")
    return folder


def config(given_target, photos, **fields):
    method = dataclasses.replace(
        DENSE, d_loc=8, width=1 / 16, num_steps=2, batch_size=2, grid=3, context=23
    )
    data = Photos(root=str(photos), held_out_fraction=0.25)
    settings = {"data": data, "method": method, "P": (17,), "target": str(given_target)}
    return Pretraining(**{**settings, "log_every": 1, **fields})


@pytest.fixture(scope="module")
def done(target, photos, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "teacher"
    results = pretrain.run(config(target, photos), str(folder))
    return folder, results


def test_a_report_says_what_was_learned_and_its_figures_are_there(done):
    folder, (result,) = done
    report = (folder / "report.md").read_text()
    assert "mobilenet_v2, stage2, stage3, stage5 on 7 images; 2 were held out" in report
    assert "1 of all could not be read" in report
    for path in re.findall(r"\]\(([^)]+)\)", report):
        assert (folder / path).is_file(), path
    assert f"| 17 | 2 | {result['L_k_held_out_untrained']:.4g} |" in report
    for name in ("photo", "photo_grey", "place"):
        assert 0 <= result["found"][name] <= 1
        assert f"{result['found'][name]:.1%} |" in report
    assert json.loads((folder / "E_loc_17" / "result.json").read_text()) == result


def test_a_plan_only_says(done, target, photos, tmp_path, capsys):
    folder, _ = done
    before = sorted(folder.rglob("*"))
    assert pretrain.plan(config(target, photos), str(folder)).seconds == 0
    assert "2 of 2 updates are done" in capsys.readouterr().out
    assert sorted(folder.rglob("*")) == before
    assert pretrain.plan(config(target, photos), str(tmp_path / "new")).seconds > 0
    said = capsys.readouterr().out
    assert "7 images, 2 held out" in said
    assert "0 of 2 updates are done" in said
    assert "trained " in said
    assert "memory " in said
    assert {path.name for path in tmp_path.rglob("*.npz")} == set()


def test_the_weights_say_where_they_come_from_and_gcad_takes_them(done):
    folder, (result,) = done
    with np.load(folder / "E_loc_17.npz") as file:
        assert json.loads(str(file["header"]))["source"] == result
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    method = GCAD(
        image_size=32,
        P=(17,),
        d_loc=8,
        E_loc_width=1 / 16,
        teacher=str(folder / "E_loc_{p}.npz"),
    )
    method.validate()
    features = method.cache(method.prepare(images), jnp.asarray(images / 255.0))
    deviation = np.asarray(features["E_loc_17"]).std(axis=(0, 1, 2))
    np.testing.assert_allclose(deviation, 1, atol=1e-3)


def test_a_finished_run_can_be_stored_in_half_precision(done, target, photos):
    folder, (result,) = done
    net = config(target, photos).method
    net = dataclasses.replace(net, p=17).E_loc()
    single = load_descriptor(folder / "E_loc_17.npz", net)
    half = config(target, photos, stored_as="float16")
    (again,) = pretrain.run(half, str(folder))
    assert again["L_k_held_out"] == result["L_k_held_out"]
    stored = load_descriptor(folder / "E_loc_17.npz", net)
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(a.astype(jnp.float16), b),
        single,
        stored,
    )


def test_other_photos_do_not_continue_a_run(done, target, photos, tmp_path):
    fewer = tmp_path / "fewer"
    shutil.copytree(photos, fewer)
    again = tmp_path / "again"
    shutil.copytree(done[0], again)
    (fewer / "0.png").unlink()
    given = config(target, photos, data=Photos(str(fewer), held_out_fraction=0.25))
    with pytest.raises(UserError, match=r"another config .*photos.sha256"):
        pretrain.run(given, str(again))


def test_terms_within_a_device_are_refused_on_several(tmp_path, target, photos):
    method = dataclasses.replace(DENSE, grid=1, lambda_m=1.0, target_layers=("pooled",))
    method = dataclasses.replace(method, context=0, batch_size=4)
    said = refused(tmp_path, config(target, photos, method=method))
    assert "set num_devices=1" in said


def refused(tmp_path, given):
    with pytest.raises(UserError) as error:
        pretrain.run(given, str(tmp_path / "run"))
    assert not list(tmp_path.rglob("E_loc_*.npz"))
    assert not list(tmp_path.rglob("report.md"))
    return str(error.value)


def test_mistakes_are_one_sentence(tmp_path, target, photos, done):
    empty = tmp_path / "empty"
    empty.mkdir()
    truncated = tmp_path / "cut.npz"
    truncated.write_bytes(target.read_bytes()[:-5000])
    foreign = tmp_path / "foreign.npz"
    np.savez(foreign, **{"001.CONV_2D.w": np.ones(3)})
    of_E_loc = done[0] / "E_loc_17.npz"
    wrong_layer = dataclasses.replace(DENSE, target_layers=("stage9",))
    uneven = dataclasses.replace(DENSE, zoom=(4.5, 16))
    beside = dataclasses.replace(DENSE, grid=16)
    for said, given in (
        ("config.target is empty", {"target": ""}),
        ("is not there", {"target": str(tmp_path / "no.npz")}),
        ("is damaged", {"target": str(truncated)}),
        ("needed is 'gcad_jax classifier'", {"target": str(of_E_loc)}),
        ("has 0 images", {"data": Photos(root=str(empty))}),
        ("is not a folder", {"data": Photos(root=str(tmp_path / "none"))}),
        ("stored_as is 'float8'", {"stored_as": "float8"}),
        ("distinct sizes", {"P": (17, 17)}),
        ("config.P is 18; allowed are (17, 33, 65)", {"P": (18,)}),
        ("config.P is '17'; allowed", {"P": ("17",)}),
        (
            "method.zoom is (4.5, 16)",
            {"method": uneven},
        ),
        ("convert it first with python -m gcad_jax.convert", {"target": str(foreign)}),
        ("stage9", {"method": wrong_layer}),
        ("a window of 64 pixels (p = 17)", {"method": beside}),
        ("takes one seed", {"seeds": (0, 1)}),
        ("threads must be 1", {"threads": 0}),
    ):
        assert said in refused(tmp_path, config(target, photos, **given))


def test_a_folder_of_nothing_readable_is_refused(tmp_path, target):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.png").write_bytes(b"no image")
    assert "cannot be read" in refused(tmp_path, config(target, folder))
