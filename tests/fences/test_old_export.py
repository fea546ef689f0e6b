"""An exported file of version 0.1.0, and a new one of the same detector, agree."""

import json

import pytest
from helpers import outside
from jax import export

# What somebody runs who has jax and not this package.
ALONE = """
import json, sys
import jax, jax.export
import numpy as np
from PIL import Image
detect = jax.jit(jax.export.deserialize(open(sys.argv[1], "rb").read()).call)
images = [np.asarray(Image.open(path)) for path in sys.argv[2:]]
found = [jax.device_get(detect(image[None])) for image in images]
assert "gcad_jax" not in sys.modules
names = ("score", "anomalous", "p_value", "threshold")
values = {name: [np.ravel(f[name])[0].item() for f in found] for name in names}
values["map_sum"] = [float(f["anomaly_map"].sum(dtype="float64")) for f in found]
print(json.dumps(values))
"""
BEFORE = outside.expected("exported")


def check(file):
    done = outside.python(["-c", ALONE, str(file), *map(str, outside.IMAGES)])
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    for name in ("score", "p_value", "threshold"):
        outside.check_numbers(found[name], BEFORE[name], atol=1e-6, rtol=1e-5)
    assert found["anomalous"] == BEFORE["anomalous"]
    # Sums of about a thousand pixels, some above 0 and some below.
    outside.check_numbers(found["map_sum"], BEFORE["map_sum"], atol=1e-2)


def test_the_file_of_then_runs_with_jax_alone():
    data = (outside.FILES / "gcad.jaxexport").read_bytes()
    try:
        version = export.deserialize(bytearray(data)).calling_convention_version
    except ValueError as error:  # JAX keeps its promise for half a year
        pytest.skip(f"this jax reads no file of jax {BEFORE['jax']}: {error}")
    assert version >= export.minimum_supported_calling_convention_version
    check(outside.FILES / "gcad.jaxexport")


@pytest.mark.long
def test_a_new_file_of_the_same_detector_says_the_same(tmp_path):
    file = tmp_path / "new.jaxexport"
    detector = outside.FILES / "detectors/gcad.npz"
    outside.succeeded("export", f"--workdir={detector}", f"--output={file}")
    check(file)
    about, before = (
        outside.read_json(path.with_name(f"{path.name}.json"))
        for path in (file, outside.FILES / "gcad.jaxexport")
    )
    for name in ("method", "dataset", "category", "seed", "threshold", "results"):
        assert about[name] == before[name]
