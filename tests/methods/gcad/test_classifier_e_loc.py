"""GCAD with a classification network as E_loc: what it describes, sees and trains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import doubles

from gcad_jax.core.errors import UserError
from gcad_jax.data.input.device import to_float
from gcad_jax.methods.base import Batch, DetectorState, Learned
from gcad_jax.methods.gcad import GCAD
from gcad_jax.methods.gcad.classifier_e_loc import principal_components
from gcad_jax.methods.gcad.losses import total_loss
from gcad_jax.methods.gcad.scoring import SHRINKAGE, squared_distances, whitenings
from gcad_jax.models.classifiers.descriptors import Describer
from gcad_jax.models.classifiers.levels import concatenate_levels

ARCH = "efficientnet_lite0"
SIDE, STRIDE, G = 32, 4, 3


def made(**fields):
    return GCAD(
        **{
            "image_size": SIDE,
            "epochs": 4,
            "batch_size": 2,
            "E_loc_arch": ARCH,
            "teacher": "imagenet",
            "stride": STRIDE,
            "d_loc": 256,
            "d_glo": 6,
            "g": G,
            "width": 1 / 16,
            "U_widths": (),
            "unet_depth": 2,
            "A_glo_from": "reconstruction",
            "R_glo_start": 1.0,
            "distance": "mahalanobis",
            "inference_batch_size": 3,
            **fields,
        }
    )


@pytest.fixture(scope="module")
def method():
    return made()


@pytest.fixture(scope="module")
def images():
    return doubles.random_images(5, side=SIDE)


@pytest.fixture(scope="module")
def frozen(method, images):
    return method.prepare(images)


@pytest.fixture(scope="module")
def described(method, frozen, images):
    return jax.jit(method.cache)(frozen, to_float(images))


def test_features_have_mean_0_and_deviation_1_and_the_code_is_white(described, images):
    E_loc = np.asarray(described[f"E_loc_{ARCH}"])
    assert E_loc.shape == (5, SIDE // STRIDE, SIDE // STRIDE, 256)
    varies = E_loc.std(axis=(0, 1, 2)) > 0.5  # not one that hardly ever does
    assert varies.sum() > 200
    np.testing.assert_allclose(E_loc.mean(axis=(0, 1, 2)), 0, atol=2e-3)
    np.testing.assert_allclose(E_loc.std(axis=(0, 1, 2))[varies], 1, atol=2e-3)
    code = np.asarray(described[f"code_{ARCH}"], np.float64)
    np.testing.assert_allclose(code.mean(axis=0), 0, atol=1e-3)
    np.testing.assert_allclose(code.T @ code / 5, np.eye(G), atol=1e-3)


def test_the_frozen_part_is_the_network_up_to_its_last_map(frozen, images):
    network = frozen[f"E_loc_{ARCH}"]["network"]
    assert not any(layer.startswith(("stage7", "last", "logits")) for layer in network)
    found = jax.jit(Describer(ARCH, STRIDE))(network, to_float(images))
    assert concatenate_levels(found.levels).shape[1] == SIDE // STRIDE


@pytest.mark.parametrize("count", [1, 2, 4])
def test_of_few_images_the_last_components_are_zeros(count):
    """N images vary in at most N - 1 directions."""
    pooled = np.random.default_rng(0).normal(size=(count, 7))
    parts = principal_components(pooled, 5)
    code = (pooled - np.asarray(parts["pooled_mean"])) @ np.asarray(parts["components"])
    assert code.shape == (count, 5)
    np.testing.assert_allclose(code[:, count - 1 :], 0, atol=1e-5)
    varies = code[:, : count - 1]
    np.testing.assert_allclose(varies.T @ varies / count, np.eye(count - 1), atol=1e-4)


def test_the_networks_see_the_pixels_of_a_place_stacked(method, images):
    x = to_float(images)
    plain = np.asarray(made(E_loc_arch="student_teacher", stride=1).seen(x))
    stacked = np.asarray(method.seen(x)).reshape(5, 8, 8, STRIDE, STRIDE, 3)
    for row in (0, 5):
        for column in (0, 7):
            place = plain[:, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
            np.testing.assert_array_equal(stacked[:, row, column], place)


def test_a_schedule_without_R_glo_trains_and_keeps_none(method):
    (phase,) = method.phases(3)
    assert phase.num_steps == 12
    names = {f"{net}_{ARCH}" for net in ("E_glo", "U", "R_loc")}
    assert set(jax.eval_shape(method.init, jax.random.key(0)).params) == names
    assert set(method.optimizers()) == names
    with_R_glo = made(A_glo_from="regression", R_glo_start=0.25)
    assert f"R_glo_{ARCH}" in with_R_glo.optimizers()
    with pytest.raises(UserError, match="no epoch is left to train R_glo"):
        made(A_glo_from="regression").validate()


def test_an_update_is_the_same_of_features_that_were_kept(
    method, frozen, described, images
):
    learned = jax.jit(method.init)(jax.random.key(1))
    x = to_float(images)
    loss = jax.jit(lambda cached: total_loss(method, learned.params, cached, x, None))
    kept = loss(method.cached_or_computed(frozen, Batch(x, described)))
    again = loss(method.cached_or_computed(frozen, Batch(x)))
    np.testing.assert_allclose(kept[0], again[0], rtol=1e-4)
    assert set(kept[1]) == {f"L_kd_{ARCH}", f"L_loc_{ARCH}"}


def test_whitened_distances_are_those_of_mahalanobis():
    draw = np.random.default_rng(0)
    mixing = draw.normal(size=(4, 4))
    batches = [
        {"A": jnp.asarray(draw.normal(size=(n, 3, 2, 4)) @ mixing, jnp.float32)}
        for n in (5, 2)
    ]
    W = whitenings(batches)["A"]
    rows = np.concatenate([np.asarray(b["A"]).reshape(-1, 4) for b in batches])
    moments = rows.T @ rows / len(rows)
    covariance = moments + SHRINKAGE * np.trace(moments) / 4 * np.eye(4)
    x = batches[0]["A"]
    expected = np.einsum("bhwi,ij,bhwj->bhw", x, np.linalg.inv(covariance), x)
    found = squared_distances(x, W, (3, 2))
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    plain = squared_distances(x, None, (3, 2))
    np.testing.assert_allclose(plain, np.square(x).sum(-1), rtol=1e-5)
    assert squared_distances(x, W, (12, 8)).shape == (5, 12, 8)
    np.testing.assert_allclose(  # what is predicted exactly has no directions
        squared_distances(x * 0, whitenings([{"A": x * 0}])["A"], (3, 2)), 0
    )
    with pytest.raises(ValueError, match="at least one batch"):
        whitenings([])


def test_the_metric_is_part_of_the_calibration(method, frozen, images):
    learned = Learned(jax.jit(method.init)(jax.random.key(0)).params, {})
    calibration = method.calibrate(frozen, learned, images)
    assert set(calibration) == {f"A_loc_{ARCH}", f"A_glo_{ARCH}"}
    for of_branch in calibration.values():
        assert of_branch["whitening"].shape == (256, 256)
    detector = DetectorState(frozen, learned, calibration)
    for values in jax.jit(method.branch_maps)(detector, to_float(images)).values():
        assert values.shape == (5, SIDE, SIDE)
        np.testing.assert_allclose(np.mean(values), 0, atol=1e-2)
        np.testing.assert_allclose(np.std(values), 1, atol=1e-2)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"stride": 1}, "set stride to one of these"),
        ({"d_loc": 128}, "has 256 features: set d_loc to that"),
        ({"teacher": "shipped"}, "set teacher to 'imagenet'"),
        ({"teacher": "nowhere.npz"}, "there is no such file"),
        ({"E_loc_arch": "resnet18", "d_loc": 448}, "come with|at hand for"),
        ({"unet_depth": 5}, "must be a multiple of 64"),
    ],
)
def test_fields_that_do_not_go_together_are_named(fields, says):
    with pytest.raises(UserError, match=says):
        made(**fields).validate()


def test_the_report_says_which_network_and_what_differs(method):
    weights, settings = method.describe()
    assert f"E_loc: {ARCH}, weights from ImageNet" in weights
    assert "distance mahalanobis" in settings
