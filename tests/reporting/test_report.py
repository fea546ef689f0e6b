"""The tables of report.md, row by row, from made-up numbers."""

import json

import pytest
from helpers import made_results

from gcad_jax.data.dataset import GOOD, LOGICAL, STRUCTURAL
from gcad_jax.evaluation import result_files as files
from gcad_jax.evaluation.results import (
    LIMITS,
    MEAN,
    CategoryResult,
    DefectScores,
    Scores,
)
from gcad_jax.reporting.published import CATEGORIES, PUBLISHED
from gcad_jax.reporting.report import Figure, write_report

IMAGES = (("good/000", GOOD), ("s/000", STRUCTURAL), ("l/000", LOGICAL))


def scores(structural, logical, image=0.5):
    """All limits alike; defect "dent" as structural."""

    def by_limit(value):
        return dict.fromkeys(LIMITS, value)

    def both(a, b):
        return None if a is None or b is None else (a + b) / 2

    areas = {STRUCTURAL: structural, LOGICAL: logical, MEAN: both(structural, logical)}
    kinds = dict.fromkeys((STRUCTURAL, LOGICAL, MEAN), image)
    dent = DefectScores("dent", STRUCTURAL, 1, 2, image, by_limit(structural))
    return Scores(
        auroc=kinds,
        auroc_official=kinds,
        auspro={kind: by_limit(value) for kind, value in areas.items()},
        defects=() if structural is None else (dent,),
        curves={},
        image_scores=(0.0, 1.0, 2.0),
    )


def result(name, seeds, complete=True, dataset="mvtec_loco_ad", **more):
    return CategoryResult(
        dataset=dataset,
        name=name,
        complete=complete,
        notes=(),
        seeds=tuple(range(len(seeds))),
        images=IMAGES,
        branches={"A": tuple(seeds)} | more,
    )


def report(tmp_path, results, method="GCAD", sentences=("One sentence.",), figures=()):
    write_report(tmp_path / "report.md", method, sentences, results, figures)
    return (tmp_path / "report.md").read_text()


def section(text, title):
    """The lines of one section without the blank ones."""
    body = text.split(f"### {title}")[1].split("\n#")[0]
    return [line for line in body.splitlines()[1:] if line]


def test_complete_data_set_stands_beside_the_paper(tmp_path):
    names = CATEGORIES["mvtec_loco_ad"]
    results = [result(n, [scores(0.1 * k, 0.5)]) for k, n in enumerate(names, start=1)]
    text = report(tmp_path, results, figures=[Figure("Maps", "figures/maps.png")])
    assert "- One sentence." in text
    assert "![Maps](figures/maps.png)" in text
    assert "left out" not in text

    # Means of kinds: (0.1 k + 0.5) / 2 for k = 1..5; over all: 0.3, 0.5, 0.4.
    assert section(text, "AU-sPRO at 0.05 by category") == [
        "| Method | breakfast_box | screw_bag | pushpins | splicing_connectors "
        "| juice_bottle | mean |",
        "| :-- | --: | --: | --: | --: | --: | --: |",
        "| GCAD (this run) | 0.300 | 0.350 | 0.400 | 0.450 | 0.500 | 0.400 |",
        "| GCAD (paper) | 0.502 | 0.558 | 0.739 | 0.798 | 0.910 | 0.701 |",
    ]
    assert section(text, "AU-sPRO at 0.05 by kind")[2:5] == [
        "| GCAD (this run) | mean of all | 0.300 | 0.500 | 0.400 |",
        "| GCAD (paper) | mean of all | 0.692 | 0.711 | 0.701 |",
        "| GCAD (this run) | breakfast_box | 0.100 | 0.500 | 0.300 |",
    ]
    assert section(text, "AU-sPRO by limit")[2:4] == [
        "| GCAD (this run) | mean of all | mean | 0.400 | 0.400 | 0.400 | 0.400 "
        "| 0.400 |",
        "| GCAD (paper) | mean of all | mean | 0.462 | 0.701 | 0.787 | 0.891 | 0.962 |",
    ]
    assert section(text, "Image AU-ROC")[2:4] == [
        "| GCAD (this run) | mean of all | 0.500 | 0.500 | 0.500 |",
        "| GCAD (paper) | mean of all | 0.806 | 0.860 | 0.833 |",
    ]
    assert section(text, "By defect type")[3] == (
        "| breakfast_box | dent | structural | 1 | 2 | 0.100 | 0.500 |"
    )


def test_seeds_have_a_sample_standard_deviation(tmp_path):
    # Over all for each seed: (0.2 + 0.4) / 2 = 0.3 and (0.4 + 0.4) / 2 = 0.4.
    results = [
        result("pushpins", [scores(0.2, 0.2), scores(0.4, 0.4)]),
        result("screw_bag", [scores(0.4, 0.4), scores(0.4, 0.4)]),
    ]
    text = report(tmp_path, results)
    row = section(text, "AU-sPRO at 0.05 by category")[2]
    assert row == (
        "| GCAD (this run) | 0.300 ± 0.141 | 0.400 ± 0.000 | 0.350 ± 0.071 |"
    )
    assert "standard deviation over 2 seeds" in text


def test_some_categories_compare_alone(tmp_path):
    text = report(tmp_path, [result("pushpins", [scores(0.2, 0.4)])])
    rows = section(text, "AU-sPRO at 0.05 by category")
    assert rows[3] == "| GCAD (paper) | 0.739 | - |"
    assert "breakfast_box, screw_bag, splicing_connectors, juice_bottle did not" in text
    assert "(paper)" not in "".join(section(text, "AU-sPRO at 0.05 by kind"))


def test_partial_data_never_stand_beside_the_paper(tmp_path):
    names = CATEGORIES["mvtec_loco_ad"]
    results = [result(n, [scores(0.1, 0.5)], complete=False) for n in names]
    text = report(tmp_path, results)
    assert "(paper)" not in text
    assert "not the complete published data set" in text


def test_data_without_a_row_in_the_paper(tmp_path):
    text = report(tmp_path, [result("circles", [scores(0.1, 0.5)], dataset="circles")])
    assert "The paper has no row for GCAD on circles." in text
    assert "(paper)" not in text


def test_mvtec_ad_means_over_categories_that_have_the_kind(tmp_path):
    # Only one category has logical anomalies; the mean is half the sum of both
    # means: ((0.2 + 0.4) / 2 + 0.9) / 2 = 0.6.
    results = [
        result("cable", [scores(0.2, 0.9)], complete=False, dataset="mvtec_ad"),
        result("hazelnut", [scores(0.4, None)], complete=False, dataset="mvtec_ad"),
    ]
    text = report(tmp_path, results)
    rows = section(text, "AU-sPRO at 0.05 by kind")
    assert "(form of the paper's Table 8)" in text
    assert rows[2:] == [
        "| GCAD (this run) | mean of all | 0.300 | 0.900 | 0.600 |",
        "| GCAD (this run) | cable | 0.200 | 0.900 | 0.550 |",
        "| GCAD (this run) | hazelnut | 0.400 | - | - |",
    ]
    assert section(text, "AU-sPRO by limit")[4].startswith(
        "| GCAD (this run) | hazelnut | structural | 0.400 |"
    )


def test_branches(tmp_path):
    text = report(
        tmp_path, [result("pushpins", [scores(0.2, 0.4)], A_loc=(scores(0.6, 0.1),))]
    )
    rows = section(text, "By map")
    assert rows[3] == (
        "| pushpins | A (combined) | 0.200 | 0.400 | 0.300 | 0.500 | 0.500 | 0.500 |"
    )
    assert rows[4].startswith("| pushpins | A_loc | 0.600 | 0.100 | 0.350 |")


def test_both_auroc_stand_where_another_score_than_the_maximum_decides(tmp_path):
    seeds = [
        made_results.with_method_scores(scores(0.2, 0.4, image=0.5), 0.9, 0.7),
        made_results.with_method_scores(scores(0.2, 0.4, image=0.5), 0.8, 0.6),
    ]
    decided = made_results.decided(result("pushpins", seeds), "darkness")
    text = report(tmp_path, [decided])
    by_map = section(text, "Image AU-ROC (form of the paper's Table 6)")
    assert by_map[0].startswith("Of the maximum of the map")
    assert by_map[-1] == (
        "| GCAD (this run) | pushpins | 0.500 ± 0.000 | 0.500 ± 0.000 | 0.500 ± 0.000 |"
    )
    by_method = section(text, "Image AU-ROC of the score that decides")
    assert "darkness" in by_method[0]
    assert by_method[-1] == (
        "| GCAD (this run) | pushpins | 0.850 ± 0.071 | 0.650 ± 0.071 | 0.750 ± 0.071 |"
    )
    assert "(paper)" not in "".join(by_method)
    defects = section(text, "By defect type")
    assert defects[1].endswith(
        "| AU-sPRO | AU-ROC | AU-ROC of the score that decides |"
    )
    assert defects[3].endswith("| 0.200 ± 0.000 | 0.500 ± 0.000 | 0.850 ± 0.071 |")
    validation = section(text, "Scores of good validation images")
    assert "darkness, which decides" in validation[0]
    assert validation[3:] == [
        "| pushpins | maximum of the map | 0 | 2 | 7.000 | 8.000 | 9.000 |",
        "| pushpins | maximum of the map | 1 | 2 | 7.000 | 8.500 | 10.000 |",
        "| pushpins | darkness | 0 | 2 | 0.000 | 0.375 | 0.750 |",
        "| pushpins | darkness | 1 | 2 | 0.250 | 0.500 | 0.750 |",
    ]


def test_one_auroc_stands_where_the_maximum_decides(tmp_path):
    text = report(tmp_path, [result("pushpins", [scores(0.2, 0.4)])])
    assert "decides" not in text


def test_images_without_tests_and_masks(tmp_path):
    bare = CategoryResult(
        dataset="folder",
        name="mine",
        complete=False,
        notes=("validation: every tenth image.",),
        seeds=(3,),
        images=(),
        branches={},
        validation=((1.5, 0.5, 1.0),),
    )
    text = report(tmp_path, [bare])
    assert "There is no AU-sPRO" in text
    assert "There is no image AU-ROC" in text
    assert "- mine: validation: every tenth image." in text
    assert section(text, "Scores of good validation images")[-1] == (
        "| mine | 3 | 3 | 0.500 | 1.000 | 1.500 |"
    )


def test_no_category_yet(tmp_path):
    assert "No category is evaluated yet." in report(tmp_path, [])


def test_report_from_files(tmp_path):
    results = [result(name, [scores(0.2, 0.4)]) for name in ("pushpins", "screw_bag")]
    for r in results:
        files.write_result(tmp_path / r.name, r)
    again = [files.read_result(tmp_path / r.name) for r in results]
    assert report(tmp_path, again) == report(tmp_path, results)
    assert not list(tmp_path.glob(".*"))


TABLES = {
    "table5_loco_auspro_0.05": ("mvtec_loco_ad", "auspro"),
    "table6_loco_image_auroc": ("mvtec_loco_ad", "auroc"),
    "table8_ad_auspro_0.05": ("mvtec_ad", "auspro"),
    "table9_ad_image_auroc": ("mvtec_ad", "auroc"),
}


def test_constants_are_those_of_the_paper(real_data):
    paper = json.loads((real_data / "paper" / "paper_results.json").read_text())
    for table, (dataset, field) in TABLES.items():
        row = paper[table]["rows"]["GCAD"]
        assert list(getattr(PUBLISHED[dataset]["GCAD"], field)) == row
    loco = PUBLISHED["mvtec_loco_ad"]["GCAD"]
    table = paper["table7_loco_auspro_by_limit"]
    printed = dict(zip(table["columns"], table["rows"]["GCAD"], strict=True))
    assert loco.by_limit == printed
    table = paper["table3_loco_auspro_0.05_per_category"]
    printed = dict(zip(table["columns"], table["rows"]["GCAD"], strict=True))
    assert printed.pop("mean") == pytest.approx(loco.auspro[2])
    assert loco.by_category == printed
    assert list(CATEGORIES["mvtec_loco_ad"]) == list(printed)
