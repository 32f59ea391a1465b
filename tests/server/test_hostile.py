"""Whatever a client sends, the server says no, goes on, keeps its routes, and holds no more memory than before."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from synaptoroute.bench.http.service import Service, serving
from tests.server.abuse.running import NAMES, SETTINGS, Report, attack_all
from tests.server.abuse.schema import KEYED, OPEN, explore
from tests.server.abuse.wire import MARK

#: What memory may grow by.
MOST_BYTES = 20_000_000


@pytest.fixture(scope="module")
def service(learned_demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    store = shutil.copy(learned_demo, tmp_path_factory.mktemp("hostile") / "store.db")
    with serving(["--db", str(store)], settings=SETTINGS) as service:
        yield service


@pytest.fixture(scope="module")
def report(service: Service) -> Report:
    """Of all attacks, carried out once."""
    return attack_all(service)


@pytest.mark.parametrize("group", NAMES)
def test_everything_is_refused_as_a_problem(report: Report, group: str) -> None:
    assert report.faults[group] == []


def test_there_were_attacks(report: Report) -> None:
    assert report.requests > 500
    assert {400, 404, 405, 413, 415, 422} <= set(report.statuses)


def test_routes_are_as_they_were(report: Report) -> None:
    assert not report.changed


def test_memory_is_what_it_was(report: Report) -> None:
    assert report.growth_bytes < MOST_BYTES


def test_nothing_hostile_is_logged_and_no_mistake_was_made(report: Report) -> None:
    assert "Traceback" not in report.log
    assert MARK not in report.log


# --------------------------------------------------------------------------------------------------------- its schema
@pytest.mark.parametrize("kind", [OPEN, pytest.param(KEYED, marks=pytest.mark.slow)])
def test_requests_made_up_from_the_description_are_answered_by_it(kind: str) -> None:
    outcome = explore(kind, examples=2)
    assert outcome.faults == []
    assert outcome.operations > 25
    assert outcome.requests > outcome.operations


@pytest.mark.slow
@pytest.mark.parametrize("kind", [OPEN, KEYED])
def test_many_more_of_them_are_and_memory_stays(kind: str) -> None:
    outcome = explore(kind, examples=20, rounds=2)
    assert outcome.faults == []
    assert outcome.growth_bytes < MOST_BYTES
