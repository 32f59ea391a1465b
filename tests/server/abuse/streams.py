"""Attacks that take their time, or send without end."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

from synaptoroute.bench.http.service import Service
from tests.server.abuse.bodies import FIT, IMPORT, ROUTE, ROUTES
from tests.server.abuse.wire import answers, chunked, connected, exchange, faults, request, send

GOOD = b'{"text": "where is my parcel"}'
CHUNKS = [("Transfer-Encoding", "chunked")]
#: 100 MB.
_CHUNK, _COUNT = b" " * 100_000, 1_000
_MANY = 200


def endless_bodies(service: Service) -> Iterator[str]:
    """100 MB in chunks to every kind of endpoint, and 100 MB that are announced."""
    for where in (ROUTE, ROUTES, FIT, IMPORT, "/v1/nothing", "/v1/status"):
        seen = exchange(service, request("POST", where, b"", CHUNKS), *chunked(_CHUNK, _COUNT))
        if fault := faults(seen, may_hang_up=True):
            yield f"100 MB in chunks to {where}: {fault}"
        head = request("POST", where, b"", [("Content-Length", str(len(_CHUNK) * _COUNT))])
        seen = exchange(service, head, *(_CHUNK for _ in range(_COUNT)))
        if fault := faults(seen, may_hang_up=True):
            yield f"100 MB to {where}: {fault}"
    # Many small ones: each costs more than its byte.
    seen = exchange(service, request("POST", ROUTE, b"", CHUNKS), *(b"1\r\nx\r\n" * 1000 for _ in range(2_000)))
    if fault := faults(seen, may_hang_up=True):
        yield f"2,000,000 chunks of one byte: {fault}"


def pipelined(service: Service) -> Iterator[str]:
    """Many requests in one go: answered in order, and not kept in memory if nobody reads the answers."""
    wire = [request("POST", ROUTE, GOOD), request("GET", "/v1/nothing"), request("GET", "/livez")] * 20
    with connected(service) as connection:
        send(connection, [b"".join(wire)])
        seen = answers(connection, ["POST", "GET", "GET"] * 20)
        if [answer.status for answer in seen] != [200, 404, 200] * 20:
            yield f"60 requests in one go: {[answer.status for answer in seen]}"
    with connected(service) as connection:
        send(connection, [request("POST", ROUTE, GOOD) + b"nonsense\r\n\r\n" + request("GET", "/livez")])
        statuses = [answer.status for answer in answers(connection, ["POST", "GET", "GET"])]
        if statuses[:1] != [200] or statuses[1] not in {0, 400} or 200 in statuses[1:]:
            yield f"a request, nonsense, a request: {statuses}"
    with connected(service) as connection:
        connection.settimeout(2)
        # Exports are long; what is not taken must hold up the rest.
        send(connection, [request("GET", "/v1/export") * 100 for _ in range(20)])


def slow(service: Service) -> Iterator[str]:
    """Heads and bodies that never end; the server runs with limits of a second."""
    with ExitStack() as stack:
        heads = [stack.enter_context(connected(service)) for _ in range(_MANY)]
        bodies = [stack.enter_context(connected(service)) for _ in range(_MANY)]
        for connection in heads:
            send(connection, [b"POST /v1/route HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: "])
        for connection in bodies:
            send(connection, [request("POST", ROUTE, b'{"te', [("Content-Length", "1000")])])
        began = time.monotonic()
        ended = {id(connection): False for connection in heads}
        while time.monotonic() - began < 10 and not all(ended.values()):
            for connection in heads:
                # A byte now and then: a limit on silence alone would never be reached.
                ended[id(connection)] = ended[id(connection)] or not send(connection, [b"x"]) or _hung_up(connection)
            time.sleep(0.1)
        if not all(ended.values()):
            yield f"{sum(not over for over in ended.values())} of {_MANY} heads without end were still open after 10 s"
        for connection in bodies:
            if fault := faults(answers(connection)[0], may_hang_up=True):
                yield f"a body without end: {fault}"
                break
        if exchange(service, request("POST", ROUTE, GOOD)).status != 200:
            yield "a good request was not answered beside slow ones"


def crowds(service: Service) -> Iterator[str]:
    """Connections that say nothing, and some that are reset in the middle."""
    with ExitStack() as stack:
        for _ in range(_MANY):
            stack.enter_context(connected(service))
        if exchange(service, request("POST", ROUTE, GOOD)).status != 200:
            yield "a good request was not answered beside idle connections"
    for _ in range(_MANY):
        with connected(service) as connection:
            send(connection, [request("POST", ROUTE, GOOD)])
            # A reset instead of an end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    with connected(service) as connection:
        send(connection, [request("POST", ROUTE, GOOD)[:-5]])
        connection.shutdown(socket.SHUT_WR)
        (seen,) = answers(connection)
        if fault := faults(seen, may_hang_up=True):
            yield f"a body that is cut off: {fault}"


ALL: dict[str, Callable[[Service], Iterator[str]]] = {
    "endless bodies": endless_bodies,
    "pipelining": pipelined,
    "slow": slow,
    "crowds": crowds,
}


def _hung_up(connection: socket.socket) -> bool:
    readable, _, _ = select.select([connection], [], [], 0)
    if not readable:
        return False
    try:
        # An answer, a problem of 4xx, is an end as well.
        return connection.recv(65_536) is not None
    except ConnectionError:
        return True
