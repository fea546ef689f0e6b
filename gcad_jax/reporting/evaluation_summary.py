"""What the evaluation of maps prints of one category, as text of 80 columns."""

from gcad_jax.data.dataset import GOOD
from gcad_jax.evaluation.results import ANOMALOUS, KIND_OR_MEAN, LIMITS, CategoryResult
from gcad_jax.reporting.tables import NONE, short


def count_sentence(result: CategoryResult) -> str:
    """'pushpins: 138 good, 81 structural and 91 logical test images.'"""
    good, *others = (
        f"{result.count(kind)} {short(kind)}" for kind in (GOOD, *ANOMALOUS)
    )
    return f"{result.name}: {good}, {' and '.join(others)} test images."


def scores_table(result: CategoryResult) -> str:
    """AU-sPRO by kind and limit, and the AU-ROC, of the first seed."""
    scores = result.combined[0]
    head = f"{'':<12}{'AU-sPRO up to the false positive rate':<45}{'AU-ROC':>9}"
    rows = [head, f"{'':<12}" + "".join(f"{limit:>9}" for limit in LIMITS)]
    for kind in KIND_OR_MEAN:
        values = [scores.auspro[kind][limit] for limit in LIMITS]
        cells = [
            f"{NONE if value is None else f'{value:.4f}':>9}"
            for value in (*values, scores.auroc[kind])
        ]
        rows.append(f"{short(kind):<12}{''.join(cells)}")
    return "\n".join(rows)


def remarks(result: CategoryResult) -> list[str]:
    """A sentence for each reason why a number is null, and one on the bound."""
    scores = result.combined[0]
    sentences = []
    for kind in (GOOD, *ANOMALOUS):
        if not result.count(kind):
            lost = "every AU-ROC is" if kind == GOOD else "its values and the mean are"
            sentences.append(f"There are no {short(kind)} images: {lost} null.")
        elif kind != GOOD and scores.auspro[kind][LIMITS[0]] is None:
            sentences.append(
                f"No pixel is free of {short(kind)} defects, so there are no false "
                "positives: its AU-sPRO and the mean are null."
            )
    if not scores.exact:
        bound = max(scores.bounds.values(), default=0.0)
        sentences.append(f"AU-sPRO is at most {bound:.1e} from its exact value.")
    return sentences
