"""MNAD against hand-written NumPy: reading, writing, its losses; what it costs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import doubles, numpy_nets

from gcad_jax.core.errors import UserError
from gcad_jax.methods.base import Batch, DetectorState
from gcad_jax.methods.mnad import MNAD, triplet
from gcad_jax.models import mnad
from gcad_jax.models.global_encoder import UpConvolution
from gcad_jax.models.mnad import MemoryEncoder
from gcad_jax.training.state import init_state

SIDE = 16
ITEMS, SIZE, QUERIES = 4, 6, 24


@pytest.fixture(scope="module")
def method():
    return MNAD(image_size=SIDE, epochs=3, batch_size=4, items=ITEMS, width=1 / 64)


@pytest.fixture(scope="module")
def images():
    return doubles.random_images(4, side=SIDE)


@pytest.fixture(scope="module")
def state(method):
    return jax.jit(lambda seed: init_state(method, seed))(0)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def drawn():
    draw = np.random.default_rng(1)
    memory = unit(draw.uniform(size=(ITEMS, SIZE)))
    queries = unit(draw.normal(size=(QUERIES, SIZE)))
    # The last item is nobody's nearest.
    memory[-1] = -unit(queries.sum(axis=0))
    nearest = (queries @ memory.T).argmax(axis=1)
    queries = queries[nearest != ITEMS - 1][:16]
    return memory.astype(np.float32), queries.astype(np.float32)


def written(memory, queries):
    """The update of the published code, one item and one query after the other."""
    similarity = queries @ memory.T
    softmax = np.exp(similarity) / np.exp(similarity).sum(axis=0)
    out = memory.copy()
    for i in range(len(memory)):
        total, used = memory[i].astype(np.float64), False
        for q in range(len(queries)):
            if np.argmax(similarity[q]) == i:
                total = total + softmax[q, i] / softmax[:, i].max() * queries[q]
                used = True
        if used:
            out[i] = total / np.linalg.norm(total)
    return out


@pytest.mark.parametrize("num_devices", [1, 2, 4])
def test_the_memory_is_written_as_in_the_published_code(num_devices):
    """All devices write the same, from the queries of all of them."""
    memory, queries = drawn()
    parts = queries.reshape(num_devices, -1, SIZE)
    write = jax.vmap(functools.partial(mnad.update_memory, memory), axis_name="batch")
    found = jax.jit(write)(parts)
    expected = written(memory, queries)
    assert np.abs(expected[:-1] - memory[:-1]).max() > 0.01
    np.testing.assert_array_equal(expected[-1], memory[-1])
    for of_device in found:
        np.testing.assert_allclose(of_device, expected, rtol=1e-5, atol=1e-6)


def test_the_memory_is_read_by_similarity():
    memory, queries = drawn()
    weights = np.exp(queries @ memory.T)
    weights /= weights.sum(axis=1, keepdims=True)
    expected = weights @ memory
    np.testing.assert_allclose(
        mnad.read_memory(memory, queries), expected, rtol=1e-5, atol=1e-6
    )
    gradient = jax.grad(lambda q: jnp.sum(mnad.read_memory(memory, q)))(queries)
    assert not np.any(gradient)


def test_a_fresh_memory_has_unit_items_of_one_sign():
    memory = mnad.init_memory(jax.random.key(0), 10, 512)
    assert memory.shape == (10, 512)
    np.testing.assert_allclose(np.linalg.norm(memory, axis=1), 1, rtol=1e-5)
    assert (np.asarray(memory) > 0).all()
    assert len(np.unique(np.asarray(memory))) > 5000


def test_losses_are_those_of_the_published_code(method, state, images):
    model_state = state.learned.model_state
    x = jnp.asarray(images / 255.0, jnp.float32)
    loss = functools.partial(method.loss, state.learned.params, model_state)
    total, (metrics, new) = jax.jit(jax.vmap(loss, axis_name="batch"))(x[None])
    encode = functools.partial(
        method.encoder().apply,
        {
            "params": state.learned.params["encoder"],
            "batch_stats": model_state["encoder"],
        },
        mutable=["batch_stats"],
    )
    described = jax.vmap(lambda x: encode(2 * x - 1, True), axis_name="batch")
    features, _ = jax.jit(described)(x[None])
    queries = unit(np.asarray(features[0], np.float64)).reshape(-1, features.shape[-1])
    memory = np.asarray(model_state["memory"], np.float64)
    order = np.argsort(-(queries @ memory.T), axis=1)
    near, far = memory[order[:, 0]], memory[order[:, 1]]
    compact = np.mean((queries - near) ** 2)
    apart = [np.linalg.norm(queries - m + 1e-6, axis=1) for m in (near, far)]
    separate = np.mean(np.maximum(apart[0] - apart[1] + 1, 0))
    np.testing.assert_allclose(metrics["L_compact"][0], compact, rtol=1e-4)
    np.testing.assert_allclose(metrics["L_separate"][0], separate, rtol=1e-4)
    np.testing.assert_allclose(
        total[0], metrics["L_rec"][0] + 0.1 * compact + 0.1 * separate, rtol=1e-4
    )
    np.testing.assert_allclose(
        new["memory"][0],
        written(memory.astype(np.float32), queries.astype(np.float32)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_triplet_by_hand():
    query, near, far = np.array([[1.0, 0.0]]), np.array([[0.0, 0.0]]), [[1.0, 3.0]]
    far = np.array(far)
    assert float(triplet(query, near, far)[0]) == 0  # 1 - 3 + 1 < 0
    assert float(triplet(query, far, near)[0]) == pytest.approx(3, rel=1e-5)


def normed(x, params, statistics, bare=False):
    """3x3 convolution, batch norm on running statistics, ReLU."""
    x = numpy_nets.conv(
        x, params["conv"]["kernel"], params["conv"].get("bias", 0), pad=1
    )
    return x if bare else relu_of_norm(x, params["norm"], statistics["norm"])


def relu_of_norm(x, params, statistics):
    p, s = params["norm"], statistics["norm"]
    x = (x - s["mean"]) / np.sqrt(s["var"] + 1e-5) * p["scale"] + p["bias"]
    return np.maximum(x, 0)


def oracle(learned, x):
    """The reconstruction of (B, S, S, 3) in [-1, 1], layer by layer in NumPy."""
    params, state = jax.tree.map(np.asarray, (learned.params, learned.model_state))
    p, s = params["encoder"], state["encoder"]
    for i in range(4):
        x = numpy_nets.max_pool(x) if i else x
        x = normed(x, p[f"conv{i}_1"], s[f"conv{i}_1"])
        x = normed(x, p[f"conv{i}_2"], s.get(f"conv{i}_2"), bare=i == 3)
    query = unit(x)
    weights = np.exp(query @ state["memory"].T)
    found = weights / weights.sum(axis=-1, keepdims=True) @ state["memory"]
    x = np.concatenate([query, found], axis=-1)
    p, s = params["decoder"], state["decoder"]
    for i in (3, 2, 1):
        x = normed(x, p[f"conv{i}_1"], s[f"conv{i}_1"])
        x = normed(x, p[f"conv{i}_2"], s[f"conv{i}_2"])
        x = numpy_nets.transposed_conv(x, p[f"up{i}"]["kernel"], 0, stride=2, pad=0)
        x = relu_of_norm(x[:, 1:, 1:], p[f"up_norm{i}"], s[f"up_norm{i}"])
    x = normed(x, p["conv0_1"], s["conv0_1"])
    x = normed(x, p["conv0_2"], s["conv0_2"])
    return np.tanh(normed(x, p["conv_out"], None, bare=True))


def test_the_map_is_the_squared_distance_of_the_network_in_numpy(method, state, images):
    """On running statistics, here random ones, and with the memory as it is."""
    draw = np.random.default_rng(0)
    statistics = jax.tree.map(
        lambda s: jnp.asarray(draw.uniform(0.5, 1.5, s.shape), jnp.float32),
        state.learned.model_state,
    )
    statistics["memory"] = state.learned.model_state["memory"]
    learned = state.learned.replace(model_state=statistics)
    x = jnp.asarray(images / 255.0, jnp.float32)
    anomaly_map = jax.jit(method.anomaly_map)
    maps = np.asarray(anomaly_map(DetectorState({}, learned, {}), x))
    signed = 2 * np.asarray(x, np.float64) - 1
    expected = np.sum((signed - oracle(learned, signed)) ** 2, axis=-1)
    np.testing.assert_allclose(maps, expected, rtol=1e-3, atol=1e-4)
    alone = np.asarray(anomaly_map(DetectorState({}, learned, {}), x[2:3]))
    np.testing.assert_allclose(alone[0], maps[2], rtol=1e-4, atol=1e-5)


def test_training_lowers_the_error_and_moves_the_memory(method, state, images):
    method = MNAD(**vars(method) | {"learning_rate": 1e-2})
    (phase,) = method.phases(20)
    update = jax.jit(
        jax.vmap(
            phase.update, in_axes=(None, None, 0, 0), out_axes=None, axis_name="batch"
        )
    )
    state = jax.jit(lambda seed: init_state(method, seed))(0)
    first = state.learned.model_state["memory"]
    plain = np.broadcast_to(images[:, :1, :1], images.shape)  # noise has no prototype
    batch = Batch(jnp.asarray(plain[None] / 255.0, jnp.float32))
    errors = []
    for _ in range(20):
        state, metrics = update(state, {}, batch, jax.random.split(state.key, 4)[None])
        errors.append(float(metrics["L_rec"]))
    assert errors[-1] < 0.7 * errors[0]
    assert np.abs(state.learned.model_state["memory"] - first).max() > 0.01


def test_the_3x3_up_convolution_is_pytorchs_with_output_padding():
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    layer = UpConvolution(6, jnp.float32, 3)
    params = layer.init(jax.random.key(0), x)["params"]
    kernel, bias = (np.asarray(params[k]) for k in ("kernel", "bias"))
    assert kernel.shape == (3, 3, 5, 6)
    whole = numpy_nets.transposed_conv(x, kernel, bias, stride=2, pad=0)
    # (2 H + 1) rows without padding; 1 is cut off before, none after.
    expected = whole[:, 1:, 1:]
    assert expected.shape == (2, 6, 8, 6)
    np.testing.assert_allclose(
        layer.apply({"params": params}, x), expected, rtol=1e-4, atol=1e-5
    )


def test_the_defaults_are_the_papers():
    method = MNAD()
    state = jax.eval_shape(lambda: init_state(method, 0))
    assert state.learned.model_state["memory"].shape == (10, 512)
    features = jax.eval_shape(
        lambda x: MemoryEncoder().init_with_output(jax.random.key(0), x, False)[0],
        jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32),
    )
    assert features.shape == (1, 32, 32, 512)

    def conv(i, o, norm=True):
        return 9 * i * o + (2 * o if norm else o)

    down = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256)]
    encoder = sum(conv(*s) for s in down) + conv(256, 512) + conv(512, 512, False)
    up = [(1024, 512), (512, 512), (512, 512), (512, 256), (256, 256), (256, 256)]
    up += [(256, 128), (128, 128), (128, 128), (128, 64), (64, 64)]
    decoder = sum(conv(*s) for s in up) + conv(64, 3, False)
    count = sum(leaf.size for leaf in jax.tree.leaves(state.learned.params))
    assert count == encoder + decoder
    assert count == pytest.approx(17.2e6, rel=0.01)
    (phase,) = method.phases(80)
    assert phase.num_steps == 500 * 80


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("items", 1, "items is 1; .* 2 or more"),
        ("image_size", 100, "multiple of 8"),
        ("compactness", -0.1, "0 or more"),
        ("learning_rate", 0.0, "above 0"),
        ("precision", "half", "bfloat16"),
    ],
)
def test_a_field_outside_its_range_is_named(field, value, says):
    with pytest.raises(UserError, match=says):
        MNAD(**{field: value}).validate()
