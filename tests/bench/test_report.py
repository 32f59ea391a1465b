from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from synaptoroute.bench.charts import Series, heat_map, line_chart, ticks
from synaptoroute.bench.manifest import Manifest, ManifestError
from synaptoroute.bench.report import html
from synaptoroute.bench.tables import BEGIN, END, markdown, tables, update_readme

SVG = "{http://www.w3.org/2000/svg}"


def test_the_page_is_well_formed_and_loads_nothing(manifest: Manifest) -> None:
    text = html([manifest])
    page = ElementTree.fromstring(text)  # noqa: S314  # it was made on the line before
    assert page.tag == "html"
    assert not {"script", "link", "img", "iframe"} & {element.tag for element in page.iter()}
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text)) | set(re.findall(r"url\([^)]*\)|@import", text))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert "prefers-color-scheme: dark" in text


def test_every_plot_is_there_and_named_for_people_who_do_not_see_it(manifest: Manifest) -> None:
    page = ElementTree.fromstring(html([manifest]))  # noqa: S314
    charts = page.findall(f".//{SVG}svg")
    labels = [chart.get("aria-label") or "" for chart in charts]
    assert all(chart.get("role") == "img" for chart in charts)
    for plot in (
        "clinc150: accuracy.",
        "clinc150: risk and coverage.",
        "clinc150: detecting out-of-scope queries.",
        "clinc150: reliability of the confidence.",
        "clinc150: most frequent errors.",
        "clinc150: accuracy against utterances per route.",
        "banking77: accuracy against utterances per route.",
        "clinc150-negation: accuracy.",
    ):
        assert any(label.startswith(plot) for label in labels), plot
    assert {"in scope, nearest utterance", "in scope, nearest utterance, 5 default"} <= {
        text.text for text in page.iter(f"{SVG}text")
    }
    for chart in charts:
        width, height = (float(chart.get(side) or 0) for side in ("width", "height"))
        for circle in chart.iter(f"{SVG}circle"):
            assert 0 <= float(circle.get("cx") or -1) <= width
            assert 0 <= float(circle.get("cy") or -1) <= height


def test_markdown_has_a_row_for_each_result_and_says_where_it_is_from(manifest: Manifest) -> None:
    text = markdown([manifest])
    rows = [line for line in text.splitlines() if line.startswith("| clinc150 |")]
    assert len(rows) == 8
    assert any(line.startswith("| clinc150 | 5, mean of 3 draws | default | 400 |") for line in rows)
    assert any(line.startswith("| clinc150 | all | tuned | 400 |") for line in rows)
    assert "| clinc150-negation | all | default | 400 |" in text
    assert "| clinc150-negation | 4,000 | default |" in text
    for words in (manifest.command, "minilm-0123456789abcdef", manifest.machine.cpu, "no known revision"):
        assert words in text
    heading, _, first, *_ = [line.split(" | ") for line in text.splitlines() if line.startswith("|")]
    baseline = manifest.results[0].nearest
    assert baseline is not None
    assert baseline.in_scope is not None
    assert baseline.top5 is not None
    shown = f"{100 * baseline.in_scope.value:.1f} / {100 * baseline.top5.value:.1f}"
    assert first[heading.index("nearest utterance")] == shown
    assert rows[3].split(" | ")[heading.index("nearest utterance")] == "-"
    columns = {line.count(" | ") for line in text.split("### ")[1].splitlines() if line.startswith("|")}
    assert len(columns) == 1


def test_a_trial_run_is_marked_as_one(manifest: Manifest) -> None:
    trial = manifest.model_copy(update={"limit": 50})
    assert "Trial run of at most 50 queries" in markdown([trial])
    assert "Trial run of at most 50 queries" in html([trial])
    assert "Trial run" not in markdown([manifest])


def test_a_fit_that_was_refused_is_not_called_tuned(manifest: Manifest) -> None:
    refused = manifest.results[3].model_copy(update={"fit": {"applied": False}})
    text = markdown([manifest.model_copy(update={"results": (refused,)})])
    assert "| clinc150 | all | fit refused | 400 |" in text


def test_several_manifests_make_one_table(manifest: Manifest) -> None:
    assert len(tables([manifest, manifest])[0].rows) == 2 * len(tables([manifest])[0].rows)


def test_the_readme_changes_between_its_markers_only_and_twice_is_once(manifest: Manifest, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\n## More\n", encoding="utf-8")
    update_readme(readme, [manifest])
    once = readme.read_text(encoding="utf-8")
    assert once.startswith(f"# Title\n\n{BEGIN}\n| data set |")
    assert once.endswith(f"\n{END}\n\n## More\n")
    assert "old" not in once
    update_readme(readme, [manifest])
    assert readme.read_text(encoding="utf-8") == once


@pytest.mark.parametrize("text", ["# Title\n", f"{BEGIN}\n", f"{END}\n{BEGIN}\n", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_readme_without_its_markers_is_left_alone(manifest: Manifest, tmp_path: Path, text: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match="must have the line <!-- benchmarks:begin --> once"):
        update_readme(readme, [manifest])
    assert readme.read_text(encoding="utf-8") == text


def test_names_with_markup_stay_names() -> None:
    cells = {("<b>&", '"quoted"'): 3}
    chart = heat_map("a < b", 'say "x"', cells, rows="right", columns="best")
    texts = [element.text for element in ElementTree.fromstring(chart).iter(f"{SVG}text")]  # noqa: S314
    assert {"<b>&", '"quoted"', "3"} <= set(texts)


@pytest.mark.parametrize(("least", "greatest"), [(0, 1), (0, 0.02), (0.7, 1), (-0.2, 2.2), (0, 12345), (1, 1)])
def test_ticks_are_round_few_and_inside(least: float, greatest: float) -> None:
    found = ticks(least, greatest)
    assert 1 <= len(found) <= 11
    assert all(least - 1e-9 <= at <= greatest + 1e-9 for at in found)


def test_a_line_of_a_single_point_is_a_dot() -> None:
    chart = line_chart("one", "point", [Series("s", [(0.5, 0.5)])], x_label="x", y_label="y")
    assert len(list(ElementTree.fromstring(chart).iter(f"{SVG}circle"))) == 1  # noqa: S314
