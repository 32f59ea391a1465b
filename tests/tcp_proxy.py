"""A TCP proxy that does what networks do: it delays, cuts, resets, swallows and forgets; in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

_CHUNK = 1 << 16
#: SO_LINGER on, for 0 s: closing sends a reset instead of an orderly end.
_RESET = struct.pack("ii", 1, 0)


class TcpProxy:
    """Passes on what comes to ``port`` on loopback, until told otherwise; its attributes may be set at any time.

    Args:
        port: Of the server on loopback.

    Attributes:
        latency_s: Every piece is passed on this much later.
        bytes_per_s: A slow drip from the server; None for no limit.
        black_hole: Connections are accepted and everything is swallowed, in both directions.
        refusing: Connections are reset as soon as they are made.
        rewrite: In what comes from the server, the first is replaced by the second, of the same length.
        accepted: How many connections there have been.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self.latency_s = 0.0
        self.bytes_per_s: float | None = None
        self.black_hole = False
        self.refusing = False
        self.rewrite: tuple[bytes, bytes] | None = None
        self.accepted = 0
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    # ---------------------------------------------------------------------------------------------------- faults
    def reset(self) -> int:
        """Reset all connections, on both sides, in the middle of whatever they carry; how many there were."""
        return int(self._run(self._reset()))

    def half_open(self) -> None:
        """End all connections towards the server, and let the clients believe that theirs are there."""
        self._run(self._half_open())

    def cutting_every(self, seconds: float) -> Cutting:
        """Reset all connections again and again, within a ``with``."""
        return Cutting(self, seconds)

    async def _reset(self) -> int:
        pairs = list(self._pairs)
        for pair in pairs:
            for writer in pair:
                _reset(writer)
        return len(pairs)

    async def _half_open(self) -> None:
        for _, server in list(self._pairs):
            _reset(server)

    async def _end(self) -> None:
        self._server.close()
        await self._reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --------------------------------------------------------------------------------------------------- passing
    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        pair = None
        try:
            if self.refusing:
                _reset(client)
                return
            try:
                from_server, server = await asyncio.open_connection("127.0.0.1", self._target)
            except OSError:
                _reset(client)
                return
            pair = client, server
            self._pairs.add(pair)
            await asyncio.gather(self._pass(reader, server), self._pass(from_server, client, answers=True))
        except asyncio.CancelledError:
            pass
        finally:
            if pair is not None:
                self._pairs.discard(pair)
                for writer in pair:
                    _reset(writer)
            self._tasks.discard(task)

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, answers: bool = False) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            while data := await source.read(_CHUNK):
                if self.latency_s:
                    await asyncio.sleep(self.latency_s)
                if self.black_hole:
                    continue
                if answers and self.rewrite is not None:
                    data = data.replace(*self.rewrite)
                if answers and self.bytes_per_s is not None:
                    for byte in data:
                        sink.write(bytes([byte]))
                        await sink.drain()
                        await asyncio.sleep(1 / self.bytes_per_s)
                else:
                    sink.write(data)
                    await sink.drain()
            if not self.black_hole and not _is_closing(sink):
                sink.write_eof()


class Cutting:
    """Resets the connections of a proxy again and again while it is entered; ``cuts`` counts connections reset."""

    def __init__(self, proxy: TcpProxy, seconds: float) -> None:
        self._proxy = proxy
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="tcp-proxy-cutting", daemon=True)
        self.cuts = 0

    def _work(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            self.cuts += self._proxy.reset()
            due = max(due + self._seconds, time.monotonic())
            self._stop.wait(due - time.monotonic())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()


def _is_closing(writer: asyncio.StreamWriter) -> bool:
    return writer.transport.is_closing()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
