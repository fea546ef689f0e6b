"""What a config means: resolved sizes, refused values, stored and compared forms."""

import dataclasses
import json
import lzma
from typing import Any

import pytest
from helpers import outside, runs

from gcad_jax.config import Experiment, presets, serialization, validation
from gcad_jax.core.errors import UserError
from gcad_jax.methods.base import Phase
from gcad_jax.methods.gcad import GCAD
from gcad_jax.methods.spade import SPADE


def test_sizes_reach_the_method() -> None:
    given = runs.tiny(image_size=64, epochs=5, batch_size=4)
    method = validation.resolve(given).method
    assert (method.image_size, method.epochs, method.batch_size) == (64, 5, 4)
    assert given.method.epochs == 1, "the config itself is not changed"


def test_without_them_the_method_keeps_its_own() -> None:
    found = validation.resolve(runs.tiny(method=runs.method(epochs=9)))
    assert (found.image_size, found.epochs, found.batch_size) == (32, 9, 2)
    assert found.method.epochs == 9


def test_resolving_twice_changes_nothing() -> None:
    once = validation.resolve(runs.tiny(epochs=5))
    assert serialization.as_dict(validation.resolve(once)) == serialization.as_dict(
        once
    )


class Twice(GCAD):
    """GCAD, and then the same again."""

    def phases(self, steps_per_epoch: int) -> tuple[Phase, ...]:
        return super().phases(steps_per_epoch) * 2


def test_phases_of_one_name_are_refused_before_anything_is_read() -> None:
    given = runs.tiny(method=Twice(branches=("A_loc",), image_size=32))
    with pytest.raises(UserError, match="Twice has 2 phases named 'local'"):
        validation.resolve(given)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"seeds": ()}, "one seed or more"),
        ({"seeds": (1, 1)}, "each once"),
        ({"seeds": (-1,)}, "0 or more"),
        ({"seeds": ("0",)}, "whole numbers"),
        ({"seeds": (0.5,)}, "whole numbers"),
        ({"image_size": 100}, "100.*multiple of 32.*96"),
        ({"image_size": -32}, "multiple of 32"),
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"map_seeds": "vmapp"}, "Did you mean 'vmap'"),
        ({"log_every": 0}, "log_every is 0"),
        ({"num_devices": -1}, "num_devices is -1"),
        ({"steps_per_call": -1}, "steps_per_call is -1"),
        ({"checkpoint_minutes": -0.5}, "checkpoint_minutes is -0.5"),
    ],
    ids=str,
)
def test_values_outside_their_range(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        validation.resolve(runs.tiny(**fields))


def test_fields_are_all_leaves() -> None:
    @dataclasses.dataclass
    class Inner:
        g: int = 3
        name: str = ""

    @dataclasses.dataclass
    class Outer:
        data: Inner
        epochs: int | None = None

    assert dict(serialization.leaf_fields(Outer(Inner()))) == {
        "data.g": int,
        "data.name": str,
        "epochs": int | None,
    }


def test_as_dict_is_json_and_names_the_classes() -> None:
    tree = serialization.as_dict(runs.tiny(seeds=(0, 1)))
    assert json.loads(json.dumps(tree)) == tree
    assert tree["data"]["class"] == "Circles"
    assert tree["method"]["class"] == "GCAD"
    assert tree["seeds"] == [0, 1]
    assert tree["method"]["P"] == [17]


def test_differences_name_fields_and_both_values() -> None:
    old = serialization.as_dict(runs.tiny())
    new = serialization.as_dict(runs.tiny(method=runs.method(g=64), seeds=(0, 1)))
    assert serialization.differences(old, old) == []
    assert serialization.differences(old, new) == [
        "method.g: 32 -> 64",
        "seeds: [0] -> [0, 1]",
    ]


def test_differences_see_new_and_lost_fields() -> None:
    assert serialization.differences({"a": {"b": 1}}, {"a": {"c": 2}}) == [
        "a.b: 1 -> None",
        "a.c: None -> 2",
    ]


def test_a_config_from_before_a_field_was_there_has_its_default() -> None:
    new = serialization.as_dict(runs.tiny(method=SPADE(), seeds=(0,)))
    old = json.loads(json.dumps(new))
    for name in ("keep_aspect", "standardized", "stride"):
        del old["method"][name]
    of_another = {**new, "log_every": 7}
    assert serialization.differences(old, new) == []
    assert serialization.differences(new, old) == []
    new["method"] |= {"keep_aspect": True, "stride": 8}
    assert serialization.differences(old, new) == [
        "method.keep_aspect: False -> True",
        "method.stride: 4 -> 8",
    ]
    del old["log_every"]
    assert "log_every: 50 -> 7" in serialization.differences(old, of_another)


def unflat(fields: dict[str, Any]) -> dict[str, Any]:
    """As config.json has them: 'method.g' and the class 'method:' below 'method'."""
    tree: dict[str, Any] = {}
    for name, value in fields.items():
        part, _, rest = name.rpartition(".")
        if name.endswith(":"):
            part, rest = name[:-1], "class"
        (tree.setdefault(part, {}) if part else tree)[rest] = value
    return tree


def test_every_config_of_version_0_1_0_is_continued_by_its_values() -> None:
    """Of all its presets; what later versions added to their methods is at defaults."""
    kinds = {kind.__name__: kind for kind in presets.SMALL_FIELDS} | {"GCAD": GCAD}
    data_sets = {kind.__name__: kind for kind in presets.DATA_SETS.values()}
    packed = (outside.FILES / "configs.json.xz").read_bytes()
    seen = set()
    for name, fields in json.loads(lzma.decompress(packed)).items():
        if fields.get(":") != "Experiment":
            continue
        old = unflat(fields)
        parts = {}
        for part, classes in (("data", data_sets), ("method", kinds)):
            values = dict(old[part])
            parts[part] = classes[values.pop("class")](**values)
        new = serialization.as_dict(Experiment(**parts))
        new |= {key: value for key, value in old.items() if key not in parts}
        assert serialization.differences(old, new) == [], name
        seen.add(old["method"]["class"])
    assert seen == set(outside.METHODS.values())


@pytest.mark.parametrize(
    "fields",
    [{"checkpoint_minutes": 1.0}, {"num_devices": 2}, {"write_maps": True}],
    ids=str,
)
def test_fields_that_do_not_change_the_numbers_are_free(fields: dict[str, Any]) -> None:
    old, new = (
        serialization.as_dict(runs.tiny()),
        serialization.as_dict(runs.tiny(**fields)),
    )
    assert old != new
    assert serialization.differences(old, new) == []
