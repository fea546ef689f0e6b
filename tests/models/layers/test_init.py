import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gcad_jax.models.layers.init import scaled, torch_default


@pytest.mark.parametrize(
    ("width", "factor", "expected"),
    [(128, 1.0, 128), (256, 0.125, 32), (64, 0.3, 19), (32, 0.01, 4), (10, 2.0, 20)],
)
def test_scaled_widths_are_rounded_and_at_least_four(width, factor, expected):
    assert scaled(width, factor) == expected


def test_torch_default_is_uniform_within_one_over_root_fan_in():
    values = np.asarray(torch_default(25)(jax.random.key(3), (500, 400)))
    assert values.dtype == np.float32
    assert values.min() >= -0.2
    assert values.max() <= 0.2
    # A uniform of half-width a has mean 0 +- a / sqrt(3 n) and deviation a / sqrt(3).
    assert abs(values.mean()) < 4 * 0.2 / np.sqrt(3 * values.size)
    np.testing.assert_allclose(values.std(), 0.2 / np.sqrt(3), rtol=0.01)
    counts = np.histogram(values, bins=100, range=(-0.2, 0.2))[0]
    chi_squared = np.sum((counts - 2000) ** 2 / 2000)
    assert 50 < chi_squared < 160  # 99 degrees of freedom; 1e-4 beyond either end


def test_values_of_different_keys_and_neighbors_are_uncorrelated():
    keys = jax.random.split(jax.random.key(0), 8)
    draws = np.stack([torch_default(1)(key, (20000,)) for key in keys])
    shifted = [np.roll(draws[0], shift) for shift in (1, 2, 7, 64)]
    correlations = np.corrcoef(np.concatenate([draws, shifted]))
    off_diagonal = correlations[~np.eye(len(correlations), dtype=bool)]
    assert np.abs(off_diagonal).max() < 5 / np.sqrt(20000)


def test_values_are_the_same_under_jit_and_vmap():
    keys = jax.random.split(jax.random.key(1), 3)
    init = torch_default(9)
    eager = jnp.stack([init(key, (3, 5)) for key in keys])
    np.testing.assert_array_equal(jax.vmap(lambda k: init(k, (3, 5)))(keys), eager)
    np.testing.assert_array_equal(jax.jit(lambda k: init(k, (3, 5)))(keys[0]), eager[0])
    assert len(np.unique(eager)) == eager.size
