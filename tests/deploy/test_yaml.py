"""The YAML files in deploy/ are tidy, and the rule of the metrics adapter makes what the chart scales by."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.deploy.dockerfile import ROOT
from tests.deploy.promised import answered

CHART = ROOT / "deploy" / "helm" / "synaptoroute"
FILES = [
    *sorted((ROOT / "deploy").glob("*.yaml")),
    *sorted((ROOT / "deploy" / "prometheus").glob("*.yaml")),
    CHART / "Chart.yaml",
    CHART / "values.yaml",
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_its_own_linter_is_content(path: Path) -> None:
    linter = pytest.importorskip("yamllint.linter", reason="yamllint is not installed; make test-all installs it")
    from yamllint.config import YamlLintConfig

    config = YamlLintConfig(file=str(ROOT / ".yamllint"))
    assert [str(problem) for problem in linter.run(path.read_text(), config, str(path.relative_to(ROOT)))] == []


def test_the_adapter_makes_the_metric_that_the_chart_scales_by() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    (rule,) = yaml.safe_load((ROOT / "deploy" / "prometheus-adapter.yaml").read_text())["rules"]["custom"]
    assert rule["name"]["as"] == values["autoscaling"]["queueWait"]["name"]
    series = rule["name"]["matches"].strip("^$")
    assert series == rule["seriesQuery"].partition("{")[0]
    status, metrics = answered("/metrics")
    assert status == 200
    assert f"{series}{{" in metrics
