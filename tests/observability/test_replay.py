"""Recorded decisions, decided again by other routes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from synaptoroute import AdaptiveRouter
from synaptoroute.errors import RevisionNotFoundError, SnapshotNotFoundError
from synaptoroute.observability.record_reading import read_records
from synaptoroute.observability.records import DecisionLog
from synaptoroute.replaying import replay
from synaptoroute.storage import SQLiteStorage
from tests.cli.test_cli import run
from tests.observability.conftest import small_router
from tests.seeded import SeededEncoder, route

QUERIES = [f"{name} {number}" for name in ("billing", "music", "weather") for number in range(4)]


@pytest.fixture
def recorded(tmp_path: Path) -> Iterator[tuple[AdaptiveRouter, Path]]:
    """A router whose decisions were recorded with their texts, and the records."""
    path = tmp_path / "decisions.jsonl"
    with small_router() as router:
        log = DecisionLog(path, queries="text")
        router.add_hook(log)
        assert [decision.name for decision in router.route_many(QUERIES)] == [query.split()[0] for query in QUERIES]
        router.remove_hook(log)
        log.close()
        yield router, path


def test_by_the_same_routes_nothing_changes(recorded: tuple[AdaptiveRouter, Path]) -> None:
    router, path = recorded
    for at in (None, router.revision):
        report = replay(router, read_records(path), at=at)
        assert (report.records, report.comparison.compared, report.comparison.changed) == (12, 12, 0)
        assert report.at == f"revision {router.revision}"


def test_by_another_revision_or_snapshot_it_is_said_what_changes(recorded: tuple[AdaptiveRouter, Path]) -> None:
    router, path = recorded
    before = router.revision
    router.delete_route("music")
    router.save_snapshot("quiet")
    router.rollback(before)
    for at in (before + 1, "quiet"):
        report = replay(router, read_records(path), at=at, examples=2)
        assert report.comparison.changed == 4
        assert {pair.before for pair in report.comparison.pairs} == {"music"}
        assert all(pair.after != "music" for pair in report.comparison.pairs)
        assert [each.query for each in report.comparison.examples] == ["music 0", "music 1"]
    assert replay(router, read_records(path)).comparison.changed == 0
    with pytest.raises(RevisionNotFoundError):
        replay(router, read_records(path), at=99)
    with pytest.raises(SnapshotNotFoundError):
        replay(router, read_records(path), at="nothing")


def test_what_a_call_had_asked_for_holds_again(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    with small_router(hooks=[log := DecisionLog(path, queries="text")]) as router:
        decisions = [
            router.route("music 1", allow=["billing"]),
            router.route("music 1", threshold=1.0),
            router.route("billing 9", min_confidence=0.999),
            router.route("weather 1", allow=["weather", "music"]),
            router.route("weather unseen", min_confidence=0.0, exact=True),
        ]
        log.flush()
        report = replay(router, read_records(path))
        assert (report.comparison.compared, report.comparison.changed) == (5, 0)
        assert len({decision.name for decision in decisions}) > 1
        router.delete_route("music")
        # A route that was allowed and is gone is left out; the other one still is.
        assert replay(router, read_records(path)).comparison.compared == 5


def test_records_without_text_or_sense_are_counted_and_not_replayed(
    recorded: tuple[AdaptiveRouter, Path],
) -> None:
    router, path = recorded
    known = json.loads(path.read_text().splitlines()[0])
    del known["query"]
    nonsense = [
        known | {"query": " "},
        known | {"query": "x", "asked": {"threshold": 9}},
        known | {"query": "y", "asked": {"nobody": 1}},
    ]
    with path.open("a") as file:
        file.write("".join(json.dumps(record) + "\n" for record in [known, known, *nonsense]))
        file.write("{broken\n")
    report = replay(router, read_records(path))
    assert report.records == 18
    assert report.without_text == 2
    # The text, the threshold and the broken line; an option that nobody knows is left aside.
    assert report.unusable == 3
    assert report.comparison.compared == 13
    assert "2 have no text" in str(report)


@pytest.fixture
def store(tmp_path: Path, demo_store: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo's store with two recorded queries, in the current folder, beside decisions.jsonl."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SYNAPTOROUTE_DB", raising=False)
    with AdaptiveRouter(
        storage=SQLiteStorage(demo_store), hooks=[DecisionLog("decisions.jsonl", queries="text")]
    ) as router:
        router.wait_until_fitted()
        assert router.route("my parcel has not arrived yet")
        router.route("where is my refund")
        router.save_snapshot("spring")
    return demo_store


def test_the_command_shows_what_would_change(store: Path) -> None:
    result = run("replay", "decisions.jsonl", "--db", store, "--at", "spring", "--json")
    assert result.code == 0, result.stderr
    report = json.loads(result.stdout)
    assert (report["at"], report["records"], report["comparison"]["changed"]) == ("snapshot spring", 2, 0)
    table = run("replay", "decisions.jsonl", "--db", store)
    assert table.code == 0
    assert "revision 1" in table.stdout


def test_the_command_says_how_many_have_no_text_and_what_is_missing(store: Path) -> None:
    with Path("decisions.jsonl").open("a") as file:
        record = json.loads(Path("decisions.jsonl").read_text().splitlines()[0])
        record.pop("query")
        file.write(json.dumps(record) + "\n")
    result = run("replay", "decisions.jsonl", "--db", store)
    assert result.code == 0
    assert "1 of 3 records have no text" in result.stderr
    missing = run("replay", "nothing.jsonl", "--db", store)
    assert missing.code == 1
    assert "no records" in missing.stderr
    gone = run("replay", "decisions.jsonl", "--db", store, "--at", "99")
    assert gone.code == 1


def test_the_encoder_of_the_router_decides(recorded: tuple[AdaptiveRouter, Path]) -> None:
    _, path = recorded
    with AdaptiveRouter(SeededEncoder()) as other:
        other.add_routes([route("billing"), route("sports")])
        report = replay(other, read_records(path))
        assert {pair.before for pair in report.comparison.pairs} <= {"music", "weather", "billing"}
        assert report.comparison.compared == 12
