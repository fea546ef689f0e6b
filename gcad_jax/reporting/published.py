"""Results that the paper prints, to stand beside ours.

Source: "Beyond Dents and Scratches", IJCV 2022, Tables 3, 5, 6, 7 (MVTec LOCO AD) and
8, 9 (MVTec AD). `PUBLISHED[dataset][method]`, by the title of the method.
"""

import dataclasses
from collections.abc import Mapping

from gcad_jax.evaluation.results import LIMITS


@dataclasses.dataclass(frozen=True)
class PublishedResults:
    """One method on one data set.

    by_category: AU-sPRO at 0.05, mean of both kinds, by category; {} where not printed.
    auspro: AU-sPRO at 0.05, auroc: image AU-ROC; structural, logical, mean.
    by_limit: AU-sPRO, mean of both kinds, by limit; {} where not printed.
    tables: where they are printed, in the order of these fields.
    """

    by_category: Mapping[str, float]
    auspro: tuple[float, float, float]
    auroc: tuple[float, float, float]
    by_limit: Mapping[str, float]
    tables: tuple[str, str, str, str]


CATEGORIES = {
    "mvtec_loco_ad": (
        "breakfast_box",
        "screw_bag",
        "pushpins",
        "splicing_connectors",
        "juice_bottle",
    ),
    "mvtec_ad": (
        *("bottle", "cable", "capsule", "carpet", "grid"),
        *("hazelnut", "leather", "metal_nut", "pill", "screw"),
        *("tile", "toothbrush", "transistor", "wood", "zipper"),
    ),
}

# Method: Table 3 by category as above, Table 5, Table 6 (structural, logical, mean),
# Table 7 by limit.
_LOCO = {
    "Variation Model": (
        (0.168, 0.253, 0.254, 0.125, 0.325),
        (0.124, 0.325, 0.225),
        (0.589, 0.565, 0.577),
        (0.086, 0.225, 0.314, 0.493, 0.740),
    ),
    "f-AnoGAN": (
        (0.223, 0.348, 0.336, 0.195, 0.569),
        (0.209, 0.460, 0.334),
        (0.627, 0.658, 0.642),
        (0.152, 0.334, 0.442, 0.624, 0.827),
    ),
    "MNAD": (
        (0.080, 0.344, 0.357, 0.442, 0.472),
        (0.412, 0.266, 0.339),
        (0.702, 0.600, 0.651),
        (0.176, 0.339, 0.447, 0.643, 0.853),
    ),
    "AE": (
        (0.189, 0.289, 0.327, 0.479, 0.605),
        (0.296, 0.460, 0.378),
        (0.565, 0.581, 0.573),
        (0.166, 0.378, 0.499, 0.699, 0.882),
    ),
    "VAE": (
        (0.165, 0.302, 0.311, 0.496, 0.636),
        (0.305, 0.459, 0.382),
        (0.548, 0.538, 0.543),
        (0.162, 0.382, 0.506, 0.705, 0.884),
    ),
    "SPADE": (
        (0.372, 0.331, 0.234, 0.516, 0.804),
        (0.368, 0.536, 0.451),
        (0.668, 0.709, 0.689),
        (0.225, 0.451, 0.587, 0.790, 0.927),
    ),
    "Student-Teacher": (
        (0.496, 0.602, 0.523, 0.698, 0.811),
        (0.756, 0.497, 0.626),
        (0.883, 0.664, 0.773),
        (0.402, 0.626, 0.717, 0.836, 0.937),
    ),
    "GCAD": (
        (0.502, 0.558, 0.739, 0.798, 0.910),
        (0.692, 0.711, 0.701),
        (0.806, 0.860, 0.833),
        (0.462, 0.701, 0.787, 0.891, 0.962),
    ),
}
# Method: Table 8, Table 9.
_AD = {
    "Variation Model": ((0.240, 0.069, 0.155), (0.690, 0.679, 0.684)),
    "f-AnoGAN": ((0.290, 0.231, 0.261), (0.751, 0.751, 0.751)),
    "MNAD": ((0.294, 0.032, 0.163), (0.709, 0.427, 0.568)),
    "AE": ((0.337, 0.224, 0.281), (0.761, 0.718, 0.740)),
    "VAE": ((0.336, 0.215, 0.276), (0.766, 0.737, 0.751)),
    "SPADE": ((0.632, 0.647, 0.640), (0.898, 0.906, 0.902)),
    "Student-Teacher": ((0.762, 0.417, 0.590), (0.936, 0.747, 0.842)),
    "GCAD": ((0.716, 0.863, 0.789), (0.871, 0.991, 0.931)),
}

PUBLISHED = {
    "mvtec_loco_ad": {
        method: PublishedResults(
            dict(zip(CATEGORIES["mvtec_loco_ad"], categories, strict=True)),
            *(auspro, auroc),
            dict(zip(LIMITS, limits, strict=True)),
            ("Table 3", "Table 5", "Table 6", "Table 7"),
        )
        for method, (categories, auspro, auroc, limits) in _LOCO.items()
    },
    "mvtec_ad": {
        method: PublishedResults({}, *numbers, {}, ("", "Table 8", "Table 9", ""))
        for method, numbers in _AD.items()
    },
}
