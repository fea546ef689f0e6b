"""One step, however it is laid out, computes the same."""

import jax
import numpy as np
import pytest
from helpers import doubles
from jax.sharding import Mesh, PartitionSpec

from gcad_jax.core.axes import BATCH
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.methods.base import Phase
from gcad_jax.training.step import StepOptions, make_step

UNROLL, VMAP = StepOptions("unroll"), StepOptions("vmap")
SEEDS = (0, 7)
# Three updates of two seeds, batch 4; rows repeat and differ between seeds.
ROWS = np.random.default_rng(0).integers(0, 18, (3, 2, 4)).astype(np.int32)
OBSERVER = Phase("observe", 3, doubles.observe)


@pytest.fixture(scope="module")
def method():
    return doubles.Linear()


@pytest.fixture(scope="module")
def both(method):
    """The phase in which both networks are trained."""
    return method.phases(4)[1]


@pytest.fixture(scope="module")
def states(method):
    return doubles.states_of(method, SEEDS)


@pytest.fixture(scope="module")
def resources(method):
    return doubles.resources_of(method, doubles.random_images(18))


@pytest.fixture(scope="module")
def expected(both, states, resources):
    """One device, one update at a time, both seeds."""
    return three_steps(both, UNROLL, 1, states, resources)


def three_steps(phase, options, num_devices, states, resources, rows=ROWS):
    return doubles.single_calls(
        phase, doubles.JITTERED, options, num_devices, states, resources, rows
    )


def test_the_first_update_is_the_gradient_by_hand(both, states, resources):
    """Loss and SGD step of one seed against NumPy, on 1 device and on 4."""
    rows = ROWS[:1]
    seen = shown(states, resources, rows)
    key = jax.random.wrap_key_data(doubles.host(states.key)[1])
    step_key = jax.random.fold_in(key, 0)
    keys = [jax.random.split(jax.random.fold_in(step_key, i), 2)[1] for i in range(4)]
    noise = np.stack([jax.random.normal(k, (doubles.OUTPUTS,)) for k in keys])
    x = np.asarray(seen["images"])[0, 1].reshape(4, -1).astype(np.float64)
    wrong = {}
    for name in ("fast", "slow"):
        kernel = doubles.host(states.learned.params[name]["kernel"])[1]
        teacher = np.asarray(resources.frozen["teacher"], np.float64)
        wrong[name] = x @ kernel - x @ teacher - doubles.ADDED * noise
    for devices in (1, 4):
        after, metrics = doubles.on_devices(
            both, doubles.JITTERED, UNROLL, devices, states, resources, rows
        )
        for name, residual in wrong.items():
            np.testing.assert_allclose(
                metrics[f"L_{name}"][0, 1], np.mean(residual**2), rtol=1e-4
            )
            before = doubles.host(states.learned.params[name]["kernel"])[1]
            moved = doubles.host(after.learned.params[name]["kernel"])[1] - before
            gradient = 2 * x.T @ residual / residual.size
            np.testing.assert_allclose(moved, -0.05 * gradient, rtol=1e-3, atol=1e-5)


def test_jit_pmap_and_shard_map_agree(both, states, resources):
    """The per-device function under three ways to map it, four examples on four."""
    step = make_step(both, doubles.JITTERED, UNROLL)
    # out_axes=None: vmap itself refuses a state that has not crossed the batch axis.
    mapped = jax.vmap(
        step, in_axes=(None, None, 0), out_axes=(None, None), axis_name=BATCH
    )
    by_jit = jax.jit(mapped)(states, resources, doubles.layout_of(1).split(ROWS[:1]))
    by_vmap = jax.jit(mapped)(states, resources, doubles.layout_of(4).split(ROWS[:1]))
    by_pmap = doubles.on_devices(
        both, doubles.JITTERED, UNROLL, 4, states, resources, ROWS[:1]
    )
    mesh = Mesh(np.asarray(jax.devices()[:4]), (BATCH,))
    by_shard_map = jax.jit(
        jax.shard_map(
            lambda s, r, rows: step(s, r, rows[0]),
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec(), PartitionSpec(BATCH)),
            out_specs=PartitionSpec(),
            check_vma=False,  # with True, pmean of gradients would sum them
        )
    )(states, resources, doubles.layout_of(4).split(ROWS[:1]))
    for other in (by_vmap, by_pmap, by_shard_map):
        doubles.assert_close(by_jit, other)


@pytest.mark.parametrize("num_devices", [2, 4])
def test_losses_and_parameters_do_not_depend_on_the_number_of_devices(
    both, states, resources, expected, num_devices
):
    actual = three_steps(both, UNROLL, num_devices, states, resources)
    doubles.assert_close(actual, expected)


def test_every_device_returns_the_same_state(both, states, resources):
    results = doubles.on_devices(
        both, doubles.JITTERED, UNROLL, 4, states, resources, ROWS[:1]
    )
    for leaf in jax.tree.leaves(results):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(shards) == 4
        for shard in shards:
            np.testing.assert_array_equal(shard, shards[0])


def test_seeds_by_vmap_equal_seeds_unrolled(both, states, resources, expected):
    doubles.assert_close(three_steps(both, VMAP, 1, states, resources), expected)


@pytest.mark.parametrize(("options", "tolerance"), [(UNROLL, 1e-6), (VMAP, 1e-5)])
def test_a_seed_alone_equals_the_seed_among_others(
    method, both, states, resources, options, tolerance
):
    among = three_steps(both, options, 1, states, resources)
    for place, seed in enumerate(SEEDS):
        alone = three_steps(
            both,
            options,
            1,
            doubles.states_of(method, [seed]),
            resources,
            ROWS[:, place : place + 1],
        )
        one = jax.tree.map(lambda x, s=place: x[s : s + 1], among[0])
        doubles.assert_close(alone[0], one, tolerance)
        losses = jax.tree.map(lambda x, s=place: x[:, s : s + 1], among[1])
        doubles.assert_close(alone[1], losses, tolerance)


@pytest.mark.parametrize("options", [UNROLL, VMAP], ids=["unroll", "vmap"])
def test_three_updates_a_call_equal_three_calls(
    both, states, resources, expected, options
):
    together = doubles.on_devices(
        both, doubles.JITTERED, options, 2, states, resources, ROWS
    )
    doubles.assert_close(together, expected)
    np.testing.assert_array_equal(together[0].step, [3, 3])


# -- randomness ---------------------------------------------------------------------


def shown(states, resources, rows, num_devices=1, augmentation=doubles.JITTERED):
    """Images and noise that the update of every seed gets, (K, S, B, ...)."""
    return doubles.single_calls(
        OBSERVER, augmentation, UNROLL, num_devices, states, resources, rows
    )[1]


SAME_IMAGE = np.zeros((2, 2, 4), np.int32)


def test_examples_steps_and_seeds_draw_differently(states, resources):
    """The same image in all places: 2 steps x 2 seeds x 4 positions differ."""
    seen = shown(states, resources, SAME_IMAGE)
    assert len(np.unique(seen["images"].reshape(16, -1), axis=0)) == 16
    assert len(np.unique(seen["noise"])) == 16


@pytest.mark.parametrize("num_devices", [2, 4])
def test_draws_do_not_depend_on_the_number_of_devices(states, resources, num_devices):
    one = shown(states, resources, ROWS)
    more = shown(states, resources, ROWS, num_devices)
    np.testing.assert_array_equal(more["noise"], one["noise"])
    np.testing.assert_allclose(more["images"], one["images"], atol=1e-6)


def test_a_step_draws_the_same_again(states, resources):
    """Steps 1 and 2 of three, continued from a state that has done step 1."""
    three = shown(states, resources, ROWS)
    later = states.replace(step=states.step + 1)
    two = shown(later, resources, ROWS[1:])
    np.testing.assert_array_equal(two["noise"], three["noise"][1:])
    np.testing.assert_array_equal(two["images"], three["images"][1:])


def test_rows_and_positions_go_to_the_devices_in_order(states, resources):
    """Without augmentation the update sees exactly the rows' pixels / 255."""
    seen = shown(states, resources, ROWS, 4, Augmentation())
    pixels = np.asarray(resources.dataset)[ROWS] / 255.0
    np.testing.assert_allclose(seen["images"], pixels, atol=1e-6)
