"""The pass on accelerators, here on CPU devices, against the one on the host."""

import dataclasses
import time

import jax
import numpy as np
import pytest
from helpers import spro_oracle as oracle

from gcad_jax.core.errors import UserError
from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.data.resize import upsample, upsample_jnp
from gcad_jax.evaluation import scores
from gcad_jax.evaluation.ground_truth import GroundTruth
from gcad_jax.evaluation.ranks import device_histogram
from gcad_jax.evaluation.ranks.bins import BLOCKS, Cells
from gcad_jax.evaluation.ranks.device_histogram import DeviceMaps
from gcad_jax.evaluation.ranks.histogram import count_cells
from gcad_jax.evaluation.ranks.rank import Precision
from gcad_jax.evaluation.results import LIMITS
from gcad_jax.evaluation.scores import score

# Narrow cells need many, which takes long on a CPU in disguise.
COARSE = Precision("binned", tolerance=0.02)


def category_of(*sizes):
    """Nine images of these sizes in turn, overlapping regions, maps of 8 x 11."""
    random = np.random.default_rng(1)
    images = []
    for number, kind in enumerate([GOOD] * 3 + [STRUCTURAL] * 3 + [LOGICAL] * 3):
        size = sizes[number % len(sizes)]
        masks = [] if kind == GOOD else [random.random(size) < 0.1 for _ in range(2)]
        regions = [oracle.region(kind[:3], mask, 9, False) for mask in masks]
        images.append(oracle.an_image(number, kind, *size, regions))
    maps = random.normal(size=(9, 8, 11)).astype(np.float32)
    maps[0, :3] = 0  # upsampled, many pixels of one score
    return GroundTruth.build(images), maps


@pytest.fixture(scope="module")
def category():
    return category_of((25, 16), (20, 30))


@pytest.fixture
def compiled():
    """The seconds of each compilation from here on."""
    seconds = []

    def listen(event, spent, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seconds.append(spent)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield seconds
    jax.monitoring.clear_event_listeners()


@pytest.fixture(scope="module")
def whole(category):
    """Cells of integers, which upsampling of integers by rounding cannot leave."""
    parts = np.ones(BLOCKS)
    parts[0x3E00:0xC200] = 3
    return Cells.of(parts)


def subsets_of(truth):
    return [
        truth.subset_of_kind(STRUCTURAL),
        truth.subset_of_kind(LOGICAL),
        truth.subset_of_defect("str"),
    ]


@pytest.mark.parametrize("num_devices", [1, 3])
def test_counts_are_those_of_the_host(category, whole, num_devices, monkeypatch):
    monkeypatch.setattr(device_histogram, "BATCH", 2)
    truth, maps = category
    full = [
        np.asarray(upsample_jnp(m, im.height, im.width))
        for m, im in zip(maps, truth.images, strict=True)
    ]
    for ours, image, small in zip(full, truth.images, maps, strict=True):
        expected = upsample(small, image.height, image.width)
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6)
    source = DeviceMaps(maps, truth.images, jax.devices()[:num_devices])
    found = source.count(truth, subsets_of(truth), whole)
    expected = count_cells(
        truth, subsets_of(truth), full.__getitem__, whole, quantized=False
    )
    # Fused, a product and a sum may round once: a score at the end of a cell moves.
    assert np.abs(found.counts - expected.counts).sum() <= 4
    np.testing.assert_array_equal(
        found.counts.sum(axis=1), [truth.count_negatives(s) for s in subsets_of(truth)]
    )
    np.testing.assert_allclose(found.image_scores, expected.image_scores, rtol=1e-6)
    moved = sum(
        (a != b).sum()
        for a, b in zip(found.pixel_bins, expected.pixel_bins, strict=True)
    )
    assert moved <= 2
    np.testing.assert_array_equal(found.ambiguous, expected.ambiguous)


def test_devices_change_nothing(category, whole, monkeypatch):
    monkeypatch.setattr(device_histogram, "BATCH", 2)
    truth, maps = category
    found = [
        DeviceMaps(maps, truth.images, jax.devices()[:n]).count(
            truth, subsets_of(truth), whole
        )
        for n in (1, 2, 4)
    ]
    for other in found[1:]:
        for field in dataclasses.fields(other):
            a, b = getattr(found[0], field.name), getattr(other, field.name)
            for x, y in zip(a, b, strict=True):
                np.testing.assert_array_equal(x, y)


def test_values_are_within_the_bound_of_the_definition(category):
    truth, maps = category
    source = DeviceMaps(maps, truth.images, jax.devices()[:1])
    found = score(truth, source, COARSE)
    host = source.host()
    full = [host(i) for i in range(len(maps))]
    for key in LIMITS:
        for kind in (STRUCTURAL, LOGICAL):
            exact = oracle.auspro(truth.images, full, float(key), kind=kind)
            # Rounding may change the order of two pixels, of about 1,300.
            assert found.auspro[kind][key] == pytest.approx(exact, abs=0.022)
    assert max(found.bounds.values()) <= 0.02


def test_evaluate_takes_the_devices(monkeypatch):
    truth, maps = category_of((20, 30))
    calls = []
    count = DeviceMaps.count
    monkeypatch.setattr(DeviceMaps, "count", lambda *a: calls.append(1) or count(*a))
    devices = jax.devices()[:2]
    ours = scores.evaluate(truth.images, {"A": maps[None]}, None, COARSE, devices)
    assert calls
    host = score(truth, DeviceMaps(maps, truth.images, ()).host(), Precision("exact"))
    assert ours["A"][0].auroc == host.auroc
    for kind in (STRUCTURAL, LOGICAL):
        assert ours["A"][0].auspro[kind] == pytest.approx(host.auspro[kind], abs=0.022)


def test_branches_seeds_and_devices_share_two_programs(compiled):
    """One of images with regions, one of those without."""
    truth, maps = category_of((21, 31))
    seeds = np.stack([maps, np.square(maps), np.flip(maps, 0)])
    maps = {"A_loc": seeds, "A_glo": -seeds}
    scores.evaluate(truth.images, maps, None, COARSE, jax.devices()[:3])
    assert 1 <= len(compiled) <= 2


def test_images_of_many_sizes_are_scored_as_on_a_host_alone(compiled):
    """Nothing is compiled for any of the sizes, so it takes no longer either."""
    truth, maps = category_of(*((20 + i, 30 - i) for i in range(9)))

    def evaluate(devices):
        started = time.perf_counter()
        found = scores.evaluate(truth.images, {"A": maps[None]}, None, COARSE, devices)
        return found, time.perf_counter() - started

    host, host_seconds = evaluate([])
    found, seconds = evaluate(jax.devices()[:1])
    assert not compiled
    assert found == host
    assert seconds < 5 * host_seconds + 1


def test_a_batch_is_no_larger_than_there_are_images(monkeypatch):
    """Three images of each kind are three rows, whatever a batch could hold."""
    truth, maps = category_of((22, 32))
    shapes = []
    count = device_histogram._count
    monkeypatch.setattr(
        device_histogram,
        "_count",
        lambda *a, **k: shapes.append(a[0].shape) or count(*a, **k),
    )
    source = DeviceMaps(maps, truth.images, jax.devices()[:1])
    score(truth, source, COARSE)
    assert set(shapes) == {(1, 3, 8, 11)}


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_scores_that_are_not_finite(category, whole, bad):
    truth, maps = category
    maps = maps.copy()
    maps[4, 2, 2] = bad
    source = DeviceMaps(maps, truth.images, jax.devices()[:1])
    with pytest.raises(UserError, match=truth.images[4].name):
        source.count(truth, subsets_of(truth), whole)
