"""The dashboard and the alert rules: they are what Grafana and Prometheus read, and ask for metrics that there are."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from synaptoroute import AdaptiveRouter
from synaptoroute.storage import SQLiteStorage
from synaptoroute.sync import RedisSyncManager
from tests.seeded import SeededEncoder, route
from tests.server.serving import serving
from tests.valkey_server import ValkeyServer

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = DEPLOY / "grafana" / "synaptoroute.json"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
DOCS = Path(__file__).parents[2] / "docs" / "observability.md"

#: What Grafana puts in before it asks.
_VARIABLES = {"$__rate_interval": "5m", "$__range": "1h", "$instance": ".*"}
#: Labels that the scraper adds.
_SCRAPED = {"instance", "job"}
#: Values that a label has only when it comes to that.
_VALUES_TO_COME = {"status"}


def dashboard() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return content


def alerts() -> list[dict[str, Any]]:
    content = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))
    return [rule for group in content["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    content = dashboard()
    for panel in content["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for annotation in content["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for rule in alerts():
        yield rule["alert"], rule["expr"]


def parsed(expression: str) -> promql_parser.Expr:
    for name, value in _VARIABLES.items():
        expression = expression.replace(name, value)
    return promql_parser.parse(expression)


def selectors(expression: promql_parser.Expr) -> list[promql_parser.VectorSelector]:
    found = []

    def visit(node: promql_parser.Expr) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(expression, visit)
    return found


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, set[str]]]:
    """Sample name -> label -> values, of a server with everything switched on and a server beside it to sync with."""
    folder = tmp_path_factory.mktemp("deploy")
    with ValkeyServer(folder) as valkey:
        manager = RedisSyncManager(valkey.url, namespace=uuid.uuid4().hex)
        storage = SQLiteStorage(folder / "routes.db")
        with AdaptiveRouter(SeededEncoder(), storage, sync_manager=manager) as router:
            router.add_routes([route("billing", *range(6)), route("music", *range(6))])
            queries = [f"{name} {number}" for name in ("billing", "music") for number in range(50, 60)]
            router.fit(queries, [query.split()[0] for query in queries], force=True)
            assert manager.wait(30)
            with serving(router, records=folder / "decisions.jsonl") as served:
                served.post("/v1/route", {"texts": ["music 1", "weather 7"]})
                router.refit()
                text = served.get("/metrics").text
    found: dict[str, dict[str, set[str]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = found.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return found


@pytest.mark.parametrize(("title", "expression"), list(expressions()), ids=lambda text: str(text)[:40])
def test_every_expression_is_promql_over_metrics_and_labels_that_are_exported(
    title: str, expression: str, exported: dict[str, dict[str, set[str]]]
) -> None:
    asked = selectors(parsed(expression))
    assert asked
    for selector in asked:
        assert selector.name in exported, f"{title} asks for {selector.name}, which is not exported"
        labels = exported[selector.name]
        for matcher in selector.matchers.matchers:
            if matcher.name in _SCRAPED:
                continue
            assert matcher.name in labels, f"{selector.name} has no label {matcher.name}"
            if matcher.op == promql_parser.MatchOp.Equal and matcher.name not in _VALUES_TO_COME:
                assert matcher.value in labels[matcher.name], (
                    f"{selector.name}: {matcher.name} is never {matcher.value}"
                )
            elif matcher.op == promql_parser.MatchOp.Re and matcher.name not in _VALUES_TO_COME:
                assert all(value in labels[matcher.name] for value in matcher.value.split("|"))


def test_metrics_that_are_exported_are_shown_and_described(exported: dict[str, dict[str, set[str]]]) -> None:
    shown = {selector.name for _, expression in expressions() for selector in selectors(parsed(expression))}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name or "") for name in shown}
    text = DOCS.read_text(encoding="utf-8")
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in exported if name.startswith("synaptoroute_")}
    assert names - shown == set(), "no panel and no alert"
    undocumented = {name for name in names if f"`{name.removeprefix('synaptoroute_')}`" not in text}
    assert undocumented == set(), "docs/observability.md does not say what it is"


def test_the_dashboard_is_whole() -> None:
    content = dashboard()
    assert content["title"]
    assert content["uid"] == "synaptoroute"
    panels = content["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, f"{panel['title']} lies upon another"
        taken |= cells
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["targets"]


def test_every_alert_says_what_is_wrong_how_grave_it_is_and_what_to_do() -> None:
    rules = alerts()
    assert len({rule["alert"] for rule in rules}) == len(rules)
    text = DOCS.read_text(encoding="utf-8")
    for rule in rules:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in {"page", "ticket", "info"}
        assert rule["annotations"]["summary"]
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "0s"))
        assert rule["alert"] in text, "docs/observability.md does not say what to do"


def test_the_parser_would_notice_a_mistake() -> None:
    with pytest.raises(ValueError, match="invalid promql"):
        parsed("sum by (le (rate(x[5m])))")
