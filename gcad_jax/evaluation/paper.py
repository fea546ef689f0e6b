"""Results that the paper prints, to stand beside ours.

Source: "Beyond Dents and Scratches", IJCV 2022, Tables 3, 5, 6, 7 (MVTec LOCO AD) and
8, 9 (MVTec AD). `PUBLISHED[dataset][method]`; a method that is not here has no row.
"""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Published:
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

PUBLISHED = {
    "mvtec_loco_ad": {
        "GCAD": Published(
            by_category={
                "breakfast_box": 0.502,
                "screw_bag": 0.558,
                "pushpins": 0.739,
                "splicing_connectors": 0.798,
                "juice_bottle": 0.910,
            },
            auspro=(0.692, 0.711, 0.701),
            auroc=(0.806, 0.860, 0.833),
            by_limit={
                "0.01": 0.462,
                "0.05": 0.701,
                "0.1": 0.787,
                "0.3": 0.891,
                "1.0": 0.962,
            },
            tables=("Table 3", "Table 5", "Table 6", "Table 7"),
        )
    },
    "mvtec_ad": {
        "GCAD": Published(
            by_category={},
            auspro=(0.716, 0.863, 0.789),
            auroc=(0.871, 0.991, 0.931),
            by_limit={},
            tables=("", "Table 8", "Table 9", ""),
        )
    },
}
