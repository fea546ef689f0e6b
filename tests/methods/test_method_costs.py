"""What the methods cost at full size: the numbers of the table in docs/methods.md."""

import pathlib

import jax
import jax.numpy as jnp
import pytest
from helpers.costs import multiply_adds

from gcad_jax.methods.autoencoder import AE
from gcad_jax.methods.base import Batch, DetectorState
from gcad_jax.methods.fanogan import FAnoGAN
from gcad_jax.methods.gcad import GCAD
from gcad_jax.methods.mnad import MNAD
from gcad_jax.methods.student_teacher import StudentTeacher
from gcad_jax.methods.vae import VAE
from gcad_jax.models.layers.convolution import plain_convolutions
from gcad_jax.training.state import init_state

PAGE = pathlib.Path(__file__).parents[2] / "docs/methods.md"
METHODS = {m.title: m for m in (GCAD(), StudentTeacher(), AE(), VAE(), MNAD())} | {
    "f-AnoGAN": FAnoGAN()
}


@pytest.fixture(autouse=True)
def convolutions_as_published():
    with plain_convolutions():
        yield


def row(title):
    """Parameters in millions, GFLOP of training and of inference, as printed."""
    lines = PAGE.read_text().splitlines()
    (line,) = [
        x for x in lines if x.startswith("|") and f"| {title}" in x and " M |" in x
    ]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    training, inference = cells[-1].split("; ")
    numbers = [float(x.replace(",", "")) for x in training.split(", then ")]
    return (
        float(cells[-2].removesuffix(" M")),
        numbers,
        float(inference.replace(",", "")),
    )


def frozen(method):
    image = jnp.zeros((1, 8, 8, 3))

    def of(nets):
        return {
            name: jax.eval_shape(net.init, jax.random.key(0), image)["params"]
            for name, net in nets.items()
        }

    if isinstance(method, GCAD):
        return of({f"E_loc_{p}": method.E_loc(p) for p in method.P})
    if isinstance(method, StudentTeacher):
        return of({f"T_{p}": method.E_loc(p) for p in method.P})
    return {}


def training(method, phase, state, conditions=max):
    """GFLOP an image."""
    batch, side = method.batch_size, method.image_size
    images = jax.ShapeDtypeStruct((1, batch, side, side, method.channels), jnp.float32)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch)[None])
    update = jax.vmap(
        lambda state, frozen, x, keys: phase.update(state, frozen, Batch(x), keys),
        in_axes=(None, None, 0, 0),
        out_axes=None,
        axis_name="batch",
    )
    traced = jax.make_jaxpr(update)(state, frozen(method), images, keys)
    return 2 * multiply_adds(traced.jaxpr, conditions) / batch / 1e9


@pytest.mark.parametrize("title", METHODS)
def test_the_page_says_what_a_method_costs(title):
    method = METHODS[title]
    parameters, gflop, inference = row(title)
    state = jax.eval_shape(lambda: init_state(method, 0))
    count = sum(leaf.size for leaf in jax.tree.leaves(state.learned.params))
    assert parameters == pytest.approx(count / 1e6, rel=0.01)
    phases = method.phases(100)
    if title == "f-AnoGAN":
        # The generator moves with every fifth update.
        with_G, without = (training(method, phases[0], state, c) for c in (max, min))
        found = [without + (with_G - without) / 5, training(method, phases[1], state)]
    else:
        found = [training(method, phases[-1], state)]
    assert gflop == pytest.approx(found, rel=0.01, abs=0.05)
    names = [f"{b}_{p}" for b in method.branches for p in getattr(method, "P", ())]
    calibration = {name: {"mu": 0.0, "sigma": 1.0} for name in names}
    side = method.image_size
    image = jax.ShapeDtypeStruct((1, side, side, method.channels), jnp.float32)
    traced = jax.make_jaxpr(
        lambda frozen, learned, x: method.anomaly_map(
            DetectorState(frozen, learned, calibration), x
        )
    )(frozen(method), state.learned, image)
    assert inference == pytest.approx(
        2 * multiply_adds(traced.jaxpr) / 1e9, rel=0.01, abs=0.05
    )
