"""docs/operations.md: its tables are those of the program."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from synaptoroute.server.app import ROUTERS
from synaptoroute.server.problems import CODES
from synaptoroute.server.settings import ServerSettings

DOCS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")


def settings_table() -> Iterable[str]:
    yield "| setting | default | what |"
    yield "| --- | --- | --- |"
    for name, field in ServerSettings.model_fields.items():
        yield f"| `{name}` | {shown(field.default)} | {field.description} |"


def problems_table() -> Iterable[str]:
    yield "| status | codes |"
    yield "| --- | --- |"
    for status in sorted(set(CODES.values())):
        yield f"| {status} | {', '.join(f'`{code}`' for code, of in CODES.items() if of == status)} |"


def shown(default: Any) -> str:
    if default is None or default == ():
        return "unset"
    value = default.get_secret_value() if isinstance(default, SecretStr) else default
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000 else str(value)


def test_every_setting_is_listed_as_it_is() -> None:
    table = "\n".join(settings_table())
    assert table in DOCS, f"docs/operations.md should have:\n{table}"


def test_every_code_of_a_problem_is_listed() -> None:
    table = "\n".join(problems_table())
    assert table in DOCS, f"docs/operations.md should have:\n{table}"


def test_every_call_that_is_listed_is_there() -> None:
    paths = {getattr(route, "path", "") for router in ROUTERS for route in router.routes}
    named = set(re.findall(r"`(?:[A-Z]+(?:`, `)?)+ (/[^`…]*)`", DOCS))
    assert {re.sub(r"\{\w+\}", "{}", path) for path in named} <= {re.sub(r"\{\w+\}", "{}", path) for path in paths}
