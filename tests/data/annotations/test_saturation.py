import json

import numpy as np
import pytest

from gcad_jax.core.errors import UserError
from gcad_jax.data.annotations.saturation import Defect, read_defects, saturation

ENTRY = {
    "defect_name": "dent",
    "pixel_value": 255,
    "saturation_threshold": 0.5,
    "relative_saturation": True,
}


@pytest.mark.parametrize(
    ("threshold", "relative", "area", "expected"),
    [
        (1.0, True, 37, 37),
        (0.5, True, 37, 18),  # 18.5 is cut, not rounded
        (0.29, True, 100, 28),  # 0.29 * 100 = 28.999999999999996 in float64
        (0.7, True, 10, 7),  # 0.7 as float32 gives 6
        (0.57, True, 100, 56),  # 56.99999999999999
        (350, False, 1000, 350),
        (350, False, 200, 200),  # never above the area
        (350.0, False, 1000, 350),
        (1, False, 1, 1),
        (np.float64(0.5), True, 8, 4),
    ],
)
def test_saturation_by_hand(threshold, relative, area, expected):
    result = saturation(threshold, relative, area)
    assert result == expected
    assert type(result) is int


@pytest.mark.parametrize(
    ("threshold", "relative", "area", "words"),
    [
        (0.1, True, 9, "saturates at 0 pixels"),
        (1.0, True, 0, "saturates at 0 pixels"),
        (5, False, 0, "saturates at 0 pixels"),
        (0, False, 10, "above 0"),
        (-5, False, 10, "above 0"),
        (-0.1, True, 10, "above 0"),
        (float("nan"), True, 10, "above 0"),
        (1.5, True, 10, "at most 1"),
        (10.5, False, 100, "must be an integer"),
        (float("inf"), False, 100, "must be an integer"),
    ],
)
def test_saturation_refuses(threshold, relative, area, words):
    with pytest.raises(UserError, match=words):
        saturation(threshold, relative, area, "mask 7")


def test_an_error_names_the_region():
    with pytest.raises(UserError, match=r"^mask 7 has 9 pixels"):
        saturation(0.1, True, 9, "mask 7")


def write(tmp_path, text):
    path = tmp_path / "defects_config.json"
    path.write_text(text)
    return path


def test_read_defects(tmp_path):
    second = {**ENTRY, "defect_name": "scratch", "pixel_value": 1}
    second |= {"saturation_threshold": 400, "relative_saturation": False}
    path = write(tmp_path, json.dumps([ENTRY, second]))
    assert read_defects(path) == (
        Defect("dent", 255, 0.5, True),
        Defect("scratch", 1, 400.0, False),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{", "is not valid JSON"),
        ("{}", "must be a JSON list"),
        ("[]", "an empty list"),
        ("[3]", "entry 1 must be a JSON object"),
    ],
)
def test_read_defects_refuses_other_json(tmp_path, text, words):
    path = write(tmp_path, text)
    with pytest.raises(UserError, match=words) as error:
        read_defects(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pixel_value": 0}, "pixel_value 0; it must be an integer from 1 to 255"),
        ({"pixel_value": 256}, "pixel_value 256"),
        ({"pixel_value": 3.0}, "pixel_value 3.0"),
        ({"pixel_value": True}, "pixel_value True"),
        ({"defect_name": ""}, "defect_name"),
        ({"defect_name": 7}, "defect_name 7"),
        ({"relative_saturation": 1}, "relative_saturation 1; it must be true or"),
        ({"saturation_threshold": 0}, "threshold 0; it must be a number above 0"),
        ({"saturation_threshold": -1}, "above 0"),
        ({"saturation_threshold": "5"}, "above 0"),
        ({"saturation_threshold": True}, "above 0"),
        ({"saturation_threshold": float("nan")}, "above 0"),
        ({"saturation_threshold": 1.01}, "at most 1"),
        ({"saturation_threshold": 0.5, "relative_saturation": False}, "an integer"),
    ],
)
def test_read_defects_refuses_values(tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        read_defects(write(tmp_path, json.dumps([{**ENTRY, **change}])))


@pytest.mark.parametrize("key", list(ENTRY))
def test_read_defects_refuses_a_missing_key(tmp_path, key):
    entry = {name: value for name, value in ENTRY.items() if name != key}
    with pytest.raises(UserError, match=f"entry 1 lacks {key}"):
        read_defects(write(tmp_path, json.dumps([entry])))


def test_read_defects_refuses_repeated_values(tmp_path):
    same_value = [ENTRY, {**ENTRY, "defect_name": "scratch"}]
    with pytest.raises(UserError, match="has pixel_value 255 2 times"):
        read_defects(write(tmp_path, json.dumps(same_value)))
    same_name = [ENTRY, {**ENTRY, "pixel_value": 1}]
    with pytest.raises(UserError, match="has defect_name 'dent' 2 times"):
        read_defects(write(tmp_path, json.dumps(same_name)))


def test_read_defects_refuses_a_missing_file(tmp_path):
    with pytest.raises(UserError, match=r"defects_config.json cannot be read"):
        read_defects(tmp_path / "defects_config.json")


def test_real_files(real_data):
    counts = {
        path.parent.name: len(read_defects(path))
        for path in (real_data / "loco_defects_config").glob("*/*.json")
    }
    assert sum(counts.values()) == 89  # [P Table 1]
    assert counts["juice_bottle"] == 18


def test_official_evaluator_reads_the_same_files(real_data):
    for path in (real_data / "spro_cases").glob("*/dataset/*/defects_config.json"):
        assert read_defects(path)
