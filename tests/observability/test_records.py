"""Records of decisions: what is in them, that they stay bounded, and that no query waits for them."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from synaptoroute import AdaptiveRouter
from synaptoroute.errors import InvalidInputError, StorageError
from synaptoroute.observability.context import request_id
from synaptoroute.observability.record_reading import read_records, record_files
from synaptoroute.observability.records import DecisionLog, utterance_id
from tests.observability.conftest import small_router


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_tells_what_was_decided_and_nothing_of_the_query(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "decisions.jsonl"
    with small_router(hooks=[DecisionLog(path)]) as router:
        token = request_id.set("request-7")
        decision = router.route("billing xyzzy", min_confidence=0.1)
        request_id.reset(token)
        router.route("music 1", allow=["music", "billing"], exact=True)
    first, second = lines(path)
    assert first == {
        "at": first["at"],
        "request_id": "request-7",
        "revision": decision.revision,
        "route": "billing",
        "reason": "matched",
        "stage": "encoder",
        "best": "billing",
        "confidence": pytest.approx(decision.confidence, abs=1e-6),
        "margin": pytest.approx(decision.margin, abs=1e-6),
        "score": pytest.approx(decision.score, abs=1e-6),
        "nearest": utterance_id("billing", decision.matches[0].utterance),
        "asked": {"min_confidence": 0.1},
    }
    assert first["at"].endswith("+00:00")
    assert second["request_id"] is None
    assert second["asked"] == {"allow": ["billing", "music"], "exact": True}
    assert "xyzzy" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_id_of_an_utterance_is_the_same_everywhere_and_tells_routes_apart() -> None:
    assert utterance_id("billing", "pay my bill") == "8999c8a6bde097fc"
    assert utterance_id("billing", "pay my bill") != utterance_id("money", "pay my bill")
    assert utterance_id("a", "b c") != utterance_id("a b", "c")


def test_an_abstention_and_a_table_without_routes_are_recorded_as_well(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    with AdaptiveRouter(hooks=[DecisionLog(path)]) as router:
        router.route("anything")
    (record,) = lines(path)
    assert (record["route"], record["reason"], record["nearest"], record["score"]) == (None, "no_routes", None, None)


def test_texts_and_hashes_are_recorded_only_when_asked_for(tmp_path: Path) -> None:
    texts = DecisionLog(tmp_path / "texts.jsonl", queries="text")
    hashes = DecisionLog(tmp_path / "hashes.jsonl", queries="hash", key="0123456789abcdef")
    others = DecisionLog(tmp_path / "others.jsonl", queries="hash", key="fedcba9876543210")
    with small_router(hooks=[texts, hashes, others]) as router:
        router.route_many(["music 1", "music 2", " music 1 "])
    assert [record["query"] for record in lines(texts.path)] == ["music 1", "music 2", "music 1"]
    first, second, third = (record["query_hash"] for record in lines(hashes.path))
    assert first == third != second
    assert first not in {record["query_hash"] for record in lines(others.path)}
    assert "music 1" not in hashes.path.read_text()


def test_options_that_make_no_sense_are_refused_and_a_hash_needs_a_key(tmp_path: Path) -> None:
    for options in ({"queries": "all"}, {"queries": "hash"}, {"queries": "hash", "key": "short"}, {"files": -1},
                    {"max_bytes": 0}, {"waiting": 0}):  # fmt: skip
        with pytest.raises(InvalidInputError):
            DecisionLog(tmp_path / "no.jsonl", **options)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        DecisionLog(tmp_path / "file" / "no.jsonl")


def test_files_are_bounded_in_size_and_number_and_read_oldest_first(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    log = DecisionLog(path, queries="text", max_bytes=2_000, files=3)
    with small_router(hooks=[log]) as router:
        for number in range(60):
            router.route(f"music {number}")
            assert log.flush()
    assert log.written == 60
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "decisions.jsonl",
        *(f"decisions.jsonl.{n}" for n in (1, 2, 3)),
    ]
    assert all(file.stat().st_size <= 2_000 for file in tmp_path.iterdir())
    records = list(read_records(path))
    queries = [record.query for record in records if record is not None]
    assert queries == [f"music {number}" for number in range(60 - len(queries), 60)]
    assert len(queries) > 20


def test_without_predecessors_only_the_current_file_is_kept(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.jsonl", max_bytes=1_000, files=0)
    with small_router(hooks=[log]) as router:
        for number in range(20):
            router.route(f"music {number}")
    assert [file.name for file in tmp_path.iterdir()] == ["decisions.jsonl"]
    assert log.path.stat().st_size <= 1_000


def test_what_comes_while_too_much_waits_is_dropped_and_counted(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.jsonl", waiting=10)
    with small_router(hooks=[log]) as router:
        router.route_many([f"music {number}" for number in range(11)])
        assert (log.dropped, log.written) == (11, 0)
        router.route_many([f"music {number}" for number in range(10)])
        assert log.flush()
        assert (log.dropped, log.written) == (11, 10)


def test_a_disk_that_takes_nothing_costs_records_and_no_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Every write there fails for want of room, as on a full disk.
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    path = tmp_path / "decisions.jsonl"
    path.symlink_to(full)
    with caplog.at_level(logging.ERROR), small_router(hooks=[DecisionLog(path)]) as router:
        assert router.route("music 1").name == "music"
    assert "cannot be written" in caplog.text
    assert "music 1" not in caplog.text


def test_a_line_that_a_killed_process_left_is_skipped_and_the_next_stands_on_its_own(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text('{"at":"2026-11-01T00:00:00+00:00","rou')
    with small_router(hooks=[DecisionLog(path)]) as router:
        router.route("music 1")
    broken, whole = read_records(path)
    assert broken is None
    assert whole is not None
    assert whole.decision.name == "music"


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "null",
        "1",
        '"text"',
        "{}",
        '{"route": 1}',
        "\x00",
        '{"route":null,"score":null,"confidence":"x","margin":null,"reason":"matched","revision":1}',
    ],
)
def test_lines_that_are_no_records_are_told_apart(tmp_path: Path, line: str) -> None:
    path = tmp_path / "decisions.jsonl"
    path.write_text(line + "\n")
    assert list(read_records(path)) == [None]


def test_a_folder_of_records_is_read_as_one_and_nothing_there_is_an_error(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl.2", "a.jsonl.10", "a.jsonl", "a.jsonl.gz", "notes.txt"):
        (tmp_path / name).write_text("")
    assert [file.name for file in record_files(tmp_path)] == ["a.jsonl.10", "a.jsonl.2", "a.jsonl", "b.jsonl"]
    with pytest.raises(InvalidInputError, match="no records"):
        record_files(tmp_path / "nothing.jsonl")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match="no records"):
        record_files(tmp_path / "empty")


def test_what_was_decided_is_written_when_the_program_ends_without_closing(tmp_path: Path) -> None:
    code = (
        "import sys; from synaptoroute.observability.records import DecisionLog\n"
        "from tests.observability.conftest import small_router\n"
        "router = small_router(hooks=[DecisionLog(sys.argv[1])])\n"
        "[router.route(f'music {number}') for number in range(100)]\n"
    )
    path = tmp_path / "decisions.jsonl"
    root = Path(__file__).parents[2]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root / "src"), str(root)])}
    subprocess.run([sys.executable, "-c", code, str(path)], check=True, env=environment)
    assert len(lines(path)) == 100


def _in_child(router: AdaptiveRouter, log: DecisionLog) -> None:
    router.route("billing 1")
    log.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_writes_beside_its_parent(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.jsonl")
    with small_router(hooks=[log]) as router:
        router.route("music 1")
        process = multiprocessing.get_context("fork").Process(target=_in_child, args=(router, log))
        process.start()
        process.join()
        child = tmp_path / f"decisions-{process.pid}.jsonl"
        router.route("music 2")
    assert [record["route"] for record in lines(child)] == ["billing"]
    assert [record["route"] for record in lines(log.path)] == ["music", "music"]


def test_closing_writes_what_waits_and_ends(tmp_path: Path) -> None:
    log = DecisionLog(tmp_path / "decisions.jsonl")
    with small_router() as router:
        router.add_hook(log)
        for number in range(300):
            router.route(f"music {number}")
        log.close()
        log.close()
        router.route("music after")
    assert len(lines(log.path)) == 300
