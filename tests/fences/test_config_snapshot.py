"""Every config file has, for every preset, the fields and values of version 0.1.0."""

import dataclasses
import json
import lzma
import runpy

import pytest
from helpers import outside

PACKED = (outside.FILES / "configs.json.xz").read_bytes()
SNAPSHOT = json.loads(lzma.decompress(PACKED))
FILES = sorted({key.partition(":")[0] for key in SNAPSHOT})

# Presets that a later version changed on purpose, as CHANGELOG.md says: the class, the
# values that tell the preset, and all that is another or new since.
EFFICIENTNET = {
    "keep_aspect": True,
    "backbone": "efficientnet_lite0",
    "weights": "imagenet",
    "standardized": True,
    "d_loc": 128,
    "E_loc_width": 1.0,
}
# GCAD on other images than circles; these files keep the former networks.
KEEP_FORMER_GCAD = ("study_ablations", "study_throughput")
FORMER_GCAD = {"image_size": 128, "epochs": 40, "batch_size": 4, "P": [33]}
GCAD = {
    "image_size": 256,
    "epochs": 50,
    "batch_size": 8,
    "E_loc_arch": "efficientnet_lite0",
    "teacher": "imagenet",
    "stride": 8,
    "unet_depth": 3,
    "P": [17, 33],
    "d_loc": 256,
    "d_glo": 128,
    "g": 16,
    "width": 1.0,
    "E_loc_width": 1.0,
    "E_glo_widths": [32, 32, 64, 64, 128],
    "U_widths": [],
    "border": "zero",
    "A_glo_from": "reconstruction",
    "distance": "mahalanobis",
    "R_glo_start": 1.0,
    "skip_end": 0.2,
    "joint_ramp": 0.0,
    "augmented": False,
}
GCAD_ON_CIRCLES = {
    "stride": 2,
    "width": 1 / 4,
    "E_glo_widths": [128, 128, 256, 256, 512],
    "unet_depth": 3,
    "R_glo_start": 0.5,
    "distance": "mahalanobis",
}
CHANGED = (
    ("GCAD", FORMER_GCAD, GCAD),
    ("GCAD", {"image_size": 64, "P": [17], "width": 1 / 8}, GCAD_ON_CIRCLES),
    (
        "SPADE",
        {"K": 20, "image_size": 128},
        {"image_size": 256, "stride": 8, **EFFICIENTNET},
    ),
    (
        "SPADE",
        {"K": 20, "image_size": 64},
        {"image_size": 128, "stride": 4, **EFFICIENTNET},
    ),
)


def flat(value, name=""):
    """Every field of a dataclass by its flag, and the class of each part."""
    if not dataclasses.is_dataclass(value):
        return {name: value}
    fields = {f"{name}:": type(value).__name__}
    for field in dataclasses.fields(value):
        fields |= flat(getattr(value, field.name), f"{name}.{field.name}".strip("."))
    return fields


def expected(name, snapshot):
    """The values of version 0.1.0, but for what was changed on purpose."""
    after = dict(snapshot)
    for part, kind in snapshot.items():
        prefix = part.removesuffix(":")
        for changed, then, now in CHANGED:
            fields = {f"{prefix}.{n}": value for n, value in then.items()}
            if now is GCAD and name in KEEP_FORMER_GCAD:
                continue
            told = all(snapshot.get(field) == value for field, value in fields.items())
            if kind == changed and told:
                after |= {f"{prefix}.{n}": v for n, v in now.items()}
                if now is GCAD:  # its E_loc describes each image once
                    after[prefix.removesuffix("method") + "cache_features"] = True
    return after


@pytest.mark.parametrize("name", FILES)
def test_fields_and_values_are_those_of_then(name):
    path = outside.ROOT / f"configs/{name}.py"
    get_config = runpy.run_path(str(path))["get_config"]
    presets = [k.partition(":")[2] for k in SNAPSHOT if k.startswith(f"{name}:")]
    assert len(presets) > 1
    for preset in presets:
        before = expected(name, SNAPSHOT[f"{name}:{preset}"])
        made = json.loads(json.dumps(flat(get_config(preset))))
        # A later version may have more fields; then the old ones keep their values.
        assert {field: made.get(field, "gone") for field in before} == before, preset


def test_the_preset_may_be_left_out():
    for name in FILES:
        path = outside.ROOT / f"configs/{name}.py"
        default = json.loads(
            json.dumps(flat(runpy.run_path(str(path))["get_config"]()))
        )
        before = expected(name, SNAPSHOT[f"{name}:"])
        assert {field: default.get(field, "gone") for field in before} == before
