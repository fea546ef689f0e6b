"""The image score that decides: the method's own, or the maximum of its map."""

import dataclasses

import jax
import numpy as np
import pytest
from helpers import doubles

from gcad_jax.core.types import COMBINED, MAP_MAXIMUM
from gcad_jax.methods.base import DetectorState
from gcad_jax.methods.common.apply import all_maps, score_images
from gcad_jax.methods.common.hparams import HParams
from gcad_jax.methods.common.image_score import OWN, has_own_score, image_score_name

IMAGES = doubles.random_images(6)


def scored(method, seeds=(0, 1)):
    detectors = []
    for seed in seeds:
        learned = method.init(jax.random.key(seed))
        detectors.append(DetectorState(method.prepare(IMAGES), learned, {}))
    return score_images(method, jax.jit(all_maps(method)), detectors, IMAGES)


def test_a_method_that_says_nothing_has_the_maximum_of_each_map():
    method = doubles.Scored()  # as methods of version 0.1.0
    assert not hasattr(method, "image_scores")
    maps, image_scores = scored(method)
    assert image_scores.shape == (2, 6)
    np.testing.assert_array_equal(image_scores, maps[COMBINED].max(axis=(2, 3)))
    assert image_score_name(method) == MAP_MAXIMUM
    assert not has_own_score(method)


@pytest.mark.parametrize("batch_size", [1, 4, 6])
def test_a_score_of_its_own_is_that_of_each_image(batch_size):
    method = doubles.Judged(inference_batch_size=batch_size)
    maps, image_scores = scored(method)
    expected = np.tile(doubles.darkness(IMAGES), (2, 1))
    np.testing.assert_allclose(image_scores, expected, rtol=1e-5)
    # Its maps are those of the method without: a score changes nothing about them.
    without = scored(doubles.Scored(inference_batch_size=batch_size)).maps[COMBINED]
    np.testing.assert_allclose(maps[COMBINED], without, rtol=1e-4)
    assert image_score_name(method) == doubles.DARKNESS
    assert has_own_score(method)


def test_shared_hyper_parameters_have_the_maximum_and_know_when_it_is_another():
    @dataclasses.dataclass(eq=False)
    class Unnamed(HParams):
        def image_scores(self, detector, images, combined):
            return images.mean(axis=(1, 2, 3))

    assert image_score_name(HParams()) == MAP_MAXIMUM
    combined = np.random.default_rng(0).normal(size=(3, 4, 5))
    scores = HParams().image_scores(None, None, combined)
    np.testing.assert_allclose(scores, combined.max(axis=(1, 2)), rtol=1e-6)
    assert image_score_name(Unnamed()) == OWN


def test_what_maps_and_score_share_is_computed_once():
    """A product that both need: the program has as many operations with the score."""

    class Costly(doubles.Scored):
        def anomaly_map(self, detector, images):
            return self.features(images)[..., None]

        def features(self, images):
            x = images.reshape(images.shape[0], -1)
            return x @ np.ones((x.shape[-1], 4096), np.float32)

    class CostlyJudged(Costly):
        image_score_name = doubles.DARKNESS

        def image_scores(self, detector, images, combined):
            return -self.features(images).min(axis=-1)

    def flops(method):
        seeds = ((method.init(jax.random.key(0)), {}),)
        lowered = jax.jit(all_maps(method)).lower({}, seeds, IMAGES / np.float32(255))
        return lowered.compile().cost_analysis()["flops"]

    assert flops(CostlyJudged()) < 1.2 * flops(Costly())
