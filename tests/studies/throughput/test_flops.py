"""Operations that a compiler counts off the traced program against a count by hand.

By hand: of the paper's networks on an image of 256 x 256 pixels, layer by layer, two
operations a multiply-add.
"""

import jax
import jax.numpy as jnp
import pytest

from gcad_jax.data.input.augment import Augmentation
from gcad_jax.methods.base import DetectorState
from gcad_jax.methods.gcad import GCAD
from gcad_jax.training.compilation import traced_flops, traced_flops_of
from gcad_jax.training.state import placeholder_states
from gcad_jax.training.step import Resources

# 10^9 multiply-adds forward: E_loc in the phase form, and the networks of each p.
E_LOC = {17: 201.914, 33: 115.459, 65: 175.226}
R_LOC, R_GLO, E_GLO, U = 48.700, 48.205, 0.388, 1.653


def count_by_hand(P):
    """Operations of an image in training and in inference.

    Training: E_loc once, the trained networks three times (joint phase). Inference: all
    networks but U once.
    """
    frozen = sum(E_LOC[p] for p in P)
    scored = len(P) * (R_LOC + R_GLO + E_GLO)
    trained = scored + len(P) * U
    return 2e9 * (frozen + 3 * trained), 2e9 * (frozen + scored)


def test_the_count_by_hand_is_that_of_the_results_page():
    assert count_by_hand((17, 33)) == pytest.approx((1822e9, 1024e9), rel=1e-3)
    assert count_by_hand((17,)) == pytest.approx((997.5e9, 598.4e9), rel=1e-3)


@pytest.mark.parametrize("P", [(17, 33), (17,), (65,)], ids=str)
def test_the_traced_count_is_that_by_hand(P):
    """Within 2 %: the traced program has no operations for the padding at borders."""
    method = GCAD(P=P)
    small = jnp.zeros((1, 8, 8, 3))
    frozen = {
        f"E_loc_{p}": jax.eval_shape(method.E_loc(p).init, jax.random.key(0), small)[
            "params"
        ]
        for p in P
    }
    states = jax.eval_shape(lambda: placeholder_states(method, 1))
    images = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.uint8)
    phase = max(method.phases(100), key=lambda phase: phase.num_steps)
    training = traced_flops(
        phase, Augmentation(), states, Resources(frozen, images, None)
    )
    learned = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), states.learned
    )
    names = [f"{branch}_{p}" for branch in method.branches for p in P]
    calibration = {name: {"mu": jnp.zeros(()), "sigma": jnp.ones(())} for name in names}
    inference = traced_flops_of(
        method.anomaly_map,
        DetectorState(frozen, learned, calibration),
        jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32),
    )
    by_hand = count_by_hand(P)
    assert (training, inference) == pytest.approx(by_hand, rel=0.02)
