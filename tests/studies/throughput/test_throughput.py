"""The study of the throughput: which rows, what is kept, what is refused."""

import dataclasses
import json

import jax
import pytest
from helpers import runs
from helpers.doubles import Scored

from gcad_jax.core.axes import BATCH, SEED
from gcad_jax.core.errors import UserError
from gcad_jax.methods.spade import SPADE
from gcad_jax.studies.throughput import report, run
from gcad_jax.studies.throughput.config import ThroughputStudy, check, throughput
from gcad_jax.studies.throughput.measure import SharedState
from gcad_jax.studies.throughput.peaks import MATRIX, measure_peaks
from gcad_jax.studies.throughput.results import Failure, StudyResults
from gcad_jax.studies.throughput.rows import (
    INFERENCE,
    LATENCY,
    LOOP,
    OWN,
    TRAINING,
    rows,
)
from gcad_jax.training.cost.timing import TimedTrainer

RESULTS = runs.ROOT / "docs/results"


@pytest.fixture(autouse=True)
def _small_matrices(monkeypatch):
    monkeypatch.setitem(MATRIX, "cpu", 64)


def study(**fields):
    return ThroughputStudy(
        method=Scored(),
        **{
            "batch_sizes": (2,),
            "steps_per_call": (1, 3),
            "seed_counts": (2,),
            "inference_batch_sizes": (1,),
            "latency_batch_sizes": (2,),
            "latency_passes": 2,
            "loop_updates": 3,
            "several_devices": False,
            "calls": 1,
            "num_images": 8,
            **fields,
        },
    )


def names(found, kind):
    return [row.settings["varied"] for row in found.of_kind(kind)]


def test_one_thing_is_varied_at_a_time():
    config = throughput("")
    of_kind = {kind: [] for kind in (TRAINING, LOOP, INFERENCE, LATENCY)}
    for row in rows(config):
        of_kind[row.kind].append(row)
    assert [row.varied for row in of_kind[TRAINING]] == [
        *(OWN, "float32", "P (17,)", "P (33,)"),
        *("batch_size 1", "batch_size 4", "batch_size 32", "steps_per_call 20"),
        *("2 seeds, vmap", "2 seeds, unroll"),
    ]
    assert [row.varied for row in of_kind[INFERENCE]] == [
        *(OWN, "float32", "P (17,)", "P (33,)", "batch 1", "batch 32"),
    ]
    assert [row.method.inference_batch_size for row in of_kind[LATENCY]] == [1, 16]
    first, *others = of_kind[TRAINING]
    for row in others:
        changed = [
            field.name
            for field in dataclasses.fields(first.method)
            if getattr(first.method, field.name) != getattr(row.method, field.name)
        ]
        laid_out = (row.step, row.num_seeds) != (first.step, first.num_seeds)
        assert len(changed) + laid_out == 1


def test_several_devices_have_as_much_each_as_one():
    config = throughput("")
    one = rows(config)
    more = [row for row in rows(config, 6) if row.num_devices > 1]
    assert [row.varied for row in more] == [
        f"{count} devices, {layout}" for count in (2, 4, 6) for layout in (BATCH, SEED)
    ]
    for row in more:
        assert row.batch_size * row.num_seeds == row.num_devices * one[0].batch_size
        assert row.num_seeds == (row.num_devices if row.layout == SEED else 1)
        assert getattr(row.method, "batch_size", None) == row.batch_size
    config.several_devices = False
    assert [row.varied for row in rows(config, 6)] == [row.varied for row in one]


def test_what_a_method_lacks_is_not_varied():
    kinds = [(row.kind, row.varied) for row in rows(study())]
    assert (TRAINING, "bfloat16") in kinds
    assert not [varied for _, varied in kinds if varied.startswith("P ")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("throughput")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(MATRIX, "cpu", 64)
        return folder, run.run(study(several_devices=True), str(folder))


def test_all_rows_are_measured_and_written(finished):
    folder, found = finished
    written = json.loads((folder / "throughput.json").read_text())
    assert json.loads(json.dumps(found.to_json())) == written
    assert StudyResults.from_json(written).to_json() == written
    assert names(found, TRAINING) == [
        *(OWN, "bfloat16", "batch_size 2", "steps_per_call 3"),
        *("2 seeds, vmap", "2 seeds, unroll"),
        *("2 devices, batch", "2 devices, seed"),
        *("4 devices, batch", "4 devices, seed"),
    ]
    for row in written["rows"]:
        assert row["values"]["images_per_second"] > 0
    (loop,) = (row["values"] for row in written["rows"] if row["kind"] == LOOP)
    assert loop["overhead"] == loop["step_seconds"] / loop["call_seconds"] - 1
    # Two networks of (48, 3) floats, and their losses.
    assert written["rows"][0]["values"]["crossing_bytes"] == 2 * (48 * 3 + 1) * 4
    own = written["rows"][0]["values"]
    assert own["mfu"] == pytest.approx(
        own["images_per_second"] * own["flops_traced"] / written["peaks"]["product"]
    )
    assert own["flops_by_hand"] is None
    text = (folder / "throughput.md").read_text()
    for word in ("## Training", "## Inference", "## Latency", "2 seeds, vmap", "cpu"):
        assert word in text


def test_finished_rows_are_kept(finished, monkeypatch):
    folder, found = finished
    lines = []
    monkeypatch.setattr(run, "print_line", lambda line, **_: lines.append(line))
    again = run.run(study(several_devices=True), str(folder))
    assert again.to_json()["rows"] == json.loads(json.dumps(found.to_json()["rows"]))
    assert f"{len(found.rows)} are kept" in lines[0]
    more = run.run(study(batch_sizes=(2, 1), several_devices=True), str(folder))
    assert names(more, TRAINING)[3] == "batch_size 1"
    assert len([line for line in lines if line.endswith("...")]) == 1
    run.run(study(several_devices=True), str(folder))


def test_a_plan_only_says(finished, tmp_path, monkeypatch):
    folder, found = finished
    lines = []
    monkeypatch.setattr(run, "print_line", lambda line, **_: lines.append(line))
    run.plan(study(several_devices=True), str(folder))
    assert len([line for line in lines if line.endswith(", kept")]) == len(found.rows)
    run.plan(study(), str(tmp_path / "new"))
    assert any(line.endswith("; 0 are kept from earlier") for line in lines)
    assert not (tmp_path / "new").exists()


def test_what_does_not_fit_is_said_and_the_rest_measured(tmp_path, monkeypatch):
    whole = TimedTrainer.time_phase

    def too_large(trainer, *others):
        if trainer.task.batch_size == 2:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return whole(trainer, *others)

    monkeypatch.setattr(TimedTrainer, "time_phase", too_large)
    config = study(steps_per_call=(), seed_counts=(), precisions=())
    found = run.run(config, str(tmp_path))
    assert found.rows[1].result == Failure("out of memory")
    assert found.rows[1].to_json()["values"] == {"failed": "out of memory"}
    assert found.rows[0].result.images_per_second > 0
    assert "does not fit" in (tmp_path / "throughput.md").read_text()


def test_a_profile_is_written(tmp_path):
    config = study(
        batch_sizes=(),
        steps_per_call=(),
        seed_counts=(),
        precisions=(),
        inference_batch_sizes=(),
        latency_batch_sizes=(),
        profile=True,
    )
    run.run(config, str(tmp_path))
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))


def test_results_that_cannot_be_read(tmp_path):
    (tmp_path / "throughput.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        run.run(study(), str(tmp_path))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"batch_sizes": (0,)}, "config.batch_sizes"),
        ({"steps_per_call": (1.5,)}, "config.steps_per_call"),
        ({"precisions": ("bfloat",)}, "Did you mean 'bfloat16'"),
        ({"map_seeds": ("map",)}, "config.map_seeds"),
        ({"calls": 0}, "config.calls"),
        ({"own_steps_per_call": 0}, "config.own_steps_per_call"),
        ({"latency_passes": -1}, "config.latency_passes"),
        ({"num_images": 3}, "config.num_images"),
    ],
)
def test_bad_input_is_one_sentence(fields, words):
    with pytest.raises(UserError, match=words):
        check(study(**fields))


def test_unknown_preset():
    with pytest.raises(UserError, match="Did you mean 'small'"):
        throughput("smal")
    check(throughput("small"))


def test_peaks_are_rates():
    found = measure_peaks(Scored(image_size=8, batch_size=1))
    assert found.shape == (1, 8, 8, 64)
    assert min(found.product, found.product_float32, found.convolution) > 0


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"image_size": (64, 96)}, (64, 96)),
        ({"image_size": 32, "keep_aspect": True}, (32, 32)),  # random images: squares
    ],
)
def test_images_have_the_size_of_the_method(fields, size, tmp_path):
    small = {"weights": "random", "d_loc": 8, "E_loc_width": 1 / 16, "K": 2}
    method = SPADE(**small, **fields, inference_batch_size=2)
    config = study()
    config.method = method
    check(config)
    shared = SharedState(config, jax.local_devices()[0])
    assert shared.images(2).shape == (2, *size, 3)
    assert measure_peaks(method).shape == (1, *size, 64)


def test_sizes_are_written_as_a_config_has_them():
    assert report._field_text([64, 96]) == "(64, 96)"
    assert report._field_text(64) == "64"


@pytest.mark.parametrize("path", sorted(RESULTS.glob("throughput*.json")), ids=str)
def test_results_of_earlier_versions_are_read(path):
    written = json.loads(path.read_text())
    found = StudyResults.from_json(written)
    text = report.markdown(found)
    for row, old in zip(found.rows, written["rows"], strict=True):
        new = row.to_json()
        assert {name: new["values"][name] for name in old["values"]} == old["values"]
        assert (
            f"{old['values']['images_per_second']:.4g}" in text
            or row.settings["kind"] == LOOP
        )
