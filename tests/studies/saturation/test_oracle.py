"""The numbers of the study against programs that share nothing with it.

Every AU-sPRO of every draw is computed again from the definition, by brute force, with
the thresholds that the study says it drew; Kendall's tau is SciPy's; changes of rank
are counted pair by pair.
"""

import dataclasses
import itertools
import statistics

import numpy as np
import pytest
from helpers import map_folders as folders
from helpers import spro_oracle as oracle
from helpers.study_runs import make_category, study_maps
from scipy.stats import kendalltau

from gcad_jax.evaluation import ground_truth_files, map_files
from gcad_jax.evaluation.spro import LIMITS

DRAWS, METHODS = 20, "uvw"
KINDS = ("structural_anomalies", "logical_anomalies")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("oracle")
    make_category(root, methods=METHODS)
    return root


@pytest.fixture(scope="module")
def category(root):
    maps = tuple(str(root / method) for method in METHODS)
    result, _ = study_maps(root, maps=maps, num_draws=DRAWS)
    return result["categories"][folders.NAME]


@pytest.fixture(scope="module")
def values(root, category):
    """(methods, kinds and mean, limits, 1 + draws) by brute force."""
    with np.load(root / "out/pushpins/draws.npz") as kept:
        thresholds = {
            name.removeprefix("threshold/"): kept[name]
            for name in kept.files
            if name.startswith("threshold/")
        }
    assert {name: len(t) for name, t in thresholds.items()} == {
        "missing": 1 + DRAWS,
        "dent": 1 + DRAWS,
    }
    found = np.empty((len(METHODS), 3, len(LIMITS), 1 + DRAWS))
    for m, method in enumerate(METHODS):
        images, maps = inputs(root, method)
        for draw in range(1 + DRAWS):
            drawn = {name: float(t[draw]) for name, t in thresholds.items()}
            changed = [with_thresholds(image, drawn) for image in images]
            for (k, kind), (n, limit) in itertools.product(
                enumerate(KINDS), enumerate(LIMITS)
            ):
                found[m, k, n, draw] = oracle.auspro(changed, maps, limit, kind)
    found[:, 2] = (found[:, 0] + found[:, 1]) / 2
    return found


def inputs(root, method):
    maps = map_files.list_maps(root / method / folders.NAME / "test")
    data = root / "data" / folders.NAME
    _, anomalous = ground_truth_files.anomalous_images(data)
    images = (*ground_truth_files.good_images(data, maps), *anomalous)
    return images, [map_files.read_map(maps[image.name]) for image in images]


def with_thresholds(image, drawn):
    """A share of more than the area is the area."""
    regions = [
        dataclasses.replace(
            region,
            saturation_threshold=min(drawn[region.defect_name], 1.0)
            if region.relative_saturation
            else drawn[region.defect_name],
        )
        for region in image.regions
    ]
    return dataclasses.replace(image, regions=tuple(regions))


def test_every_draw(root, values):
    found = np.load(root / "out/pushpins/draws.npz")["auspro"]
    np.testing.assert_allclose(found, values[:, :2], rtol=0, atol=1e-12)


def each(values):
    kinds = enumerate((*KINDS, "mean"))
    for (k, kind), (n, limit) in itertools.product(kinds, enumerate(LIMITS)):
        yield kind, str(limit), values[:, k, n]


def test_mean_deviation_and_range(category, values):
    for kind, limit, cell in each(values):
        for method, (original, *draws) in zip(METHODS, cell.tolist(), strict=True):
            found = category["auspro"][method][kind][limit]
            expected = {
                "original": original,
                "mean": statistics.fmean(draws),
                "std": statistics.stdev(draws),
                "min": min(draws),
                "max": max(draws),
                "0.5": statistics.median(draws),
            }
            for name, value in expected.items():
                assert found[name] == pytest.approx(value, abs=1e-12), name


def rounded(values):
    """As `each`, without what only the order of summing tells apart."""
    return ((kind, limit, np.round(cell, 9)) for kind, limit, cell in each(values))


def test_kendall_tau_is_that_of_scipy(category, values):
    compared = 0
    for kind, limit, cell in rounded(values):
        taus = [kendalltau(cell[:, 0], draw).statistic for draw in cell.T[1:]]
        found = category["ranking"][kind][limit]
        if known := [tau for tau in taus if not np.isnan(tau)]:
            compared += len(known)
            assert found["kendall_tau_mean"] == pytest.approx(np.mean(known), abs=1e-12)
            assert found["kendall_tau_min"] == pytest.approx(min(known), abs=1e-12)
        else:
            assert found["kendall_tau_mean"] is found["kendall_tau_min"] is None
    assert compared > 8 * DRAWS


def compare(a, b):
    return "higher" if a > b else "lower" if a < b else "equal"


def test_changes_of_rank_are_those_counted(category, values):
    changes = 0
    for kind, limit, cell in rounded(values):
        whole = set()  # draws in which any pair changed
        for pair in category["pairs"]:
            a, b = (METHODS.index(name) for name in pair["methods"])
            before, *after = (
                compare(*both) for both in zip(*cell[[a, b]], strict=True)
            )
            moved = {d for d, order in enumerate(after) if order != before}
            assert pair["changed"][kind][limit] == len(moved) / DRAWS
            whole |= moved
        unchanged = category["ranking"][kind][limit]["unchanged"]
        assert unchanged == pytest.approx(1 - len(whole) / DRAWS, abs=1e-12)
        changes += len(whole)
    assert changes > 0  # else nothing was shown
