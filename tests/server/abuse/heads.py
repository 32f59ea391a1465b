"""Heads that are not what they should be: lines, headers, paths, methods."""

from __future__ import annotations

from collections.abc import Iterator

from tests.server.abuse.bodies import ROUTE, Attack
from tests.server.abuse.wire import MARK, request

_GOOD = b'{"text": "a"}'
_FINE = frozenset({200})


def line_attacks() -> Iterator[Attack]:
    """What is hardly HTTP; hanging up is an answer to it."""
    for name, wire in {
        "nonsense": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500 + b"\r\n\r\n",
        "NULs": b"\x00" * 1000 + b"\r\n\r\n",
        "no version": b"GET /livez\r\n\r\n",
        "version 3": b"GET /livez HTTP/3.0\r\nHost: 127.0.0.1\r\n\r\n",
        "version word": b"GET /livez HTTP/x.y\r\nHost: 127.0.0.1\r\n\r\n",
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "space in path": b"GET /livez x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "unknown method": b"BREW /v1/route HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "lower-case method": b"get /v1/routes HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "long method": b"G" * 70_000 + b" / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "NUL in a header": b"GET /v1/routes HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: a\x00b\r\n\r\n",
        "NUL in a name": b"GET /v1/routes HTTP/1.1\r\nHost: 127.0.0.1\r\nX\x00A: b\r\n\r\n",
        "space before colon": b"GET /v1/routes HTTP/1.1\r\nHost : 127.0.0.1\r\n\r\n",
        "header without colon": b"GET /v1/routes HTTP/1.1\r\nHost: 127.0.0.1\r\nnonsense\r\n\r\n",
        "empty header name": b"GET /v1/routes HTTP/1.1\r\nHost: 127.0.0.1\r\n: x\r\n\r\n",
        "bare line feeds": b"GET /nowhere HTTP/1.1\nHost: 127.0.0.1\n\n",
        "lone CR": b"GET /v1/routes HTTP/1.1\rHost: 127.0.0.1\r\r",
    }.items():
        # A lone CR never ends a head, so that the connection is only closed after a while.
        yield Attack(name=f"line, {name}", wire=wire, method="GET", may_hang_up=True, accepted=_FINE)


def length_attacks() -> Iterator[Attack]:
    """Bodies whose length is a lie, as for smuggling a request past a proxy."""
    for name, headers in {
        "negative": [("Content-Length", "-1")],
        "word": [("Content-Length", "many")],
        "huge": [("Content-Length", "9" * 30)],
        "plus": [("Content-Length", "+13")],
        "hexadecimal": [("Content-Length", "0x0d")],
        "two that differ": [("Content-Length", "13"), ("Content-Length", "5")],
        "list": [("Content-Length", "13, 13")],
        "length and chunks": [("Content-Length", "13"), ("Transfer-Encoding", "chunked")],
        "chunks spelt otherwise": [("Transfer-Encoding", "xchunked")],
        "chunks not last": [("Transfer-Encoding", "chunked, identity")],
        "100 MB": [("Content-Length", "100000000")],
    }.items():
        yield Attack(name=f"length, {name}", wire=request("POST", ROUTE, _GOOD, headers), may_hang_up=True)
    for name, chunks in {
        "size word": b"zz\r\n{}\r\n0\r\n\r\n",
        "size negative": b"-5\r\n{}\r\n0\r\n\r\n",
        "size huge": b"f" * 40 + b"\r\n{}\r\n0\r\n\r\n",
        "size wrong": b"2\r\n%s\r\n0\r\n\r\n" % _GOOD,
        "long extension": b"2;" + b"x" * 200_000 + b"\r\n{}\r\n0\r\n\r\n",
    }.items():
        wire = request("POST", ROUTE, b"", [("Transfer-Encoding", "chunked")]) + chunks
        yield Attack(name=f"chunk, {name}", wire=wire, may_hang_up=True)


def header_attacks() -> Iterator[Attack]:
    """Headers that are too many, too long, or say nonsense."""
    many = [(f"X-{number}", "x" * 10) for number in range(10_000)]
    yield Attack(name="10,000 headers", wire=request("GET", "/v1/routes", headers=many), method="GET", may_hang_up=True)
    for size in (70_000, 1_000_000):
        wire = request("GET", "/v1/routes", headers=[("X-Long", "x" * size)])
        yield Attack(name=f"header of {size} bytes", wire=wire, method="GET", may_hang_up=True)
        wire = request("GET", "/v1/routes?query=" + "x" * size)
        yield Attack(name=f"path of {size} bytes", wire=wire, method="GET", may_hang_up=True)
    for host in (
        b"evil.example",
        b"127.0.0.1@evil.example",
        b"127.0.0.1.evil.example",
        b"evil.example:80",
        b"",
        b"[",
        b"[::1",
        b"[::1]evil",
        b"127.0.0.1:x",
        b"\xff\xfe",
        b"a" * 10_000,
        b"localhost evil",
        b"localhost,evil.example",
    ):
        accepted = _FINE if host in {b"127.0.0.1:x", b"[::1]evil", b"[::1"} else frozenset[int]()
        wire = request("GET", "/v1/routes", host=host)
        yield Attack(name=f"host {host[:20]!r}", wire=wire, method="GET", accepted=accepted)
    yield Attack(name="no host", wire=request("GET", "/v1/routes", host=None), method="GET")
    wire = request("GET", "/v1/routes", headers=[("Host", "127.0.0.1"), ("Host", "evil.example")], host=None)
    yield Attack(name="two hosts", wire=wire, method="GET")
    for value in (b"\xff" * 50, b"Bearer", b"Bearer " + b"x" * 20_000, b"Basic !!!", b"Digest a=b", b"Bearer \x7f"):
        wire = request("GET", "/v1/status", headers=[("Authorization", value)])
        # A server without keys does not look.
        yield Attack(name=f"authorization {value[:12]!r}", wire=wire, method="GET", accepted=_FINE)
    for value in (b"x" * 200, b"a b", b"\xc3\xa9", b"<script>", b"", MARK.encode() + b";"):
        wire = request("GET", "/v1/nothing", headers=[("X-Request-ID", value)])
        yield Attack(name=f"request id {value[:12]!r}", wire=wire, method="GET")
    for origin in (b"http://evil.example", b"null", b"file://", b"http://[", b"\xff", b"http://127.0.0.1.evil.example"):
        body = b'{"name": "crossed", "utterances": ["x"]}'
        wire = request("POST", "/v1/routes", body, [("Origin", origin)])
        yield Attack(name=f"origin {origin[:20]!r}", wire=wire)
    for name, words in (
        ("Accept", "x" * 1000),
        ("Range", "bytes=0-0,-1"),
        ("Upgrade", "websocket"),
        ("Upgrade", "h2c"),
        ("Connection", "close, keep-alive, Host"),
        ("Expect", "200-ok"),
        ("X-Forwarded-For", "127.0.0.1, " * 500),
        ("X-Forwarded-Host", "evil.example"),
        ("X-HTTP-Method-Override", "DELETE"),
        ("Cookie", "a=" + "b" * 8_000),
    ):
        wire = request("GET", "/v1/routes/nothing", headers=[(name, words)])
        yield Attack(name=f"{name} {words[:12]!r}", wire=wire, method="GET", may_hang_up=name == "Upgrade")


def match_attacks(route: str) -> Iterator[Attack]:
    """If-Match that matches no revision, on a route that is there and must stay as it is."""
    for value in (
        b"x",
        b'"x"',
        b'W/"1"',
        b'"-1"',
        b'"1.5"',
        b'"999999999999999999999999999"',
        b'"1", "2"',
        b'""',
        b'"',
        b"",
        b"\xef\xbc\x91",
        b'"\xd9\xa1"',
        b'"0"',
        b"x" * 10_000,
        b'"1"' * 1000,
    ):
        for method, body in (
            ("PATCH", b'{"description": "changed"}'),
            ("DELETE", None),
            ("PUT", b'{"utterances": ["x"]}'),
        ):
            wire = request(method, f"/v1/routes/{route}", body, [("If-Match", value)])
            yield Attack(name=f"{method} if-match {value[:12]!r}", wire=wire, method=method)
    wire = request("PUT", f"/v1/routes/{route}", b'{"utterances": ["x"]}', [("If-None-Match", "x")])
    yield Attack(name="if-none-match", wire=wire, method="PUT")


def path_attacks() -> Iterator[Attack]:
    """Paths that try to be others, and parameters out of their range."""
    for path in (
        "/v1/routes/%2F",
        "/v1/routes/%00",
        "/v1/routes/a%00b",
        "/v1/routes/..",
        "/v1/routes/../../etc/passwd",
        "/v1/routes/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/v1/routes/..%5c..%5c",
        "/v1/routes/%252e%252e%252f",
        "/v1/routes/%ff%fe",
        "/v1/routes/%c0%af",
        "/v1/routes/%ed%a0%80",
        "/v1/routes/%",
        "/v1/routes/%zz",
        "/v1/routes/" + "a" * 10_000,
        "/v1/routes/x/utterances/../../..",
        "/v1/routes//utterances",
        "//v1//routes",
        "/v1/routes/",
        "/v1/route/",
        "/V1/ROUTES",
        "/v1",
        "/v1/nothing",
        "/.git/config",
        "/docs/../openapi.json",
        "/static/..%2f..%2f..%2fetc%2fpasswd",
        "/static/%2e%2e/%2e%2e/pyproject.toml",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/v1/jobs/..%2fstatus",
        "/v1/jobs/" + "x" * 500,
        "/v1/snapshots/%00/use",
        "/v1/routes?limit=-1",
        "/v1/routes?limit=0",
        "/v1/routes?limit=99999999999999999999999",
        "/v1/routes?limit=1e3",
        "/v1/routes?limit=",
        "/v1/routes?after=nothing",
        "/v1/routes?after=%00",
        "/v1/routes?utterances=perhaps",
        "/v1/history?limit=x",
        "/v1/history?limit=10001",
        "/v1/diff",
        "/v1/diff?first=-1&second=1",
        "/v1/diff?first=99999999999999999999&second=0",
        "/v1/diff?first=1&second=999999999",
        "/v1/export?format=exe",
        "/v1/export?format=..%2f..%2fetc",
        b"/v1/routes/\xff\xfe",
        b"/v1/routes?query=\xff",
        b"http://evil.example/v1/nothing",
        b"*",
        b"nothing",
    ):
        accepted = _FINE if path == b"/v1/routes?query=\xff" else frozenset[int]()
        shown = path[:40] if isinstance(path, str) else path[:40].decode("latin-1")
        wire = request("GET", path)
        yield Attack(
            name=f"path {shown}", wire=wire, method="GET", accepted=accepted, may_hang_up=isinstance(path, bytes)
        )
    for method in ("TRACE", "CONNECT", "OPTIONS", "PROPFIND", "DELETE", "PUT", "PATCH", "HEAD"):
        for path in ("/v1/route", "/v1/status", "/livez", "/v1/nothing"):
            target = "127.0.0.1:1" if method == "CONNECT" else path
            wire = request(method, target)
            yield Attack(name=f"{method} {path}", wire=wire, method=method, may_hang_up=method == "CONNECT")
