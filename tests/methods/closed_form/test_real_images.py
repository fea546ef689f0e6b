"""The command with its defaults on real images, which must be at hand (GCAD_DATA).

A minute each on two quiet cores: in processes of their own, whose programs XLA
optimizes, as it does not those of the other tests.
"""

import json
import subprocess
import sys

import pytest
from helpers import runs

KINDS = ("structural_anomalies", "logical_anomalies")


def run(workdir, data_set, root, category, *more):
    """details.json of the category; as a user starts it, on the CPU."""
    environment = runs.environment() | {"JAX_PLATFORMS": "cpu"}
    environment.pop("XLA_FLAGS", None)
    subprocess.run(
        [
            sys.executable,
            "-m",
            "gcad_jax.main",
            f"--config={runs.ROOT}/configs/closed_form.py:{data_set}",
            f"--workdir={workdir}",
            f"--config.data.root={root}",
            f"--config.data.categories=('{category}',)",
            f"--config.data.cache_dir={workdir}/cache",
            *more,
        ],
        env=environment,
        check=True,
        timeout=1800,
    )
    return json.loads((workdir / category / "details.json").read_text())


def assert_at_least(results, limits):
    """results, limits: by kind."""
    for kind, limit in limits.items():
        assert results[kind] >= limit, (kind, results)


def test_juice_bottles(real_data, tmp_path):
    root = real_data / "mvtec_loco_quarter"
    details = run(tmp_path, "loco", root, "juice_bottle")
    [scores] = details["branches"]["A"]
    assert_at_least(scores["auroc"], dict(zip(KINDS, (0.98, 0.94), strict=True)))
    assert scores["auspro"]["mean"]["0.05"] >= 0.88
    of_images = scores["method_scores"]["auroc"]
    assert_at_least(of_images, dict.fromkeys(KINDS, 0.98))


@pytest.mark.parametrize(
    ("more", "aupro"), [((), 0.67), (("--config.method.w=0",), 0.73)]
)
def test_bottle(real_data, tmp_path, more, aupro):
    root = real_data / "mvtec_ad_256"
    details = run(tmp_path, "mvtec_ad", root, "bottle", *more)
    [scores] = details["branches"]["A"]
    assert scores["auroc"][KINDS[0]] >= 0.99
    assert scores["auspro"][KINDS[0]]["0.05"] >= aupro
