"""``bench http``, run tiny: what it writes down is checked for sense, never for speed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic_core import to_json

from synaptoroute.bench.http import measuring
from synaptoroute.bench.http.checking import Checker, alike
from synaptoroute.bench.http.connection import Connection, request
from synaptoroute.bench.http.measuring import OVERLOAD, measure, steps
from synaptoroute.bench.http.service import serving
from synaptoroute.bench.load.manifest import HttpOverloadRow, HttpPacedRow, HttpRow, LoadManifest, read
from synaptoroute.bench.load.stored import Stored, stored
from synaptoroute.bench.load.tables import load_tables
from synaptoroute.bench.load.timing import MeasurementError, Steps
from synaptoroute.bench.manifest import DataInfo, write_manifest
from synaptoroute.bench.report import html
from tests.bench.conftest import TINY

DECISION = {"name": "a", "score": 0.25, "matches": [{"name": "a", "score": 0.25}], "reason": "matched"}


@pytest.fixture(scope="module")
def subject() -> Iterator[Stored]:
    with stored(TINY, shots=None, queries=64) as made:
        yield made


@pytest.mark.slow
def test_a_tiny_run_measures_everything_and_comes_back_from_its_file(
    subject: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "_CONNECTIONS", 32)
    done: list[tuple[int, int]] = []
    rows = list(
        measure(
            subject,
            rounds=1,
            paced_s=0.3,
            overload_s=0.3,
            step=Steps(lambda *progress: done.append(progress), steps(1)),
        )
    )
    assert done[-1] == (steps(1), steps(1))
    compared = [row for row in rows if isinstance(row, HttpRow)]
    assert {(row.texts, row.size) for row in compared} >= {("new", 1), ("repeated", 1)}
    for row in compared:
        assert (row.failed, row.wrong) == (0, 0)
        assert row.queries_per_s.median == pytest.approx(row.requests_per_s.median * row.size, rel=1e-3)
        assert row.ratio.median == pytest.approx(row.queries_per_s.median / row.router_per_s.median, rel=1e-2)
    (paced,) = [row for row in rows if isinstance(row, HttpPacedRow)]
    assert (paced.share, paced.failed, paced.wrong) == (0.5, 0, 0)
    (overload,) = [row for row in rows if isinstance(row, HttpOverloadRow)]
    assert overload.wrong == 0
    assert overload.offered_per_s <= 1.5 * OVERLOAD * overload.capacity_per_s
    assert overload.memory_peak.resident_bytes >= overload.memory_after.resident_bytes > 0
    manifest = LoadManifest.begin("http", command="x", rounds=1, encoder=subject.encoder, dataset=DataInfo.of(TINY))
    for one in rows:
        manifest = manifest.with_row(one)
    write_manifest(manifest, tmp_path / "http.json")
    again = read(tmp_path / "http.json")
    assert again == manifest
    titles = [table.title for table in load_tables([manifest])]
    assert titles == ["HTTP", "HTTP at a steady pace", "HTTP under overload"]
    assert "HTTP under overload" in html([manifest])


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(MeasurementError, match="no file"), serving(["--routes", "/nonsense.yaml"]):
        pass


def test_an_answer_that_differs_is_told_from_one_that_differs_by_rounding() -> None:
    expected = to_json([DECISION])
    checker = Checker([expected])

    def answer(**changes: object) -> bytes:
        return b'{"decisions":' + to_json([DECISION | changes]) + b',"revision":1}'

    checker.check(0, answer())
    assert (checker.inexact, checker.wrong) == (0, 0)
    checker.check(0, answer(score=0.250001))
    assert (checker.inexact, checker.wrong) == (1, 0)
    for body in (answer(score=0.26), answer(name=None), answer(matches=[]), b'{"decisions":[]}', b"", b"[]", b"{}"):
        before = checker.wrong
        checker.check(0, body)
        assert checker.wrong == before + 1
    assert not alike({"a": 1.0}, {"a": 1.0, "b": 2})
    assert not alike(1.0, "1.0")


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_answers_are_found_however_they_are_cut(size: int) -> None:
    body = json.dumps({"decisions": [DECISION]}).encode()
    wire = b"HTTP/1.1 200 OK\r\nContent-LENGTH: %d\r\nX: y\r\n\r\n%b" % (len(body), body)
    seen: list[tuple[int, bytes]] = []
    connection = Connection(lambda _connection, status, answer: seen.append((status, answer)))
    connection.busy = True
    for start in range(0, len(wire), size):
        connection.data_received(wire[start : start + size])
    assert seen == [(200, body)]
    assert not connection.busy


async def test_a_connection_that_breaks_counts_as_status_0() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"}")
        writer.close()

    seen = asyncio.get_running_loop().create_future()
    async with await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        _, connection = await asyncio.get_running_loop().create_connection(
            lambda: Connection(lambda _connection, status, _body: seen.set_result(status)), host, port
        )
        connection.ask(0, request(host, port, b"{}"), 0.0)
        assert await asyncio.wait_for(seen, 30) == 0
        assert not connection.open
