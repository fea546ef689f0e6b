"""The frozen part is computed once, and anew where config, images or file differ."""

import jax.numpy as jnp
import numpy as np
import pytest

from gcad_jax.training.frozen_cache import FROZEN, load_or_prepare
from gcad_jax.training.options import RunContext

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
CONFIG = {"method": {"class": "Linear", "P": (17, 33)}, "seeds": (0,)}


def load(folder, prepare, images=IMAGES, config=CONFIG, print_line=print):
    context = RunContext((0,), folder, None, config, print_line)
    return load_or_prepare(prepare, images, context)


class Prepare:
    """Counts how often it is asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, images):
        self.calls += 1
        value = jnp.float32(images.mean())
        return {
            "E_loc_17": {"conv": {"bias": jnp.full(3, value)}},
            "count": jnp.ones(2),
        }


@pytest.fixture
def prepare(tmp_path):
    prepare = Prepare()
    (tmp_path / "checkpoints" / "12").mkdir(parents=True)
    load(tmp_path, prepare)
    assert prepare.calls == 1
    return prepare


def test_a_second_call_reads_the_same_numbers(tmp_path, prepare):
    again = load(tmp_path, prepare)
    assert prepare.calls == 1
    np.testing.assert_array_equal(again["E_loc_17"]["conv"]["bias"], [11.5] * 3)
    np.testing.assert_array_equal(again["count"], [1, 1])
    assert again["count"].dtype == jnp.float32


def test_before_the_first_checkpoint_a_replaced_weight_file_counts(tmp_path, prepare):
    (tmp_path / "checkpoints" / "12").rmdir()
    load(tmp_path, prepare)
    assert prepare.calls == 2


def test_other_seeds_share_it(tmp_path, prepare):
    load(tmp_path, prepare, config=CONFIG | {"seeds": (0, 1)})
    assert prepare.calls == 1


@pytest.mark.parametrize(
    ("images", "config"),
    [(IMAGES + 1, CONFIG), (IMAGES, {"method": {"class": "Linear", "P": (17,)}})],
)
def test_another_method_or_image_computes_it_anew(tmp_path, prepare, images, config):
    found = load(tmp_path, prepare, images, config)
    assert prepare.calls == 2
    assert float(found["E_loc_17"]["conv"]["bias"][0]) == images.mean()


def test_a_damaged_file_is_said_and_computed_anew(tmp_path, prepare):
    content = (tmp_path / FROZEN).read_bytes()
    (tmp_path / FROZEN).write_bytes(content[: len(content) // 2])
    lines = []
    load(tmp_path, prepare, print_line=lines.append)
    assert prepare.calls == 2
    assert len(lines) == 1
    assert FROZEN in lines[0]
    load(tmp_path, prepare)
    assert prepare.calls == 2
