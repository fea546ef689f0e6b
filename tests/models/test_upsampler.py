import jax
import jax.numpy as jnp
import numpy as np
from helpers.numpy_nets import leaky_relu

from gcad_jax.models.upsampler import Upsampler


def test_parameter_count_at_the_paper_size():
    shapes = jax.eval_shape(
        Upsampler().init, jax.random.key(0), jnp.zeros((1, 4, 4, 10))
    )
    assert sum(x.size for x in jax.tree.leaves(shapes)) == 25_536


def test_is_three_matrix_products_at_each_pixel():
    net = Upsampler(d_loc=7, widths=(5, 6), slope=0.1)
    x = np.random.default_rng(0).normal(size=(2, 3, 4, 10)).astype(np.float32)
    variables = jax.jit(net.init)(jax.random.key(0), x)
    layers = jax.tree.map(np.asarray, variables["params"])
    y = x
    for name in ("conv1", "conv2"):
        y = leaky_relu(y @ layers[name]["kernel"] + layers[name]["bias"], 0.1)
    y = y @ layers["conv3"]["kernel"] + layers["conv3"]["bias"]
    np.testing.assert_allclose(
        jax.jit(net.apply)(variables, x), y, rtol=1e-5, atol=1e-6
    )


def test_initial_values_are_within_one_over_root_fan_in():
    params = jax.jit(Upsampler().init)(jax.random.key(0), jnp.zeros((1, 1, 1, 10)))
    params = params["params"]
    for name, fan_in in (("conv1", 10), ("conv2", 64), ("conv3", 128)):
        for values in params[name].values():
            largest = np.abs(values).max()
            assert 0.9 * fan_in**-0.5 < largest <= fan_in**-0.5


def test_bfloat16_keeps_float32_parameters():
    net = Upsampler(dtype=jnp.bfloat16)
    variables = jax.jit(net.init)(jax.random.key(0), jnp.ones((1, 2, 2, 10)))
    assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert net.apply(variables, jnp.ones((1, 2, 2, 10))).dtype == jnp.bfloat16
