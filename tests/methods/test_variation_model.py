"""The Variation Model against NumPy, and registration against known poses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from gcad_jax.core.errors import UserError
from gcad_jax.methods.base import DetectorState, Learned
from gcad_jax.methods.common import registration
from gcad_jax.methods.common.registration import Pose
from gcad_jax.methods.variation_model import VariationModel, nearest_to_median

SIDE = 48


def scene(seed=0):
    """Smooth blobs on a dark ground; (S, S, 3) in [0, 1]."""
    draw = np.random.default_rng(seed)
    image = np.zeros((SIDE, SIDE, 3))
    y, x = np.mgrid[:SIDE, :SIDE]
    for _ in range(8):
        at = draw.uniform(12, SIDE - 12, 2)
        blob = np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 12)
        image += blob[..., None] * draw.uniform(0.3, 1, 3)
    return np.clip(image, 0, 1)


def moved(image, degrees, shift):
    """Content turned counter-clockwise as displayed, then moved (rows, columns)."""
    turned = ndimage.rotate(image, degrees, axes=(1, 0), reshape=False, order=1)
    return ndimage.shift(turned, (*shift, 0), order=1, mode="nearest")


def detector(model, images):
    return DetectorState(model.prepare(images), Learned({}, {}), {})


def test_mean_and_deviation_are_those_of_each_pixel():
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (11, SIDE, SIDE, 3), dtype=np.uint8)
    images[:, 0, 0] = 250  # never changes
    model = VariationModel(image_size=SIDE, inference_batch_size=4)
    tests = draw.integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    mean = images.mean(axis=0)
    std = np.sqrt(images.var(axis=0) + 1 / 12)
    expected = np.mean(np.abs(tests - mean) / std, axis=-1)
    found = model.anomaly_map(
        detector(model, images), jnp.asarray(tests / 255.0, jnp.float32)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    # One gray level from a pixel that never changed: the root of 12 deviations.
    changed = tests[:1].copy()
    changed[0, 0, 0] = 251
    found = model.anomaly_map(
        detector(model, images), jnp.asarray(changed / 255.0, jnp.float32)
    )
    assert float(found[0, 0, 0]) == pytest.approx(np.sqrt(12), rel=1e-3)


@pytest.mark.parametrize(
    ("degrees", "shift"), [(0, (0, 0)), (0, (5, -3)), (3, (0, 0)), (-4, (-2, 6))]
)
def test_a_pose_is_found_again(degrees, shift):
    reference = scene()
    image = moved(reference, degrees, shift)
    pose = registration.register(
        jnp.asarray(image, jnp.float32),
        jnp.asarray(reference, jnp.float32),
        jnp.arange(-5.0, 6.0),
    )
    at = registration.coordinates(pose, SIDE, SIDE)
    # The reference read at T(x) is the image.
    again = registration.sample(jnp.asarray(reference, jnp.float32), at)
    inside = np.asarray(registration.inside(at))[..., None]
    assert np.mean(inside) > 0.6
    before = np.mean(np.abs(image - reference))
    after = np.mean(np.abs(np.asarray(again) - image) * inside)
    assert after < (0.3 * before if before else 1e-6), (pose, before, after)
    assert abs(abs(float(pose.degrees)) - abs(degrees)) <= 1


def test_the_inverse_of_a_pose_undoes_it():
    pose = Pose(jnp.float32(7.0), jnp.array([3.0, -5.0]))
    back = registration.inverse(pose)
    there = np.asarray(registration.coordinates(pose, SIDE, SIDE))
    at = np.asarray(registration.coordinates(back, SIDE, SIDE))
    found = np.stack([ndimage.map_coordinates(c, there, order=1) for c in at])
    own = np.mgrid[:SIDE, :SIDE]
    inside = np.asarray(registration.inside(jnp.asarray(there)))
    np.testing.assert_allclose(found[:, inside], own[:, inside], atol=1e-3)


def test_alignment_forgives_a_shift_and_still_sees_a_defect():
    reference = scene()
    draw = np.random.default_rng(3)
    shifts = [(0, 0), (2, 1), (-2, 3), (1, -3), (3, 2), (0, -1)]
    good = np.stack([moved(reference, 0, s) for s in shifts])
    good = np.clip(good * 255 + draw.normal(0, 2, good.shape), 0, 255).astype(np.uint8)
    test = moved(reference, 0, (-3, -2))
    defect = test.copy()
    defect[20:26, 20:26] = 1 - defect[20:26, 20:26]
    x = jnp.asarray(np.stack([test, defect]), jnp.float32)
    maps = {}
    for alignment in ("none", "rigid"):
        model = VariationModel(image_size=SIDE, alignment=alignment)
        maps[alignment] = np.asarray(model.anomaly_map(detector(model, good), x))
    aligned = maps["rigid"]
    # The defect's pixels, where they are in the test image, stand out.
    inner = aligned[1, 21:25, 21:25].min()
    outside = aligned[1].copy()
    outside[17:29, 17:29] = 0
    assert inner > 3 * np.quantile(outside, 0.99)
    assert aligned[0].mean() < maps["none"][0].mean()


def test_pixels_outside_the_overlap_score_nothing():
    reference = scene()
    good = (np.stack([reference] * 3) * 255).astype(np.uint8)
    model = VariationModel(image_size=SIDE, alignment="rigid", degrees=(0.0, 1.0))
    test = moved(reference, 0, (0, 7)) + 0.5
    maps = model.anomaly_map(
        detector(model, good), jnp.asarray(test[None], jnp.float32)
    )
    assert np.all(np.asarray(maps)[0, :, :7] == 0)
    assert np.all(np.asarray(maps)[0, :, 8:] > 0)


def test_the_reference_is_a_training_image():
    images = np.zeros((4, 2, 2, 3), np.uint8)
    images[1], images[2], images[3] = 10, 12, 255
    np.testing.assert_array_equal(nearest_to_median(images), images[1])


def test_all_seeds_give_the_same_and_nothing_is_trained():
    model = VariationModel()
    assert model.phases(10) == ()
    assert not jax.tree.leaves(model.init(jax.random.key(0)))


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("image_size", 1, "image_size is 1; it must be 8 or more"),
        ("alignment", "affine", "'none', 'rigid'"),
        ("degrees", (5.0,), "largest angle"),
        ("degrees", (5.0, 0.0), "step between angles"),
        ("variance_floor", 0.0, "above 0"),
    ],
)
def test_a_field_outside_its_range_is_named(field, value, says):
    with pytest.raises(UserError, match=says):
        VariationModel(**{field: value}).validate()
