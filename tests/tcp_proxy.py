"""A TCP proxy between a client and a real server that can cut, swallow, delay or reset what goes through it."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from contextlib import suppress


class TcpProxy:
    """Listens on a free port of loopback and passes bytes to and from a server on loopback.

    Attributes:
        port: Where it listens.
        delay_s: How long every piece is held back, in either direction.
    """

    def __init__(self, target_port: int) -> None:
        self._target = ("127.0.0.1", target_port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.delay_s = 0.0
        self._swallowing = threading.Event()
        self._refusing = threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, *, reset: bool = False) -> int:
        """End all connections, by an RST if so wanted, and say how many there were; new ones are accepted."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for side in pair:
                # One that its pump has closed in the meantime is cut already.
                with suppress(OSError):
                    if reset:
                        # Lingering for no time makes the kernel send RST.
                        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    side.shutdown(socket.SHUT_RDWR)
        return len(pairs)

    def refuse(self, *, on: bool) -> None:
        """Cut every new connection at once."""
        (self._refusing.set if on else self._refusing.clear)()

    def swallow(self, *, on: bool) -> None:
        """A black hole: what is sent is taken and goes nowhere, and nothing comes back."""
        (self._swallowing.set if on else self._swallowing.clear)()

    def close(self) -> None:
        """Stop listening and cut everything."""
        self._closed = True
        _shut(self._listener)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing.is_set():
                client.close()
                continue
            try:
                server = socket.create_connection(self._target, timeout=5)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            with self._lock:
                self._pairs.append((client, server))
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        try:
            while True:
                for side in select.select([client, server], [], [])[0]:
                    data = side.recv(1 << 16)
                    if not data:
                        return
                    if self._swallowing.is_set():
                        continue
                    if self.delay_s:
                        time.sleep(self.delay_s)
                    other[side].sendall(data)
        except (OSError, ValueError):
            pass
        finally:
            with self._lock:
                self._pairs = [pair for pair in self._pairs if pair != (client, server)]
            for side in (client, server):
                _shut(side)
                side.close()


def _shut(side: socket.socket) -> None:
    with suppress(OSError):
        side.shutdown(socket.SHUT_RDWR)
