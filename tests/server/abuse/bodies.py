"""Bodies that are not what they should be."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass

from tests.server.abuse.wire import MARK, request

ROUTE = "/v1/route"
ROUTES = "/v1/routes"
FIT = "/v1/fit"
IMPORT = "/v1/import?mode=put"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One request.

    Attributes:
        name: For people.
        wire: What is sent.
        method: Of the request, as far as it has one.
        accepted: Statuses beside problems of 4xx that are fine.
        may_hang_up: No answer is fine as well.
    """

    name: str
    wire: bytes
    method: str = "POST"
    accepted: frozenset[int] = frozenset()
    may_hang_up: bool = False


#: JSON that should have been text; what parses is still no request.
JSON: dict[str, bytes] = {
    "empty": b"",
    "blank": b" \r\n\t ",
    "word": MARK.encode(),
    "null": b"null",
    "true": b"true",
    "number": b"1",
    "string": json.dumps(MARK).encode(),
    "list": b"[]",
    "object": b"{}",
    "cut off": b'{"text": "%s' % MARK.encode(),
    "trailing": b'{"text": "a"} %s' % MARK.encode(),
    "two": b'{"text": "a"}{"text": "b"}',
    "comment": b'{"text": "a"} // b',
    "single quotes": b"{'text': 'a'}",
    "byte order mark": b'\xef\xbb\xbf{"text": 1}',
    "UTF-16": '{"text": "a"}'.encode("utf-16"),
    "UTF-32": '{"text": "a"}'.encode("utf-32"),
    "broken UTF-8": b'{"text": "\xff\xfe\x80"}',
    "overlong UTF-8": b'{"text": "\xc0\xaf"}',
    "surrogate in UTF-8": b'{"text": "\xed\xa0\x80"}',
    "lone surrogate": rb'{"text": "\ud800 x"}',
    "low surrogate first": rb'{"text": "\udc00\ud800"}',
    "lone surrogate in a name": rb'{"text": "x", "allow": ["\udfff"]}',
    "lone surrogate as a key": rb'{"text": "x", "\ud83d": 1}',
    "NUL escaped": rb'{"text": "a\u0000b"}',
    "NUL raw": b'{"text": "a\x00b"}',
    "NUL all": b"\x00" * 4096,
    "control raw": b'{"text": "a\x01b\x1f"}',
    "NaN": b'{"text": "a", "threshold": NaN}',
    "infinity": b'{"text": "a", "threshold": -Infinity}',
    "huge float": b'{"text": "a", "threshold": 1e999}',
    "huge exponent": b'{"text": "a", "min_confidence": 1e99999999999999999999}',
    "huge integer": b'{"text": "a", "top_k": %s}' % (b"9" * 100_000),
    "big integer": b'{"text": "a", "top_k": 9223372036854775808}',
    "negative": b'{"text": "a", "top_k": -1}',
    "zero": b'{"text": "a", "top_k": 0}',
    "fraction": b'{"text": "a", "top_k": 1.5}',
    "huge deadline": b'{"text": "a", "deadline_ms": 1e308}',
    "number as text": b'{"text": "a", "top_k": "5"}',
    "flag as number": b'{"text": "a", "top_k": true}',
    "list as text": b'{"text": ["a"]}',
    "object as text": b'{"text": {"$gt": ""}}',
    "text and texts": b'{"text": "a", "texts": ["b"]}',
    "no texts": b'{"texts": []}',
    "nulls": b'{"texts": [null, null]}',
    "mixed texts": b'{"texts": ["a", 1, {}]}',
    "blank text": b'{"text": " \\t "}',
    "blank texts": b'{"texts": ["", ""]}',
    "too many texts": json.dumps({"texts": ["a"] * 10_000}).encode(),
    "very many texts": b'{"texts": [' + b'"",' * 300_000 + b'""]}',
    "long text": json.dumps({"text": MARK * 40_000}).encode(),
    "too large": json.dumps({"text": "x" * 3_000_000}).encode(),
    "many names": json.dumps({"text": "a", "allow": ["b"] * 100_000}).encode(),
    "long name": json.dumps({"text": "a", "allow": ["name" * 10_000]}).encode(),
    "unknown field": json.dumps({"text": MARK, "unknown": 1}).encode(),
    "many fields": json.dumps({"text": "a", **{str(number): number for number in range(50_000)}}).encode(),
    "long key": json.dumps({"text": "a", "k" * 500_000: 1}).encode(),
    "deep lists": b"[" * 400_000,
    "deep lists closed": b"[" * 200_000 + b"]" * 200_000,
    "deep objects": b'{"a":' * 150_000,
    "deep objects closed": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "deep text": b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "prototype": b'{"text": "a", "__proto__": {"x": 1}, "__class__": "x"}',
}

#: Names and contents of routes; each is tried in a new route, and must not be in the table afterwards.
NAMES = (
    "",
    " ",
    "\u0000",
    "a\u0000",
    "../../etc/passwd",
    "a" * 10_000,
    "\u202e",
    "a\nb",
    "<script>",
    "%00",
    "-x",
    "\ud800",
)


def route_attacks() -> Iterator[Attack]:
    """On the call that everybody may make."""
    for name, body in JSON.items():
        yield Attack(name=f"route, {name}", wire=request("POST", ROUTE, body))
    # JSON leaves open what two equal names mean.
    for body in (b'{"text": "a", "text": "b"}', b'{"text": "a", "top_k": 1, "top_k": 2}'):
        yield Attack(name="route, duplicate keys", wire=request("POST", ROUTE, body), accepted=frozenset({200}))
    yield Attack(name="route, duplicate keys of two kinds", wire=request("POST", ROUTE, b'{"text": "a", "text": 1}'))


def typed_attacks() -> Iterator[Attack]:
    """Media types and encodings that are not JSON."""
    good = b'{"text": "a"}'
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/jsonp",
        "json",
        "",
        "application/json, text/html",
        "application/" + "x" * 10_000,
        b"application/json\xff",
    ):
        yield Attack(name=f"type {kind[:40]!r}", wire=request("POST", ROUTE, good, [("Content-Type", kind)]))
    yield Attack(
        name="no type", wire=b"POST /v1/route HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 13\r\n\r\n" + good
    )
    bomb = gzip.compress(b'{"text": "' + b"a" * 20_000_000 + b'"}')
    for encoding in ("gzip", "deflate", "br", "identity, gzip", "x"):
        wire = request("POST", ROUTE, bomb, [("Content-Encoding", encoding)])
        yield Attack(name=f"encoded {encoding}", wire=wire)


def change_attacks() -> Iterator[Attack]:
    """On the calls that change routes."""
    for name, body in JSON.items():
        for where in (ROUTES, FIT, "/v1/lint/fix", "/v1/rollback", "/v1/snapshots"):
            yield Attack(name=f"{where}, {name}", wire=request("POST", where, body))
        yield Attack(name=f"{IMPORT}, {name}", wire=request("POST", IMPORT, body), accepted=_nothing(name))
    for bad in NAMES:
        body = json.dumps({"name": bad, "utterances": ["x"]}).encode()
        yield Attack(name=f"name {bad[:20]!r}", wire=request("POST", ROUTES, body))
    for field, value in (
        ("utterances", []),
        ("utterances", "abc"),
        ("utterances", [""]),
        ("utterances", [MARK * 10_000]),
        ("utterances", ["\ud800"]),
        ("threshold", 2),
        ("threshold", "x"),
        ("description", MARK * 2_000),
        ("description", "\udfff"),
        ("metadata", [1]),
        ("metadata", {"x": "y" * 100_000}),
        ("metadata", {"\ud800": 1}),
        ("name", 5),
    ):
        body = json.dumps({"name": "hostile", "utterances": ["x"], field: value}).encode()
        yield Attack(name=f"{field} {str(value)[:20]!r}", wire=request("POST", ROUTES, body))
    for depth in (500, 5_000, 50_000):
        deep = b'{"name": "deep", "utterances": ["x"], "metadata": ' + b'{"a":' * depth + b"1" + b"}" * (depth + 1)
        yield Attack(name=f"metadata {depth} deep", wire=request("POST", ROUTES, deep))
    for kind, content in (
        ("csv", b"route,utterance\n" + b"," * 100_000),
        ("csv", b"\x00\xff\n"),
        ("csv", b'route,utterance\n"' + b"x" * 900_000),
        ("yaml", b"a: &a [*a, *a]\n" + b"b: !!python/object/apply:os.system [id]\n"),
        ("yaml", b"&x [" * 5_000),
        ("yaml", b"\n".join(b"a%d: &a%d [*a%d,*a%d]" % (n, n, max(n - 1, 0), max(n - 1, 0)) for n in range(30))),
        ("jsonl", b"{}\n" * 10_000),
        ("jsonl", b'{"name": "a", "utterances": ["x"]}\n' + b"[" * 100_000),
        ("exe", b"MZ"),
    ):
        where = f"/v1/import?mode=put&dry_run=true&format={kind}"
        yield Attack(name=f"import {kind} {content[:12]!r}", wire=request("POST", where, content))


def _nothing(name: str) -> frozenset[int]:
    """An import of no routes at all is one."""
    return frozenset({200}) if name in {"list", "empty", "blank"} else frozenset()
