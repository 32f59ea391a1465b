"""Requests that schemathesis makes up from the server's own description, good ones and bad ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from schemathesis import GenerationMode
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Err

from synaptoroute.bench.http.service import Service, serving
from synaptoroute.server.keys import Scope, new_key

OPEN, KEYED = "open", "keyed"
_SETTINGS = {"SYNAPTOROUTE_LOG_LEVEL": "warning"}
_ANSWER_S = 60.0
_REFUSALS = ("400", "401", "403", "404", "409", "412", "422", "429", "503")
#: What a failure says at most.
_SHOWN_CHARS = 500


@dataclass
class Outcome:
    """What came of it.

    Attributes:
        operations: Tried, as method and path.
        requests: Sent.
        failures: Checks that failed.
        growth_bytes: Of the server's memory.
        faults: What they say, and what else should not have been.
    """

    operations: int = 0
    requests: int = 0
    failures: int = 0
    growth_bytes: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def summary(self) -> str:
        """One line."""
        return f"{self.operations} operations, {self.requests} requests, {self.failures} failures, {self.faults[:3]}"


def explore(kind: str, *, examples: int, seed: int = 1, most_s: float = 600, rounds: int = 1) -> Outcome:
    """Ask every operation of a server with the demo's routes, which are changed.

    Args:
        kind: ``OPEN``, or ``KEYED`` for a server with keys, asked with one that may do everything.
        examples: For each operation, as many that fit its description and as many that do not.
        seed: Of what is made up; of a later round, one more each.
        most_s: No operation is begun after so long.
        rounds: Through all operations. Memory is compared over the last one: what is needed once shows in the first.
    """
    outcome = Outcome()
    with _server(kind) as (service, headers):
        schema = schemathesis.openapi.from_url(f"{service.url}/openapi.json", timeout=_ANSWER_S)
        checks = schema.config.checks
        # What a name may be made of, whether a text is blank, what a file must hold: a JSON Schema cannot say it all.
        checks.positive_data_acceptance.expected_statuses = ["2xx", *_REFUSALS]
        # A server without keys is open to everybody on its machine.
        checks.ignored_auth.enabled = kind == KEYED
        ends_at_s = time.monotonic() + most_s
        operations = []
        for found in schema.get_all_operations():
            if isinstance(found, Err):
                outcome.faults.append(f"the description is wrong: {found.err()}")
            else:
                operations.append(found.ok())
        for number in range(rounds):
            before = service.memory().resident_bytes
            for operation in operations:
                if time.monotonic() > ends_at_s:
                    outcome.faults.append(f"only {outcome.operations} operations were tried in {most_s:g} s")
                    break
                outcome.operations += 1
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                    _try(operation, mode, headers, outcome, examples=examples, seed=seed + number)
            outcome.growth_bytes = service.memory().resident_bytes - before
        if "Traceback" in service.said():
            outcome.faults.append(f"a mistake of the server was logged: {service.said()[-_SHOWN_CHARS:]}")
        if service.process.poll() is not None:
            outcome.faults.append("the server has ended")
    return outcome


def _try(
    operation: Any, mode: GenerationMode, headers: dict[str, str], outcome: Outcome, *, examples: int, seed: int
) -> None:
    session = requests.Session()

    @seeded(seed)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        outcome.requests += 1
        try:
            case.call_and_validate(session=session, headers=headers, timeout=_ANSWER_S)
        except (Failure, FailureGroup) as exc:
            failures = exc.exceptions if isinstance(exc, FailureGroup) else (exc,)
            outcome.failures += len(failures)
            for failure in failures:
                said, asked = str(failure)[:_SHOWN_CHARS], case.as_curl_command()[:_SHOWN_CHARS]
                outcome.faults.append(f"{operation.label}, {mode.value}: {said} {asked}")

    try:
        ask()
    except Exception as exc:  # noqa: BLE001  # an operation of which nothing can be made up, for instance
        if type(exc).__name__ != "Unsatisfiable":
            outcome.faults.append(f"{operation.label}, {mode.value}: {type(exc).__name__}: {str(exc)[:_SHOWN_CHARS]}")
    finally:
        session.close()


@contextmanager
def _server(kind: str) -> Iterator[tuple[Service, dict[str, str]]]:
    key, entry = new_key("tester", Scope.ADMIN)
    keyed = kind == KEYED
    with serving(["--demo"], settings={**_SETTINGS, **({"SYNAPTOROUTE_KEYS": entry.line} if keyed else {})}) as service:
        yield service, {"Authorization": f"Bearer {key}"} if keyed else {}
