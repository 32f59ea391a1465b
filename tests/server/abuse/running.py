"""All attacks on one server, and what they left behind."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from synaptoroute.bench.http.service import Service
from tests.server.abuse import bodies, heads, streams
from tests.server.abuse.bodies import Attack
from tests.server.abuse.wire import exchange, faults

#: So that heads and bodies that never end need not be waited for.
SETTINGS = {
    "SYNAPTOROUTE_HEAD_TIMEOUT_S": "1",
    "SYNAPTOROUTE_BODY_TIMEOUT_S": "1",
    "SYNAPTOROUTE_LOG_LEVEL": "warning",
}

GROUPS: dict[str, Callable[[], Iterator[Attack]]] = {
    "bodies of the routing call": bodies.route_attacks,
    "media types": bodies.typed_attacks,
    "bodies of changes": bodies.change_attacks,
    "lines": heads.line_attacks,
    "lengths": heads.length_attacks,
    "headers": heads.header_attacks,
    "paths and methods": heads.path_attacks,
}
NAMES = (*GROUPS, "If-Match", *streams.ALL)


@dataclass
class Report:
    """What came of it.

    Attributes:
        requests: Sent, in all.
        statuses: How often each was answered; 0 is a connection that was closed without an answer.
        faults: What should not have been, by group.
        changed: Whether the routes are other ones than before.
        growth_bytes: Of the server's resident memory.
        growth_by_group: Of this, while each group was carried out.
        log: What the server said.
    """

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    faults: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in NAMES})
    changed: bool = False
    growth_bytes: int = 0
    growth_by_group: dict[str, int] = field(default_factory=dict)
    log: str = ""


def attack_all(service: Service) -> Report:
    """Everything, one group after another."""
    report = Report()
    before = _used(service)
    held = now = service.memory().resident_bytes
    for name in NAMES:
        if name in streams.ALL:
            report.faults[name] += streams.ALL[name](service)
        elif name == "If-Match":
            _carry_out(service, heads.match_attacks(quote(str(before[0]["name"]), safe="")), name, report)
        else:
            _carry_out(service, GROUPS[name](), name, report)
        was, now = now, service.memory().resident_bytes
        report.growth_by_group[name] = now - was
    report.changed = _used(service) != before
    report.growth_bytes = service.memory().resident_bytes - held
    report.log = service.said()
    return report


def _carry_out(service: Service, attacks: Iterator[Attack], name: str, report: Report) -> None:
    for attack in attacks:
        seen = exchange(service, attack.wire, method=attack.method)
        report.requests += 1
        report.statuses[seen.status] += 1
        if fault := faults(seen, accepted=attack.accepted, may_hang_up=attack.may_hang_up):
            report.faults[name].append(f"{attack.name}: {fault}")


def _used(service: Service) -> list[dict[str, Any]]:
    """The routes, after a good request of each kind, so that memory is that of a server in use."""
    content = json.dumps({"queries": [{"text": "where is my parcel", "label": None}]})
    good = json.dumps({"texts": ["where is my parcel"] * 32})
    routes = _asked(service, "GET", "/v1/routes?utterances=true&limit=1000")["routes"]
    for method, path, body in (
        ("POST", "/v1/route", good),
        ("POST", "/v1/evaluate", content),
        ("POST", "/v1/import?mode=put", json.dumps(routes_of(routes))),
        ("GET", "/v1/export", None),
        ("GET", "/v1/lint", None),
        ("GET", "/v1/history", None),
        ("GET", "/openapi.json", None),
    ):
        _asked(service, method, path, body)
    assert isinstance(routes, list)
    return routes


def routes_of(listed: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A list as an import takes it."""
    fields = ("name", "utterances", "threshold", "description", "metadata")
    return [{field: route[field] for field in fields if route[field]} for route in listed]


def _asked(service: Service, method: str, path: str, body: str | None = None) -> Any:
    connection = http.client.HTTPConnection(service.host, service.port, timeout=60)
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        answer = connection.getresponse()
        content = answer.read()
    finally:
        connection.close()
    assert answer.status < 300, (path, answer.status, content[:500])
    return json.loads(content)
