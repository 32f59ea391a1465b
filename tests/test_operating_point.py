"""The operating point that somebody sets: durable, followed, and taken over by a later fit that chooses one."""

from __future__ import annotations

import csv
import json
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path

import pytest

from synaptoroute import AdaptiveRouter, Reason
from synaptoroute.encoder import BundledEncoder
from synaptoroute.errors import InvalidInputError, RevisionConflictError, RouterClosedError
from synaptoroute.history import acting_as
from synaptoroute.storage import PostgresStorage, SQLiteStorage
from tests.cli.test_cli import run
from tests.postgres_server import PostgresServer
from tests.seeded import SeededEncoder, route
from tests.test_following import eventually


def opened(path: Path) -> AdaptiveRouter:
    return AdaptiveRouter(SeededEncoder(), SQLiteStorage(path))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with opened(tmp_path / "routes.db") as router:
        router.add_routes(route(name) for name in ("r1", "r2", "r3"))
        router.wait_until_fitted()
    return tmp_path / "routes.db"


def test_it_decides_at_once_and_after_a_restart_and_learns_nothing(path: Path) -> None:
    with opened(path) as router:
        before, revision = router("r1 wanted"), router.revision
        assert before.name == "r1"
        assert router.operating_point.to_dict() == {
            "min_confidence": 0.5,
            "source": "default",
            "actor": None,
            "at": None,
        }
        learned = router.snapshot.learned
        with acting_as("ann"):
            point = router.set_operating_point(1.0)
        assert router("r1 wanted").reason in (Reason.BELOW_CONFIDENCE, Reason.AMBIGUOUS)
        assert router("r1 wanted").confidence == before.confidence
        assert (router.revision, router.snapshot.learned, router.settled) == (revision, learned, True)
    with opened(path) as router:
        assert router.operating_point == point
        assert (point.min_confidence, point.source, point.actor) == (1.0, "set", "ann")
        assert point.at is not None
        assert datetime.now(UTC) - point.at < timedelta(minutes=10)
        assert not router("r1 wanted")
        limit = router.explain("r1 wanted").limits.min_confidence
        assert (limit.value, limit.source) == (1.0, "set")
        assert router.settled
        assert router.set_operating_point(0.0).min_confidence == 0.0
        assert router("nothing of the kind")
        assert router.set_operating_point(None).source == "default"
        assert router("r1 wanted") == before


def test_it_goes_on_through_changes_of_routes(path: Path) -> None:
    with opened(path) as router:
        router.set_operating_point(0.8)
        router.add_route(route("r4"))
        router.refit()
        router.rollback(1)
        assert router.operating_point.min_confidence == 0.8


def test_a_fit_that_chooses_one_takes_over_and_one_that_does_not_leaves_it(
    encoder: BundledEncoder, demo_store: Path
) -> None:
    rows = (resources.files("synaptoroute") / "demo" / "queries.csv").read_text(encoding="utf-8").splitlines()
    queries, labels = zip(*((row["query"], row["route"] or None) for row in csv.DictReader(rows)), strict=True)
    with AdaptiveRouter(encoder, SQLiteStorage(demo_store)) as router:
        router.set_operating_point(0.9)
        assert router.fit(queries, labels).min_confidence is None
        assert router.operating_point.min_confidence == 0.9
        report = router.fit(queries, labels, max_false_reject=0.2)
        assert report.min_confidence is not None
        assert (router.operating_point.source, router.operating_point.min_confidence) == ("fit", report.min_confidence)
        assert router.set_operating_point(0.9).min_confidence == 0.9
        assert router.set_operating_point(None).source == "fit"
        router.set_operating_point(0.9)
        router.forget_fit()
        assert router.operating_point.min_confidence == 0.5
    with AdaptiveRouter(encoder, SQLiteStorage(demo_store)) as router:
        assert router.operating_point.source == "default"


def test_what_cannot_be_is_refused_and_changes_nothing(path: Path) -> None:
    with opened(path) as router:
        for wrong in (1.5, -0.1, float("nan")):
            with pytest.raises(InvalidInputError):
                router.set_operating_point(wrong)
        with pytest.raises(RevisionConflictError, match="nothing was set"):
            router.set_operating_point(0.7, expected_revision=router.revision - 1)
        assert router.set_operating_point(0.7, expected_revision=router.revision).source == "set"
    with pytest.raises(RouterClosedError):
        router.set_operating_point(0.6)
    with AdaptiveRouter(SeededEncoder(), SQLiteStorage(path), min_confidence=0.3) as router:
        point = router.operating_point
        assert (point.min_confidence, point.source) == (0.3, "router")
        with pytest.raises(InvalidInputError, match="comes before the operating point"):
            router.set_operating_point(0.6)
        router.set_operating_point(None)


def test_routers_over_a_file_take_it_over_when_they_look(path: Path) -> None:
    with opened(path) as reading, opened(path) as writing:
        writing.set_operating_point(0.75)
        learned = reading.snapshot.learned
        reading.refresh()
        assert reading.operating_point == writing.operating_point
        assert (reading.snapshot.learned, reading.settled) == (learned, True)


def test_routers_over_postgres_follow_it(postgres: PostgresServer) -> None:
    schema = postgres.schema()

    def over() -> AdaptiveRouter:
        return AdaptiveRouter(SeededEncoder(), PostgresStorage(postgres.dsn(), schema=schema, poll_s=60))

    with over() as one, over() as other:
        one.add_route(route("r1"))
        with acting_as("ann"):
            one.set_operating_point(0.75)
        assert eventually(lambda: other.operating_point == one.operating_point)
        assert other.operating_point.actor == "ann"
        other.set_operating_point(None)
        assert eventually(lambda: one.operating_point.source == "default")


def test_the_command_shows_sets_and_resets(path: Path) -> None:
    assert run("operating-point", "--db", path).stdout == "0.5 (the default)\n"
    assert run("operating-point", "--db", path, "--set", 0.7).stdout.startswith("0.7 (set by ")
    shown = run("operating-point", "--db", path, "--json").json
    assert (shown["min_confidence"], shown["source"]) == (0.7, "set")
    assert json.dumps(run("operating-point", "--db", path, "--reset", "--json").json["source"]) == '"default"'
    assert run("operating-point", "--db", path, "--reset", "--set", 0.7).code == 2
    assert run("operating-point", "--db", path, "--set", 1.7).code == 2
    gone = run("operating-point", "--db", path.with_name("none.db"))
    assert (gone.code, gone.stdout) == (1, "")
