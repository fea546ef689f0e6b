"""bfloat16 against float32, from made-up numbers, by hand."""

import dataclasses

import pytest
from helpers import made_results
from helpers.made_results import scores
from scipy import stats

from gcad_jax.studies.grid.precision import (
    READING,
    T_975,
    Precisions,
    difference,
)
from gcad_jax.studies.grid.results import FinishedRun


def run(precision, seeds, numbers=None):
    result = made_results.result("circles", seeds, "circles")
    if numbers:
        result = dataclasses.replace(result, seeds=numbers)
    return FinishedRun(f"GCAD, {precision}", (result,))


def both(first, second, numbers=None):
    return {
        "float32": run("float32", first, numbers),
        "bfloat16": run("bfloat16", second, numbers),
    }


# Differences: structural +.01, +.03, -.01; logical -.03, -.04, -.02; mean -.01, -.005,
# -.015. Every deviation of float32 is .02.
FIRST = [scores(0.80, 0.50), scores(0.82, 0.52), scores(0.84, 0.54)]
SECOND = [scores(0.81, 0.47), scores(0.85, 0.48), scores(0.83, 0.52)]


def rows(parts, title):
    return parts[parts.index(f"### {title}") + 1].splitlines()[2:]


def test_a_score_that_decides_is_compared_too():
    sides = [
        [made_results.with_method_scores(s, x, x) for s in seeds]
        for seeds, x in ((FIRST, 0.9), (SECOND, 0.7))
    ]
    runs = both(*sides)
    runs = {
        name: FinishedRun(found.title, tuple(map(made_results.decided, found.results)))
        for name, found in runs.items()
    }
    parts = Precisions().sections("circles", runs)
    found = rows(parts, "Image AU-ROC of the score that decides")
    assert found[2] == "| difference of the means | -0.2000 | -0.2000 | -0.2000 |"
    assert "score that decides" not in "".join(
        Precisions().sections("circles", both(FIRST, SECOND))
    )


def test_every_row_by_hand():
    parts = Precisions().sections("circles", both(FIRST, SECOND, (7, 3, 5)))
    assert parts[0] == "## circles"
    # Standard errors: .02, .01 and .005 over the root of 3; t of 2 degrees is 4.303.
    assert rows(parts, "AU-sPRO at 0.05") == [
        "| GCAD, float32 | 0.820 ± 0.020 | 0.520 ± 0.020 | 0.670 ± 0.020 |",
        "| GCAD, bfloat16 | 0.830 ± 0.020 | 0.490 ± 0.026 | 0.660 ± 0.018 |",
        "| difference of the means | +0.0100 | -0.0300 | -0.0100 |",
        "| spread: deviation of float32 | 0.0200 | 0.0200 | 0.0200 |",
        "| within the spread | yes | no | yes |",
        "| difference of seed 7 | +0.0100 | -0.0300 | -0.0100 |",
        "| difference of seed 3 | +0.0300 | -0.0400 | -0.0050 |",
        "| difference of seed 5 | -0.0100 | -0.0200 | -0.0150 |",
        "| mean of the pairs ± standard error "
        "| +0.0100 ± 0.0115 | -0.0300 ± 0.0058 | -0.0100 ± 0.0029 |",
        "| 95 % interval of it "
        "| -0.0397 to +0.0597 | -0.0548 to -0.0052 | -0.0224 to +0.0024 |",
    ]
    # All AU-ROCs are 0.5: no spread, but no difference either.
    assert rows(parts, "Image AU-ROC")[2:5] == [
        "| difference of the means | +0.0000 | +0.0000 | +0.0000 |",
        "| spread: deviation of float32 | 0.0000 | 0.0000 | 0.0000 |",
        "| within the spread | yes | yes | yes |",
    ]
    assert parts[1] == (
        "**5 of 6 differences lie within the spread of the seeds. Outside: "
        "AU-sPRO at 0.05 logical (-0.0300).** The pairs show a difference in "
        "AU-sPRO at 0.05 logical (-0.0300)."
    )


def test_all_within_is_said():
    parts = Precisions().sections("circles", both(FIRST, FIRST))
    assert parts[1] == (
        "**All 6 differences lie within the spread of the seeds.** The pairs show a "
        "difference in none."
    )


def test_the_spread_is_that_of_float32():
    narrow, wide = {0: 0.50, 1: 0.51}, {0: 0.40, 1: 0.70}  # both means differ by .045
    assert difference(narrow, wide).within is False
    assert difference(wide, narrow).within is True


@pytest.mark.parametrize(("moved", "within"), [(0.2, True), (0.2001, False)])
def test_a_difference_as_large_as_the_spread_is_within(moved, within):
    first = {0: 0.1, 1: 0.3, 2: 0.5}  # deviates by .2
    for sign in (1, -1):
        second = {seed: value + sign * moved for seed, value in first.items()}
        assert difference(first, second).within is within


def test_seeds_pair_up_by_their_numbers():
    found = difference({0: 0.1, 1: 0.2, 2: 0.6}, {2: 0.5, 1: 0.3, 9: 0.1})
    assert found.by_seed == {1: pytest.approx(0.1), 2: pytest.approx(-0.1)}
    assert found.of_means == pytest.approx(0.0)
    assert found.paired == pytest.approx(0.0)
    assert found.standard_error == pytest.approx(0.1)
    assert difference({0: 0.1}, {1: 0.2}).paired is None


def test_one_seed_has_no_spread():
    parts = Precisions().sections("circles", both(FIRST[:1], SECOND[:1]))
    assert parts[1] == (
        "**float32 has one seed and so no spread: whether the differences lie within "
        "it cannot be said.**"
    )
    assert rows(parts, "AU-sPRO at 0.05") == [
        "| GCAD, float32 | 0.800 | 0.500 | 0.650 |",
        "| GCAD, bfloat16 | 0.810 | 0.470 | 0.640 |",
        "| difference of the means | +0.0100 | -0.0300 | -0.0100 |",
        "| spread: deviation of float32 | - | - | - |",
        "| within the spread | - | - | - |",
        "| difference of seed 0 | +0.0100 | -0.0300 | -0.0100 |",
        "| mean of the pairs ± standard error | +0.0100 | -0.0300 | -0.0100 |",
        "| 95 % interval of it | - | - | - |",
    ]


def test_a_kind_that_lacks_is_left_out():
    first, second = [scores(0.5, None), scores(0.6, None)], [scores(0.8, None)] * 2
    parts = Precisions().sections("mvtec_ad", both(first, second))
    assert "| within the spread | no | - | - |" in rows(parts, "AU-sPRO at 0.05")
    assert parts[1].startswith("**3 of 4 differences lie within")
    assert "Outside: AU-sPRO at 0.05 structural (+0.2500)." in parts[1]


@pytest.mark.parametrize("there", ["float32", "bfloat16"])
def test_one_run_alone_is_shown_and_not_compared(there):
    runs = {there: both(FIRST, SECOND)[there]}
    parts = Precisions().sections("circles", runs)
    assert parts[1].startswith("**Nothing is compared: that takes both")
    assert len(rows(parts, "AU-sPRO at 0.05")) == 1


def test_without_test_images_nothing_is_compared():
    runs = both([], [], (0, 1))
    parts = Precisions().sections("folder", runs)
    assert parts[1].startswith("**Nothing is compared")
    assert rows(parts, "Image AU-ROC")[0] == "| GCAD, float32 | - | - | - |"


def test_quantiles_and_chances_are_students():
    for degrees, quantile in enumerate(T_975, 1):
        assert quantile == pytest.approx(stats.t.ppf(0.975, degrees), abs=5e-4)
    assert len(T_975) == 30
    many = {seed: float(seed % 2) for seed in range(40)}
    low, high = difference(dict.fromkeys(many, 0.0), many).interval
    assert (high - low) / 2 == pytest.approx(2.042 * (10 / 39) ** 0.5 / 40**0.5)
    # |difference of the means| > deviation, of unrelated normal numbers.
    two, five, eight = (
        f"{100 * 2 * stats.t.sf((n / 2) ** 0.5, n - 1):.0f} %" for n in (2, 5, 8)
    )
    assert (
        f"outside in {two} of all cases with two seeds, in {five} with five and in "
        f"{eight} with eight"
    ) in READING
