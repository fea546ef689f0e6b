"""What trainer, evaluator and reports rely on, for every method.

A later method is one more entry of `CASES`.
"""

import dataclasses
import functools
from collections.abc import Mapping

import jax
import numpy as np
import optax
import pytest
from helpers import doubles, small_classifier, worked
from jax import export

from gcad_jax.core.axes import BATCH, SEED
from gcad_jax.core.errors import UserError
from gcad_jax.core.paths import as_path
from gcad_jax.core.types import COMBINED
from gcad_jax.data.input.augment import Augmentation
from gcad_jax.inference import export_check, exported
from gcad_jax.inference.detector import Detector
from gcad_jax.inference.detector_file import DetectorFile, Scale
from gcad_jax.methods.autoencoder import AE
from gcad_jax.methods.base import Batch, DetectorState, Method
from gcad_jax.methods.closed_form import ClosedForm
from gcad_jax.methods.common.apply import all_maps, score_images
from gcad_jax.methods.common.image_score import has_own_score
from gcad_jax.methods.fanogan import FAnoGAN
from gcad_jax.methods.gcad import GCAD
from gcad_jax.methods.mnad import MNAD
from gcad_jax.methods.spade import SPADE
from gcad_jax.methods.student_teacher import StudentTeacher
from gcad_jax.methods.vae import VAE
from gcad_jax.methods.variation_model import VariationModel
from gcad_jax.training.step import VMAP, StepOptions

SEEDS = (0, 7)
SIDE = 32


def plain(method):
    """The method with SGD: Adam would hide a gradient of the wrong scale."""

    @dataclasses.dataclass(eq=False)
    class Plain(type(method)):
        def optimizers(self):
            return {name: optax.sgd(0.01) for name in super().optimizers()}

    return Plain(**vars(method))


@dataclasses.dataclass(frozen=True)
class Case:
    """A method at its smallest, and what its documentation promises.

    branches: names of the maps that are combined.
    wrong: a field and a value that `validate` must refuse.
    plain: the same, or nearly, with optimizers that are linear in the gradient; None
        where nothing is trained.
    moves: of each phase, the networks that its update moves; no other may move.
    still: words in the names of parameters that one update may leave where they were:
        without a gradient because a norm follows or a branch is off, and 0 at first.
    step: at which an update moves all the networks of its phase.
    """

    method: Method
    branches: set[str]
    wrong: tuple[str, object]
    plain: Method | None = None
    moves: Mapping[str, set[str]] = dataclasses.field(default_factory=dict)
    still: tuple[str, ...] = ()
    step: int = 0


def gcad(**fields):
    return GCAD(
        **{
            "image_size": SIDE,
            "epochs": 4,
            "batch_size": 2,
            "P": (17,),
            "d_loc": 4,
            "width": 1 / 16,
            "E_loc_width": 1 / 16,
            "teacher": "random",
            "inference_batch_size": 3,
            "R_glo_start": 0.25,
            "skip_end": 0.25,
            **fields,
        }
    )


ST = StudentTeacher(
    image_size=SIDE,
    epochs=4,
    batch_size=2,
    P=(17, 33),
    students=2,
    d_loc=4,
    E_loc_width=1 / 16,
    teacher="random",
    inference_batch_size=3,
)


def autoencoder(kind, **fields):
    sizes = {"image_size": SIDE, "epochs": 4, "batch_size": 2, "g": 4}
    return kind(**sizes, widths=(4,) * 5, inference_batch_size=3, **fields)


MEMORY = MNAD(
    image_size=SIDE,
    epochs=4,
    batch_size=2,
    items=3,
    width=1 / 64,
    learning_rate=1e-3,
    inference_batch_size=3,
)
GAN = FAnoGAN(
    image_size=SIDE,
    epochs=1,
    batch_size=2,
    samples_per_epoch=40,
    critic_updates=2,
    encoder_updates=20,
    latent=4,
    widths=(4, 4, 4),
    inference_batch_size=3,
)
CLASSIFIER = {
    "E_loc_arch": "efficientnet_lite0",
    "teacher": "imagenet",
    "stride": 4,
    "d_loc": sum(small_classifier.WIDTHS[1:5]),
    "d_glo": 6,
    "g": 3,
    "U_widths": (),
    "unet_depth": 2,
    "A_glo_from": "reconstruction",
    "R_glo_start": 1.0,
    "distance": "mahalanobis",
}
E_NETS = {"E_glo_17", "U_17", "R_loc_17"}
CASES = {
    "GCAD": Case(
        method=gcad(),
        plain=plain(gcad(R_glo_start=0.0, skip_end=0.0)),
        moves={"global encoder, skips fading": E_NETS, "joint": E_NETS | {"R_glo_17"}},
        branches={"A_loc", "A_glo"},
        wrong=("image_size", 100),
    ),
    "GCAD, classification network": Case(
        method=gcad(**CLASSIFIER),
        plain=plain(gcad(**CLASSIFIER)),
        moves={
            "global encoder": {
                f"{net}_efficientnet_lite0" for net in ("E_glo", "U", "R_loc")
            }
        },
        branches={"A_loc", "A_glo"},
        wrong=("stride", 1),
    ),
    "StudentTeacher": Case(
        method=ST,
        plain=plain(ST),
        moves={"students": {f"S_{p}_{i}" for p in (17, 33) for i in (1, 2)}},
        branches={"e", "v"},
        wrong=("students", 1),
    ),
    "AE": Case(
        method=autoencoder(AE, skip_end=0.5),
        plain=plain(autoencoder(AE)),
        moves={"skips fading": {"AE"}, "without skips": {"AE"}},
        still=("skip",),
        branches=set(),
        wrong=("skip_end", 1.5),
    ),
    "VAE": Case(
        method=autoencoder(VAE, skip_end=0.5),
        plain=plain(autoencoder(VAE)),
        moves={"skips fading": {"VAE"}, "without skips": {"VAE"}},
        still=("skip",),
        branches=set(),
        wrong=("kl_weight", -1.0),
    ),
    "MNAD": Case(
        method=MEMORY,
        plain=plain(MEMORY),
        moves={"reconstruction": {"encoder", "decoder"}},
        branches=set(),
        wrong=("items", 1),
    ),
    "FAnoGAN": Case(
        method=GAN,
        plain=plain(GAN),
        moves={"generator": {"G", "D"}, "encoder": {"E"}},
        still=("bias",),
        step=1,
        branches=set(),
        wrong=("image_size", 100),
    ),
    "ClosedForm": Case(
        method=ClosedForm(image_size=SIDE, g=2, K=2, inference_batch_size=3),
        branches={"A_loc", "A_glo"},
        wrong=("K", 0),
    ),
    "SPADE": Case(
        method=SPADE(
            image_size=SIDE,
            weights="random",
            d_loc=8,
            E_loc_width=1 / 16,
            K=2,
            sigma=1,
            inference_batch_size=3,
        ),
        branches=set(),
        wrong=("K", 0),
    ),
    "VariationModel": Case(
        method=VariationModel(
            image_size=SIDE, alignment="rigid", inference_batch_size=3
        ),
        branches=set(),
        wrong=("alignment", "affine"),
    ),
}
# The example of docs/new_method.md is held to them as well.
_names, _entry = worked.case()
CASES |= eval(_entry, {**_names, "Case": Case})


@pytest.fixture(scope="module", autouse=True)
def _small_network():
    with pytest.MonkeyPatch.context() as patch:
        small_classifier.stand_in(patch, "efficientnet_lite0")
        yield


@pytest.fixture(scope="module", params=list(CASES))
def case(request):
    return CASES[request.param]


def long_of(*names):
    """Marks a test as long for these methods: it takes more than about 5 s."""
    cases = [
        pytest.param(name, marks=pytest.mark.long) if name in names else name
        for name in CASES
    ]
    return pytest.mark.parametrize("case", cases, indirect=True, scope="module")


@pytest.fixture(scope="module")
def images(case):
    return doubles.random_images(4, side=SIDE)[..., : case.method.channels]


@pytest.fixture(scope="module")
def frozen(case, images):
    return case.method.prepare(images)


@pytest.fixture(scope="module")
def states(case):
    return doubles.states_of(case.method, [SEEDS[0]])


@pytest.fixture(scope="module")
def state(states):
    return jax.tree.map(lambda x: x[0], states)


@pytest.fixture(scope="module")
def detector(case, frozen, state, images):
    learned = state.learned
    return DetectorState(
        frozen, learned, case.method.calibrate(frozen, learned, images)
    )


@functools.cache
def compiled_maps(method):
    return jax.jit(all_maps(method))


@pytest.fixture(scope="module")
def maps(case, detector, images):
    """Seeds, images, height, width; the last batch is not full."""
    return maps_of(case, detector, images)


def maps_of(case, detector, images):
    return scored(case, detector, images).maps


def scored(case, detector, images):
    return score_images(case.method, compiled_maps(case.method), [detector], images)


def test_a_method_is_hashable_and_its_defaults_are_valid(case):
    assert hash(case.method) == hash(case.method)
    case.method.validate()
    type(case.method)().validate()


def test_a_field_outside_its_range_is_named(case):
    field, value = case.wrong
    with pytest.raises(UserError, match=f"{field} is {value!r}"):
        dataclasses.replace(case.method, **{field: value}).validate()


def test_a_report_can_say_what_ran(case):
    sentences = case.method.describe()
    assert sentences
    assert all(isinstance(s, str) and s.endswith(".") for s in sentences)


def test_every_network_has_an_optimizer(case, state):
    assert set(case.method.optimizers()) == set(state.learned.params)
    assert set(state.opt_state) == set(state.learned.params)


def test_all_that_is_learned_is_float32_and_differs_between_seeds(case, state):
    other = doubles.states_of(case.method, [SEEDS[1]]).learned
    differs = []
    for a, b in zip(
        jax.tree.leaves(state.learned.params),
        jax.tree.leaves(other.params),
        strict=True,
    ):
        assert a.dtype == np.float32
        assert np.all(np.isfinite(a))
        differs.append(np.any(np.asarray(a) != np.asarray(b)[0]))
    assert any(differs) or not case.moves


def test_the_frozen_part_has_no_chance_in_it(case, frozen, images):
    doubles.assert_equal(case.method.prepare(images), frozen)


def test_phases_cover_the_epochs(case):
    phases = case.method.phases(steps_per_epoch=3)
    assert [phase.name for phase in phases] == list(case.moves)
    assert all(phase.num_steps > 0 for phase in phases)


def test_each_phase_moves_its_networks_and_no_other(case, frozen, state, images):
    """One update on one device; a network at rest keeps its optimizer state too."""
    x = jax.numpy.asarray(images[:2] / 255.0, jax.numpy.float32)
    state = state.replace(step=jax.numpy.int32(case.step))
    for phase in case.method.phases(1):
        call = jax.jit(
            jax.vmap(
                phase.update,
                in_axes=(None, None, 0, 0),
                out_axes=None,
                axis_name=BATCH,
            )
        )
        keys = jax.random.split(state.key, 2)
        after, metrics = call(state, frozen, Batch(x[None]), keys[None])
        before, later = doubles.host(state), doubles.host(after)
        for name in before.learned.params:
            moves = name in case.moves[phase.name]
            changed = jax.tree.map(
                lambda b, a: bool(np.any(a != b)),
                before.learned.params[name],
                later.learned.params[name],
            )
            for path, leaf in jax.tree_util.tree_leaves_with_path(changed):
                where = jax.tree_util.keystr(path)
                if not (moves and any(word in where for word in case.still)):
                    assert leaf == moves, (phase.name, name, where)
            assert any(jax.tree.leaves(changed)) == moves
            if not moves:
                doubles.assert_equal(later.opt_state[name], before.opt_state[name])
        assert later.step == before.step + 1
        doubles.assert_equal(later.key, before.key)
        assert metrics
        assert all(m.shape == () and np.isfinite(m) for m in metrics.values())
        # A compiled step takes back what it gave: nothing changes shape or type.
        assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
            lambda x: (x.shape, x.dtype), state
        )


def test_in_bfloat16_all_that_is_kept_stays_float32(
    case, frozen, state, detector, images
):
    """By shapes and types alone: parameters, statistics, losses, maps."""
    if not hasattr(case.method, "precision"):
        pytest.skip("it has no arithmetic of its own")
    method = dataclasses.replace(case.method, precision="bfloat16")
    method.validate()
    x = jax.numpy.asarray(images[:2] / 255.0, jax.numpy.float32)
    keys = jax.random.split(state.key, 2)
    types = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)  # noqa: E731
    for phase in method.phases(1):
        mapped = jax.vmap(
            phase.update,
            in_axes=(None, None, 0, 0),
            out_axes=None,
            axis_name=BATCH,
        )
        after, metrics = jax.eval_shape(
            mapped, state, frozen, Batch(x[None]), keys[None]
        )
        assert types(after) == types(state)
        assert all(m.dtype == np.float32 for m in metrics.values())
    maps = jax.eval_shape(method.anomaly_map, detector, x)
    assert maps.dtype == np.float32


@long_of("GCAD", "AE", "MNAD", "FAnoGAN")
def test_a_seed_alone_on_one_device_equals_it_among_others_on_two(case, frozen, images):
    """Two updates of the last phase of any networks, augmented; the others by vmap.

    On two devices in both layouts: half of each batch, and one seed each.
    """
    if case.plain is None:
        pytest.skip("nothing is trained")
    phases = {frozenset(case.moves[p.name]): p for p in case.plain.phases(1)}
    for phase in phases.values():
        check_seeds_and_devices(case, frozen, images, phase)


def check_seeds_and_devices(case, frozen, images, phase):
    augmentation = Augmentation(horizontal_flip=True)
    rows = np.array([[[0, 1], [2, 3]], [[3, 0], [1, 2]]], np.int32)
    resources = doubles.Resources(frozen, images, None)

    def updates(seeds, places, num_devices, kind=BATCH):
        return doubles.single_calls(
            phase,
            augmentation,
            StepOptions(VMAP),
            num_devices,
            doubles.states_of(case.plain, seeds),
            resources,
            rows[:, places],
            kind,
        )

    alone, losses = updates(SEEDS[1:], [1], 1)
    for kind in (BATCH, SEED):
        among, all_losses = updates(SEEDS, [0, 1], 2, kind)
        doubles.assert_close(alone, jax.tree.map(lambda x: x[1:], among), 1e-5)
        doubles.assert_close(losses, jax.tree.map(lambda x: x[:, 1:], all_losses), 1e-5)


def test_maps_have_a_value_for_each_pixel(case, maps):
    assert set(maps) == {"A"} | case.branches
    for values in maps.values():
        assert values.shape == (1, 4, SIDE, SIDE)
        assert values.dtype == np.float32
        assert np.all(np.isfinite(values))
        assert np.std(values) > 0


def test_maps_of_an_image_do_not_depend_on_its_batch(case, detector, images, maps):
    """The fourth image was in a batch of its own, filled up with copies."""
    reversed_maps = maps_of(case, detector, images[::-1])
    for name, values in maps.items():
        np.testing.assert_allclose(
            reversed_maps[name][:, ::-1], values, rtol=1e-4, atol=1e-4
        )


def test_image_scores_are_the_maximum_of_the_map_unless_they_have_another_name(
    case, detector, images
):
    maps, image_scores = scored(case, detector, images)
    assert image_scores.shape == (1, 4)
    assert image_scores.dtype == np.float32
    assert np.all(np.isfinite(image_scores))
    maxima = maps[COMBINED].max(axis=(2, 3))
    assert np.array_equal(image_scores, maxima) != has_own_score(case.method)
    # Nor do they depend on the images beside them.
    _, reversed_scores = scored(case, detector, images[::-1])
    np.testing.assert_allclose(
        reversed_scores[:, ::-1], image_scores, rtol=1e-4, atol=1e-4
    )


def test_a_detector_is_arrays_that_come_back_from_a_file(
    case, detector, images, maps, tmp_path
):
    leaves, structure = jax.tree.flatten(detector)
    np.savez(tmp_path / "detector.npz", *map(np.asarray, leaves))
    with np.load(tmp_path / "detector.npz") as file:
        restored = structure.unflatten([file[f"arr_{i}"] for i in range(len(leaves))])
    again = maps_of(case, restored, images)
    for name, values in maps.items():
        np.testing.assert_array_equal(again[name], values)


def test_exported_it_says_what_it_says_here(case, detector):
    """Of images that are smaller than the network's, read back from its bytes."""
    scales = {COMBINED: Scale(0.0, tuple(i / 20 for i in range(1, 40)))}
    decided = scales[COMBINED].image_scores if has_own_score(case.method) else None
    size = (SIDE, SIDE)
    stored = DetectorFile(case.method, detector, "set", "nut", 0, scales, size, decided)
    call = export.deserialize(exported.export_detector(stored, 0.1).serialize()).call
    *_, batch = export_check.sample_batches(SIDE, case.method.channels)
    found = export_check.compare_with_predict(call, Detector(stored, 2), [batch])
    assert found.images == 2
    assert found.small, found


def test_as_onnx_it_says_what_it_says_here(case, detector, tmp_path):
    """Three drawn images of two sizes, by ONNX Runtime."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    scale = Scale(0.0, tuple(i / 20 for i in range(1, 40)))
    scales = dict.fromkeys((*case.method.branches, COMBINED), scale)
    decided = scale.image_scores if has_own_score(case.method) else None
    size = (SIDE, SIDE)
    stored = DetectorFile(case.method, detector, "set", "nut", 0, scales, size, decided)
    file = as_path(tmp_path / "nut.onnx")
    _, found = exported.write_export(Detector(stored, 2), file, 0.1, form=exported.ONNX)
    assert found.images == 3
    assert found.small, found


def test_images_need_be_no_squares_or_a_sentence_says_so(case, state):
    """64 x 96 pixels: maps of every branch have that size, exported too."""
    size = (64, 96)
    method = dataclasses.replace(case.method, image_size=size)
    if case.method.square_only:
        with pytest.raises(UserError, match="takes squares alone: give one side"):
            method.validate()
        return
    method.validate()
    assert method.input_size == size
    pixels = np.random.default_rng(0).integers(0, 256, (4, *size, 3), np.uint8)
    pixels = pixels[..., : method.channels]
    frozen = method.prepare(pixels)
    calibration = method.calibrate(frozen, state.learned, pixels)
    detector = DetectorState(frozen, state.learned, calibration)
    found = score_images(method, jax.jit(all_maps(method)), [detector], pixels[:2])
    assert {name: maps.shape for name, maps in found.maps.items()} == dict.fromkeys(
        (*method.branches, COMBINED), (1, 2, *size)
    )
    assert all(np.isfinite(maps).all() for maps in found.maps.values())
    scale = Scale(0.0, tuple(i / 20 for i in range(1, 40)))
    scales = dict.fromkeys((*method.branches, COMBINED), scale)
    own = scale.image_scores if has_own_score(method) else None
    stored = DetectorFile(method, detector, "set", "nut", 0, scales, size, own)
    call = export.deserialize(exported.export_detector(stored, 0.1).serialize()).call
    *_, batch = export_check.sample_batches(size, method.channels)
    parity = export_check.compare_with_predict(call, Detector(stored, 2), [batch])
    assert parity.small, parity


def test_seeds_are_scored_together_as_alone_and_what_they_share_is_computed_once(
    case, frozen, images
):
    detectors = []
    for seed in SEEDS:
        learned = jax.tree.map(
            lambda x: x[0], doubles.states_of(case.method, [seed])
        ).learned
        calibration = case.method.calibrate(frozen, learned, images)
        detectors.append(DetectorState(frozen, learned, calibration))
    compiled = compiled_maps(case.method)
    together = score_images(case.method, compiled, detectors, images).maps
    for i, detector in enumerate(detectors):
        for name, values in maps_of(case, detector, images).items():
            np.testing.assert_allclose(
                together[name][i], values[0], rtol=1e-4, atol=1e-5
            )

    def flops(count):
        seeds = tuple((d.learned, d.calibration) for d in detectors[:count])
        x = jax.numpy.zeros((3, SIDE, SIDE, case.method.channels))
        program = compiled.lower(frozen, seeds, x).compile()
        return program.cost_analysis()["flops"]

    if jax.tree.leaves(frozen):
        assert flops(2) < 1.9 * flops(1)
