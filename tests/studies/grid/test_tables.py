"""Tables and figures of the studies of runs, from made-up numbers, by hand."""

import dataclasses
import json

import numpy as np
import pytest
from helpers import made_results
from helpers.made_results import scores

from gcad_jax.data.dataset import STRUCTURAL
from gcad_jax.reporting.plots import panels
from gcad_jax.reporting.published import CATEGORIES
from gcad_jax.studies.grid import report
from gcad_jax.studies.grid.ablations import (
    AblationGroup,
    Ablations,
    AblationSetting,
)
from gcad_jax.studies.grid.benchmark import Benchmark
from gcad_jax.studies.grid.results import (
    FinishedRun,
    measure_panels,
    numbers_as_json,
)
from gcad_jax.studies.grid.seeds import Seeds, image_agreement

LOCO = CATEGORIES["mvtec_loco_ad"]


def of_loco(title, seeds, complete=True):
    results = (made_results.result(n, seeds, complete=complete) for n in LOCO)
    return FinishedRun(title, tuple(results))


def rows(parts, title):
    """The rows of the table below a heading."""
    at = next(i for i, part in enumerate(parts) if part.startswith(f"### {title}"))
    return parts[at + 1].splitlines()[2:]


def test_the_benchmark_has_the_papers_rows_below_ours():
    runs = {
        "student_teacher": of_loco(
            "Student-Teacher", [scores(0.7, 0.5), scores(0.9, 0.5)]
        ),
        "gcad": of_loco("GCAD", [scores(0.6, 0.8), scores(0.6, 0.8)]),
    }
    parts = Benchmark().sections("loco", runs)
    assert rows(parts, "AU-sPRO at 0.05, by kind (form of Table 5)") == [
        "| Student-Teacher | 0.800 ± 0.141 | 0.500 ± 0.000 | 0.650 ± 0.071 |",
        "| Student-Teacher (paper) | 0.756 | 0.497 | 0.626 |",
        "| GCAD | 0.600 ± 0.000 | 0.800 ± 0.000 | 0.700 ± 0.000 |",
        "| GCAD (paper) | 0.692 | 0.711 | 0.701 |",
    ]
    by_category = rows(
        parts, "AU-sPRO at 0.05, by category, mean of both kinds (form of"
    )
    assert by_category[3] == (
        "| GCAD (paper) | 0.502 | 0.558 | 0.739 | 0.798 | 0.910 | 0.701 |"
    )
    assert rows(parts, "Image AU-ROC (form of Table 6)")[1].endswith("0.773 |")
    limits = rows(parts, "AU-sPRO by limit of the false positive rate, mean of both")
    assert limits[3] == "| GCAD (paper) | 0.462 | 0.701 | 0.787 | 0.891 | 0.962 |"


def test_part_of_the_data_is_not_compared_with_the_paper():
    runs = {"gcad": of_loco("GCAD", [scores(0.6, 0.8)], complete=False)}
    text = "\n".join(Benchmark().sections("loco", runs))
    assert "(paper)" not in text
    assert "the numbers do not compare" in text
    found = measure_panels("loco", runs)
    assert [one.paper for one in found] == [{}, {}]


def test_two_complete_categories_compare_but_not_their_mean():
    results = (made_results.result(n, [scores(0.6, 0.8)]) for n in LOCO[:2])
    runs = {"gcad": FinishedRun("GCAD", tuple(results))}
    parts = Benchmark().sections("loco", runs)
    assert rows(parts, "AU-sPRO at 0.05, by category, mean of both kinds (form of") == [
        "| GCAD | 0.700 | 0.700 | 0.700 |",
        "| GCAD (paper) | 0.502 | 0.558 | - |",
    ]
    assert len(rows(parts, "AU-sPRO at 0.05, by kind")) == 1


def test_complete_mvtec_ad_has_no_rows_of_dashes():
    results = tuple(
        made_results.result(n, [scores(0.6, 0.8)], dataset="mvtec_ad")
        for n in CATEGORIES["mvtec_ad"]
    )
    parts = Benchmark().sections("ad", {"gcad": FinishedRun("GCAD", results)})
    assert rows(parts, "AU-sPRO at 0.05, by kind (form of Table 8)")[1] == (
        "| GCAD (paper) | 0.716 | 0.863 | 0.789 |"
    )
    assert len(rows(parts, "AU-sPRO by limit")) == 1
    assert len(rows(parts, "AU-sPRO at 0.05, by category")) == 1


def test_mvtec_ad_has_the_forms_of_its_own_tables():
    seeds = [scores(0.6, None)]
    runs = {
        "gcad": FinishedRun(
            "GCAD", (made_results.result("hazelnut", seeds, dataset="mvtec_ad"),)
        )
    }
    parts = Benchmark().sections("mvtec_ad", runs)
    assert rows(parts, "AU-sPRO at 0.05, by kind (form of Table 8)") == [
        "| GCAD | 0.600 | - | - |"
    ]
    assert rows(parts, "Image AU-ROC (form of Table 9)")
    # There is one kind, so the limits are those of it.
    limits = rows(parts, "AU-sPRO by limit of the false positive rate, structural")
    assert limits == ["| GCAD | 0.600 | 0.600 | 0.600 | 0.600 | 0.600 |"]
    two = {name: FinishedRun(name, runs["gcad"].results) for name in ("GCAD", "VAE")}
    told = "\n".join(Seeds().sections("mvtec_ad", two))
    assert "| GCAD | - | 0.50 |" in told, "structural alone ranks methods too"


def decided_runs():
    """Two methods, the second with an image score of its own."""
    of_map = [scores(0.5, 0.5), scores(0.3, 0.3, image_scores=(1.0, 0.0, 2.0))]
    own = [
        made_results.with_method_scores(of_seed, structural, 0.5)
        for of_seed, structural in zip(of_map, (1.0, 0.8), strict=True)
    ]
    darker = made_results.decided(made_results.result("circles", own, "circles"))
    return {
        "map": FinishedRun("Map", (made_results.result("circles", of_map, "circles"),)),
        "dark": FinishedRun("Dark", (darker,)),
    }


def test_the_benchmark_shows_both_auroc_where_another_score_decides():
    parts = Benchmark().sections("circles", decided_runs())
    assert rows(parts, "Image AU-ROC")[1].startswith("| Dark | 0.500 ± 0.000 |")
    at = parts.index("### Image AU-ROC of the score that decides")
    assert "Dark: darkness; others: the maximum of the map." in parts[at + 1]
    assert parts[at + 2].splitlines()[2:] == [
        "| Map | 0.500 ± 0.000 | 0.500 ± 0.000 | 0.500 ± 0.000 |",
        "| Dark | 0.900 ± 0.141 | 0.500 ± 0.000 | 0.700 ± 0.071 |",
    ]
    assert not any("that decides, by category" in part for part in parts)
    two = {
        name: FinishedRun(run.title, (*run.results, *run.results))
        for name, run in decided_runs().items()
    }
    parts = Benchmark().sections("circles", two)
    found = rows(parts, "Image AU-ROC of the score that decides, by category, mean")
    assert found[1] == "| Dark | 0.700 ± 0.071 | 0.700 ± 0.071 | 0.700 ± 0.071 |"
    of_map = {"map": decided_runs()["map"]}
    assert "decides" not in "".join(Benchmark().sections("circles", of_map))
    assert len(measure_panels("circles", of_map)) == 2
    *_, panel = measure_panels("circles", decided_runs())
    assert panel.measure == "image AU-ROC of the score that decides"
    assert panel.values["Dark"][0] == [1.0, 0.8]


def test_numbers_of_the_score_that_decides_are_there_only_where_it_is_another():
    numbers = numbers_as_json({"circles": decided_runs()})["circles"]
    assert "auc_roc_of_decision" not in numbers["map"]["overall"]
    found = numbers["dark"]["overall"]["auc_roc_of_decision"][STRUCTURAL]
    assert found["seeds"] == [1.0, 0.8]
    assert found["mean"] == pytest.approx(0.9)


def test_seeds_are_compared_by_the_score_that_decides():
    runs = decided_runs()
    # By the maxima one pair of three images is exchanged; by their own scores none.
    assert image_agreement(runs["map"]) == pytest.approx([1 / 3])
    assert image_agreement(runs["dark"]) == pytest.approx([1.0])
    parts = Seeds().sections("circles", runs)
    tables = [part for part in parts if part.startswith("| Seed |")]
    assert ["(decides)" in table for table in tables] == [False, True]
    assert tables[1].splitlines()[2].endswith("| 1.000 | 0.500 | 0.750 |")


def test_seeds_and_rankings_by_hand():
    # Methods: one is ahead in 3 of 4 pairs of seeds: 0.5 > 0.4, 0.3 < 0.4, ...
    one = [scores(0.5, 0.5), scores(0.3, 0.3, image_scores=(1.0, 0.0, 2.0))]
    other = [scores(0.4, 0.4), scores(0.2, 0.2)]
    runs = {
        "one": FinishedRun("One", (made_results.result("circles", one, "circles"),)),
        "other": FinishedRun(
            "Other", (made_results.result("circles", other, "circles"),)
        ),
    }
    # Three images, one pair of three exchanged: tau = (2 - 1) / 3.
    assert image_agreement(runs["one"]) == pytest.approx([1 / 3])
    assert image_agreement(runs["other"]) == pytest.approx([1.0])
    parts = Seeds().sections("circles", runs)
    table = next(p for p in parts if p.startswith("| Method | One | Other |"))
    assert table.splitlines()[2:] == ["| One | - | 0.75 |", "| Other | 0.25 | - |"]
    (told,) = (part for part in parts if part.startswith("Ranking by one seed"))
    assert "Kendall's tau 1.000 on average" in told  # image AU-ROC is the same in both
    # A deviation of 0.141 is 7.07 differences: 2 * 2.80^2 * 50 + 0.96 seeds.
    needed = rows(parts, "Seeds that a difference of 0.02 needs")
    assert needed[0].startswith("| One | 786 | 786 | 786 | 2 | 2 | 2 |")
    seeds = rows(parts, "One")
    assert seeds[0].startswith("| 0 | 0.500 | 0.500 | 0.500 | 0.500 |")
    assert seeds[2].startswith("| mean ± deviation | 0.400 ± 0.141 |")
    assert seeds[3].startswith("| lowest | 0.300 |")
    assert seeds[4].startswith("| highest | 0.500 |")


def test_one_seed_of_one_method_has_no_ranking():
    run = FinishedRun("One", (made_results.result("a", [scores(0.5, 0.5)]),))
    parts = Seeds().sections("loco", {"one": run})
    assert "are not compared" in parts[-1]


QUESTIONS = (
    AblationGroup(
        "g",
        "Fig. 12",
        (AblationSetting("2", "g_2", {"g": 2}), AblationSetting("32", "base")),
    ),
    AblationGroup(
        "Branch",
        "Fig. 12",
        (AblationSetting("A_loc", "base", {}, "A_loc"), AblationSetting("A", "base")),
    ),
    AblationGroup(
        "d_glo",
        "Fig. 14",
        (AblationSetting("5", "d_glo_5"), AblationSetting("10", "base")),
    ),
)


class SomeAblations(Ablations):
    def ablation_groups(self, name):
        return QUESTIONS


def test_an_ablation_reads_the_branch_from_the_base_run():
    base = made_results.result(
        "a", [scores(0.6, 0.8)], A_loc=(scores(0.5, 0.1, image=0.4),)
    )
    other = made_results.result("a", [scores(0.2, 0.4)])
    runs = {"base": FinishedRun("GCAD", (base,)), "g_2": FinishedRun("GCAD", (other,))}
    parts = SomeAblations().sections("loco", runs)
    assert rows(parts, "g (Fig. 12)") == [
        "| 2 | 0.200 | 0.400 | 0.300 | 0.500 | 0.500 | 0.500 |",
        "| 32 | 0.600 | 0.800 | 0.700 | 0.500 | 0.500 | 0.500 |",
    ]
    assert rows(parts, "Branch (Fig. 12)")[0] == (
        "| A_loc | 0.500 | 0.100 | 0.300 | 0.400 | 0.400 | 0.400 |"
    )
    assert not any("d_glo" in part for part in parts), "one value answers nothing"
    shown = SomeAblations().panels("loco", runs)
    assert [list(panel.values) for panel in shown] == [["2", "32"], ["A_loc", "A"]]
    assert [panel.form for panel in shown] == [panels.VALUES, panels.BARS]
    assert shown[0].values["2"] == [[0.2], [0.4], [pytest.approx(0.3)]]


def test_what_is_written_is_whole(tmp_path):
    runs = {"loco": {"gcad": of_loco("GCAD", [scores(0.6, 0.8), scores(0.7, None)])}}
    shown = measure_panels("loco", runs["loco"])
    assert shown[0].paper == {"GCAD": (0.692, 0.711, 0.701)}
    report.write_report(tmp_path, "some", numbers_as_json(runs), ["# A", "b"], shown)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        report.output_names("some").values()
    )
    found = json.loads((tmp_path / "some.json").read_text())["loco"]["gcad"]
    overall = found["overall"]["auc_spro"]
    assert overall["structural_anomalies"]["0.05"] == {
        "seeds": [pytest.approx(0.6), pytest.approx(0.7)],
        "mean": pytest.approx(0.65),
        "std": pytest.approx(0.05 * 2**0.5),
    }
    assert overall["mean"]["0.05"]["mean"] is None, "a seed has no logical number"
    assert (tmp_path / "some.md").read_text().startswith("# A\n\nb\n\n![")
    assert (tmp_path / "some.png").stat().st_size > 5_000
    assert "base64," in (tmp_path / "some.html").read_text(), "its own figure"
    assert report.has_report(tmp_path, "some", numbers_as_json(runs), {})
    (tmp_path / "some.html").unlink()
    assert report.has_report(tmp_path, "some", numbers_as_json(runs), {}), (
        "numbers are there"
    )


def drawn(one):
    """The axis of a panel alone, and the words of the legend."""
    figure = panels.render_panels([one])
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    return figure.axes[0], words


SEEDS = {"2": [[0.2, 0.4], [0.5, 0.7], [0.35, 0.55]]}
ONE = {"2": [[0.3], [0.6], [None]]}


def test_the_legend_names_what_is_drawn_and_nothing_else():
    kinds = ["structural", "logical", "mean"]
    one = panels.Panel("t", "m", ONE)
    assert drawn(one)[1] == kinds, "no dot is drawn of one seed"
    assert drawn(dataclasses.replace(one, values=SEEDS))[1] == [*kinds, "one seed"]
    paper = dataclasses.replace(one, paper={"2": (0.1, 0.2, 0.15)})
    assert drawn(paper)[1] == [*kinds, "paper"]
    points = dataclasses.replace(one, form=panels.POINTS)
    assert drawn(points)[1] == [*kinds, "mean over the seeds"]
    values = {"2": SEEDS["2"], "8": SEEDS["2"]}
    over = dataclasses.replace(one, values=values, form=panels.VALUES)
    assert drawn(over)[1] == [*kinds, "± deviation over the seeds"]


def test_every_seed_is_a_point_and_their_mean_a_line():
    one = panels.Panel("t", "m", SEEDS, form=panels.POINTS)
    axis, _ = drawn(one)
    points = [line for line in axis.lines if line.get_linestyle() == "None"]
    means = [line for line in axis.lines if line.get_linestyle() == "-"]
    assert [list(line.get_ydata()) for line in points] == SEEDS["2"]
    assert [line.get_ydata()[0] for line in means] == pytest.approx([0.3, 0.6, 0.45])
    low, high = axis.get_ylim()
    assert (low, high) == pytest.approx((0.1, 0.8)), "close up"


def test_values_of_a_setting_stand_on_an_axis_by_their_numbers():
    values = {
        "8": [[0.2, 0.4], [0.5, 0.5], [0.35, 0.45]],
        "2": [[0.1, 0.1], [0.5, 0.5], [0.3, 0.3]],
        "2 + 8": [[0.6, 0.6], [0.6, 0.6], [0.6, 0.6]],
        "32": [[0.7, 0.7], [0.5, 0.5], [0.6, 0.6]],
    }
    axis, _ = drawn(panels.Panel("t", "m", values, form=panels.VALUES))
    ticks = dict(
        zip(
            [t.get_text() for t in axis.get_xticklabels()],
            axis.get_xticks(),
            strict=True,
        )
    )
    assert [ticks[x] for x in ("2", "8", "32")] == [1, 3, 5]  # doublings
    assert ticks["2\n+ 8"] > 5, "no number: behind them"
    line = axis.containers[0]
    assert list(line[0].get_ydata()) == pytest.approx([0.1, 0.3, 0.7])
    bars = line[2][0].get_segments()
    reach = [(top - low) / 2 for (_, low), (_, top) in bars]
    assert reach == pytest.approx([0, 0.1 * 2**0.5, 0])  # sample deviation
    assert list(axis.containers[1][0].get_ydata()) == [0.6], "not joined to the line"


def test_curves_of_methods_are_means_over_categories_and_seeds():
    kind = STRUCTURAL

    def of(*curves):
        seeds = [
            dataclasses.replace(scores(0.5, 0.5), curves={kind: curve})
            for curve in curves
        ]
        return made_results.result("a", seeds)

    flat, full = [0.0, 0.5, 1.0], [1.0, 1.0, 1.0]
    runs = {
        "one": FinishedRun("One", (of(flat, full), of(flat, flat))),
        "none": FinishedRun("None", (made_results.result("a", [scores(0.5, 0.5)]),)),
    }
    found = Benchmark().curves(runs)
    assert list(found) == ["structural"]
    assert list(found["structural"]) == ["One"]
    np.testing.assert_allclose(found["structural"]["One"], [0.25, 0.625, 1.0])
