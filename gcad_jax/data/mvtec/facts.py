"""Facts about the two MVTec data sets: published counts, flips, logical anomalies.

"[P Table n]" is Bergmann et al., "Beyond Dents and Scratches", IJCV 2022; the counts of
MVTec AD are those of Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021.
"""

import dataclasses

from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL


@dataclasses.dataclass(frozen=True)
class DatasetFacts:
    """Numbers of images of one category, their size in pixels, and which flips leave a
    good image good [P Tables 2, 10].
    """

    train: int
    validation: int
    good: int
    structural: int
    logical: int
    height: int
    width: int
    vertical_flip: bool
    horizontal_flip: bool

    @property
    def counts(self) -> dict[str, int]:
        """Images of train, validation and each kind of test image."""
        return {
            "train": self.train,
            "validation": self.validation,
            f"test {GOOD}": self.good,
            f"test {STRUCTURAL}": self.structural,
            f"test {LOGICAL}": self.logical,
        }


# [P Table 1]
LOCO = {
    "breakfast_box": DatasetFacts(351, 62, 102, 90, 83, 1280, 1600, False, False),
    "juice_bottle": DatasetFacts(335, 54, 94, 94, 142, 1600, 800, False, False),
    "pushpins": DatasetFacts(372, 69, 138, 81, 91, 1000, 1700, True, True),
    "screw_bag": DatasetFacts(360, 60, 122, 82, 137, 1100, 1600, True, True),
    "splicing_connectors": DatasetFacts(354, 59, 119, 85, 108, 850, 1700, True, True),
}

# MVTec AD has no validation images; its kinds are those of `AD_LOGICAL`.
AD = {
    "bottle": DatasetFacts(209, 0, 20, 63, 0, 900, 900, True, True),
    "cable": DatasetFacts(224, 0, 58, 77, 15, 1024, 1024, False, False),
    "capsule": DatasetFacts(219, 0, 23, 107, 2, 1000, 1000, False, False),
    "carpet": DatasetFacts(280, 0, 28, 89, 0, 1024, 1024, True, True),
    "grid": DatasetFacts(264, 0, 21, 57, 0, 1024, 1024, True, True),
    "hazelnut": DatasetFacts(391, 0, 40, 70, 0, 1024, 1024, True, True),
    "leather": DatasetFacts(245, 0, 32, 92, 0, 1024, 1024, True, True),
    "metal_nut": DatasetFacts(220, 0, 22, 93, 0, 700, 700, False, False),
    "pill": DatasetFacts(267, 0, 26, 141, 0, 800, 800, False, False),
    "screw": DatasetFacts(320, 0, 41, 119, 0, 1024, 1024, True, True),
    "tile": DatasetFacts(230, 0, 33, 84, 0, 840, 840, True, True),
    "toothbrush": DatasetFacts(60, 0, 12, 30, 0, 1024, 1024, False, True),
    "transistor": DatasetFacts(213, 0, 60, 20, 20, 1024, 1024, False, True),
    "wood": DatasetFacts(247, 0, 19, 60, 0, 1024, 1024, True, True),
    "zipper": DatasetFacts(240, 0, 32, 119, 0, 1024, 1024, True, True),
}

# Defects of MVTec AD that are logical, and of which images (None: all) [P Table 4].
AD_LOGICAL: dict[str, dict[str, tuple[int, ...] | None]] = {
    "cable": {"cable_swap": None, "combined": (5, 7, 9)},
    "capsule": {"faulty_imprint": (4, 5)},
    "transistor": {"cut_lead": None, "misplaced": None},
}


def ad_kind(category: str, defect: str, stem: str) -> str:
    """Kind of a test image of MVTec AD, `test/<defect>/<stem>.png` [P Table 4]."""
    if defect == GOOD:
        return GOOD
    numbers = AD_LOGICAL.get(category, {}).get(defect, ())
    logical = numbers is None or (stem.isdigit() and int(stem) in numbers)
    return LOGICAL if logical else STRUCTURAL
