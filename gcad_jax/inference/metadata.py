"""What a detector is and what its decision means, for files and for people."""

from typing import Any

from gcad_jax.core.types import COMBINED, MAP_MAXIMUM
from gcad_jax.core.version import __version__
from gcad_jax.evaluation.threshold import (
    achievable_fpr,
    min_validation_images,
    threshold,
)
from gcad_jax.inference.detector_file import DetectorFile


def as_json(stored: DetectorFile, fpr: float) -> dict[str, Any]:
    """For the JSON beside results. fpr: false positive rate that sets the threshold.

    "threshold" is that of the image score, which decides; pixels are marked above
    "map_threshold". Where the score is the maximum of the map they are one.

    Raises UserError for a rate outside 0 to 1.
    """
    validation = stored.validation_scores
    return {
        "gcad_jax": __version__,
        "method": stored.method.title,
        "dataset": stored.dataset,
        "category": stored.category,
        "seed": stored.seed,
        "image_size": stored.image_size,
        "image_score": stored.image_score_name,
        "threshold": threshold(validation, fpr),
        "map_threshold": threshold(stored.scales[COMBINED].image_scores, fpr),
        "false_positive_rate": fpr,
        "promised_false_positive_rate": achievable_fpr(len(validation), fpr),
        "validation_images": len(validation),
    }


def as_text(stored: DetectorFile, fpr: float) -> str:
    """The same for a terminal of 80 columns; raises as `as_json` does."""
    facts = as_json(stored, fpr)
    count, limit = facts["validation_images"], facts["threshold"]
    images = f"{count} validation image{'s' * (count != 1)}"
    trained = f"{facts['method']} of {facts['category']}, seed {facts['seed']}"
    asked, kept = 100 * fpr, 100 * facts["promised_false_positive_rate"]
    decision = (
        f": on average {asked:.3g} % of good images or less\n"
        f"            score higher, by {images}"
    )
    if kept > asked:
        decision = (
            f", the highest of {images}, which promise a false\n"
            f"            positive rate of {kept:.3g} %, not {asked:.3g} %: that "
            f"needs {min_validation_images(fpr)}"
        )
    lines = [f"detector    {trained}", f"threshold   {limit:.4g}{decision}"]
    if facts["image_score"] != MAP_MAXIMUM:
        name, of_map = facts["image_score"], facts["map_threshold"]
        lines.append(f"decided by  {name}; pixels are marked above {of_map:.4g}")
    return "\n".join(lines)
