"""SIGTERM while many ask: what was accepted is answered whole, readiness fails first, a second signal ends at once.

And overload: what is too much is turned away with a time to come back, what is accepted is answered rightly.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from synaptoroute import AdaptiveRouter
from synaptoroute.bench.http.connection import request
from synaptoroute.bench.http.driving import generating, write_requests
from synaptoroute.bench.http.orders import Closed, Paced
from synaptoroute.bench.http.service import Service, serving, status
from synaptoroute.client import AsyncClient, Retries
from synaptoroute.encoder import BundledEncoder
from synaptoroute.errors import RouterOverloadedError
from synaptoroute.storage import SQLiteStorage

CALLERS = 16
SETTINGS = {"SYNAPTOROUTE_SHUTDOWN_GRACE_S": "1", "SYNAPTOROUTE_LOG_LEVEL": "warning"}
#: Nothing here takes this long unless it hangs.
SAFE_S = 60.0


@pytest.fixture
def service(demo_store: Path) -> Iterator[Service]:
    with serving(["--db", str(demo_store)], settings=SETTINGS) as service:
        yield service


class Load:
    """Callers on connections that they keep, each asking as soon as it was answered; a new one if it is closed."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.outcomes = Counter[str]()
        self.lost: list[str] = []
        self._over = False

    async def caller(self, number: int) -> None:
        asked = 0
        while not self._over:
            try:
                reader, writer = await asyncio.open_connection(self._service.host, self._service.port)
            except OSError:
                # Nothing was accepted, and nothing will be any more.
                self.outcomes["refused"] += 1
                return
            with suppress(OSError):
                while not self._over:
                    asked += 1
                    if not await self._ask(reader, writer, f"text {asked} of caller {number}"):
                        break
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: str) -> bool:
        """Whether the connection can be used again."""
        content = json.dumps({"texts": [text, text + " again"]}).encode()
        writer.write(request(self._service.host, self._service.port, content))
        head = await self._head(reader)
        if head is None:
            self.lost.append(f"{text}: the connection was closed without an answer")
            return False
        length = int(head["content-length"])
        try:
            body = await reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.lost.append(f"{text}: the answer was cut off")
            return False
        self.outcomes[head["status"]] += 1
        if head["status"] == "200" and len(json.loads(body)["decisions"]) != 2:
            self.lost.append(f"{text}: the answer is not whole")
        return head.get("connection", "").lower() != "close"

    async def _head(self, reader: asyncio.StreamReader) -> dict[str, str] | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        first, *lines = head.decode("ascii").split("\r\n")
        pairs = (line.partition(": ") for line in lines if line)
        return {name.lower(): value for name, _, value in pairs} | {"status": first.split()[1]}

    async def until_over(self, *signals: tuple[float, int]) -> None:
        """Ask, send the signals when their time has come, and go on until the process has ended."""
        async with asyncio.TaskGroup() as group:
            for number in range(CALLERS):
                group.create_task(self.caller(number))
            for after_s, number in signals:
                await asyncio.sleep(after_s)
                self._service.process.send_signal(number)
            await asyncio.to_thread(self._service.process.wait, SAFE_S)
            self._over = True


async def test_no_request_that_was_accepted_is_lost(service: Service) -> None:
    load = Load(service)
    await load.until_over((1.0, signal.SIGTERM))
    assert load.lost == []
    assert load.outcomes["200"] > CALLERS
    assert set(load.outcomes) <= {"200", "refused"}
    assert service.process.returncode in {0, -signal.SIGTERM}


async def test_readiness_fails_first(service: Service) -> None:
    load = Load(service)
    running = asyncio.create_task(load.until_over((0.5, signal.SIGTERM)))
    try:
        ready, seen = 200, list[tuple[int, int]]()
        while ready == 200:
            ready = await asyncio.to_thread(status, service, "/readyz")
            await asyncio.sleep(0.01)
        # Asked one after another while the grace lasts: not ready, but alive and answering.
        seen.append((ready, await asyncio.to_thread(status, service, "/livez")))
        answered = load.outcomes["200"]
        await asyncio.sleep(0.3)
        assert seen == [(503, 200)]
        assert load.outcomes["200"] > answered
    finally:
        await running
    assert load.lost == []


async def test_a_second_signal_ends_at_once(demo_store: Path) -> None:
    settings = {**SETTINGS, "SYNAPTOROUTE_SHUTDOWN_GRACE_S": "600"}
    with serving(["--db", str(demo_store)], settings=settings) as service:
        load = Load(service)
        await load.until_over((0.5, signal.SIGTERM), (0.5, signal.SIGTERM))
        # Otherwise it would have served for ten minutes.
        assert service.process.returncode is not None
        assert load.outcomes["200"] > 0


async def test_a_request_on_its_way_when_the_signal_comes_is_answered(service: Service) -> None:
    """Its connection stands and part of it was sent; the rest comes after the signal."""
    wire = request(service.host, service.port, b'{"text": "where is my parcel?"}')
    reader, writer = await asyncio.open_connection(service.host, service.port)
    writer.write(wire[:-5])
    await writer.drain()
    service.process.send_signal(signal.SIGTERM)
    while await asyncio.to_thread(status, service, "/readyz") == 200:  # noqa: ASYNC110 - of another process
        await asyncio.sleep(0.01)
    writer.write(wire[-5:])
    answer = await asyncio.wait_for(reader.read(), SAFE_S)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer.lower()
    writer.close()


def test_after_the_end_the_store_is_whole(service: Service, demo_store: Path, encoder: BundledEncoder) -> None:
    service.process.send_signal(signal.SIGTERM)
    service.process.wait(SAFE_S)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((service.host, service.port), timeout=1)
    with AdaptiveRouter(encoder, SQLiteStorage(demo_store)) as router:
        assert router.settled
        assert len(router) > 0


# -------------------------------------------------------------------------------------------------------- overload
@pytest.mark.slow
def test_what_is_too_much_is_turned_away_and_the_rest_answered_rightly(
    service: Service, learned_demo: Path, encoder: BundledEncoder, tmp_path: Path
) -> None:
    own = shutil.copy(learned_demo, tmp_path / "own.db")
    with AdaptiveRouter(encoder, SQLiteStorage(own)) as router:
        texts = [f"where is my parcel number {number} of {number % 7}" for number in range(3_000)]
        requests = write_requests(tmp_path / "requests.jsonl", router, texts, 1)
    with generating(service) as generator:
        paced = Paced(
            requests=requests, rate_per_s=6_000, seconds=1.0, connections=64, most=1_900, quick_ms=SAFE_S * 1000
        )
        outcome = generator.run(paced)
        assert outcome.wrong == 0
        assert outcome.statuses == {}
        assert outcome.refused_ms
        assert outcome.answered_ms
        assert len(outcome.refused_ms) + len(outcome.answered_ms) == outcome.asked
        assert outcome.recovery_s is not None
        # Afterwards all is as before.
        after = generator.run(Closed(requests=requests, connections=4, count=100))
        assert (len(after.answered_ms), after.wrong) == (100, 0)


async def test_a_refusal_says_when_to_come_again(demo_store: Path) -> None:
    settings = {**SETTINGS, "SYNAPTOROUTE_MAX_IN_FLIGHT": "1"}
    texts = [f"a text that takes its time, number {number}" for number in range(200)]
    with serving(["--db", str(demo_store)], settings=settings) as service:
        async with AsyncClient(service.url, retries=Retries(attempts=1)) as client:
            asked = (client.route_many(texts) for _ in range(CALLERS))
            outcomes = await asyncio.gather(*asked, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, RouterOverloadedError)]
        assert refused
        assert all(error.retry_after_s >= 1 for error in refused)
        assert any(isinstance(outcome, list) for outcome in outcomes)
        assert len(refused) + sum(isinstance(outcome, list) for outcome in outcomes) == CALLERS
        async with AsyncClient(service.url, retries=Retries(attempts=20)) as client:
            # Whoever comes again when told to is answered in the end.
            answers = await asyncio.gather(*(client.route(text) for text in texts[:4]))
        assert len(answers) == 4
