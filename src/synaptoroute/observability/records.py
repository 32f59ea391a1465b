"""DecisionLog: a record of every decision, without the query, in files that cannot grow without end."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic_core import to_json

from synaptoroute.decision.policy import NO_LIMITS
from synaptoroute.errors import InvalidInputError
from synaptoroute.forking import PerProcess
from synaptoroute.models import Decision
from synaptoroute.observability.context import request_id
from synaptoroute.observability.events import Conditions, QueriesDecided, QueryEvent
from synaptoroute.observability.record_writing import LineWriter, RotatingFile

#: Whether a record tells the query: nothing of it, a keyed hash that tells equal ones, or its text.
Queries = Literal["none", "hash", "text"]

_LEAST_KEY_CHARS = 16


@lru_cache(8_192)
def utterance_id(route: str, utterance: str) -> str:
    """A stable id of an utterance of a route: 16 hexadecimal digits, the same wherever and whenever it is made."""
    content = json.dumps([route, utterance], ensure_ascii=True).encode()
    return hashlib.blake2b(content, digest_size=8).hexdigest()


class _Note(NamedTuple):
    at: float
    request: str | None
    event: QueriesDecided


class DecisionLog:
    """A hook that writes a line of JSON for every decision: ``AdaptiveRouter(hooks=[DecisionLog("decisions.jsonl")])``.

    A record has the time, the route, score, confidence, margin, the id of the nearest utterance (``utterance_id``), the
    revision, the reason, the request's id, and what the call asked for beyond its queries. Nothing of the query, unless
    it is switched on. A query never waits for the disk: what comes while too much waits is dropped and counted.

    The file is renamed to ``.1`` when it is full, ``.1`` to ``.2`` and so on. One process writes to a path; a forked
    child writes beside it, with its process id in the name. Files can be read by their owner alone.

    Args:
        path: Of the file; its folder is made.
        queries: What of a query a record tells.
        key: For "hash", at least 16 characters that nobody else knows: without a key, short texts could be guessed.
        max_bytes: Size at which a file is full.
        files: Full files that are kept beside the current one.
        waiting: Records that wait to be written, at most.

    Attributes:
        path: Of the file.
        written: How many records were written.
        dropped: How many were not, because too many waited or the disk did not take them.

    Raises:
        InvalidInputError: An option is out of its range, or "hash" has no key.
        StorageError: The file cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        queries: Queries = "none",
        key: str | None = None,
        max_bytes: int = 64 << 20,
        files: int = 8,
        waiting: int = 16_384,
    ) -> None:
        if queries not in ("none", "hash", "text"):
            raise InvalidInputError(f"queries is {queries!r}, wanted 'none', 'hash' or 'text'")
        if (queries == "hash") and len(key or "") < _LEAST_KEY_CHARS:
            raise InvalidInputError(
                f"hashes of queries need a key of at least {_LEAST_KEY_CHARS} characters that nobody else knows; "
                "make one with secrets.token_hex()"
            )
        if min(max_bytes, waiting) < 1 or files < 0:
            raise InvalidInputError("max_bytes and waiting must be at least 1, files at least 0")
        self.path = Path(path)
        self._queries, self._key = queries, (key or "").encode()
        self._max_bytes, self._files, self._room = max_bytes, files, waiting
        self._pid = os.getpid()
        self._closed = False
        self._writer: PerProcess[LineWriter] = PerProcess()
        self._get()

    def on_query(self, event: QueryEvent) -> None:
        """See ``HearsQueries``. Leaves a note and returns."""
        if isinstance(event, QueriesDecided) and not self._closed:
            note = _Note(time.time(), request_id.get(), event)
            self._get().add(partial(self._line, note), len(event.decisions))

    @property
    def written(self) -> int:
        """How many records this process has written."""
        return self._get().written

    @property
    def dropped(self) -> int:
        """How many were not written."""
        return self._get().dropped

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until what has been decided by now is in the file; False if that took longer than the timeout."""
        return self._get().flush(timeout_s)

    def close(self) -> None:
        """Write what waits, and end. Closing twice is fine."""
        self._closed = True
        self._get().close()

    def _get(self) -> LineWriter:
        return self._writer.get(self._make)

    def _make(self) -> LineWriter:
        path = self.path
        if os.getpid() != self._pid:
            path = path.with_name(f"{path.stem}-{os.getpid()}{path.suffix}")
        return LineWriter(RotatingFile(path, self._max_bytes, self._files), self._room)

    def _line(self, note: _Note, place: int) -> bytes:
        record = record_of(note.event.decisions[place], at=note.at, request=note.request)
        if self._queries != "none":
            text = note.event.texts[place]
            if self._queries == "text":
                record["query"] = text
            else:
                record["query_hash"] = hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()[:32]
        asked = asked_of(note.event.conditions)
        if asked:
            record["asked"] = asked
        return to_json(record) + b"\n"


def record_of(decision: Decision, *, at: float, request: str | None) -> dict[str, Any]:
    """What is recorded of a decision: nothing of the query."""
    best = decision.matches[0] if decision.matches else None
    return {
        "at": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
        "request_id": request,
        "revision": decision.revision,
        "route": decision.name,
        "reason": decision.reason.value,
        "stage": decision.stage.value,
        "best": best.name if best else None,
        "confidence": round(decision.confidence, 6),
        "margin": None if decision.margin is None else round(decision.margin, 6),
        "score": None if decision.score is None else round(decision.score, 6),
        "nearest": utterance_id(best.name, best.utterance) if best else None,
    }


def asked_of(conditions: Conditions) -> dict[str, Any]:
    """What a call asked for beyond its queries, as far as it decides; empty for a plain call."""
    limits = conditions.limits
    asked: dict[str, Any] = {}
    if limits != NO_LIMITS:
        names = ("threshold", "min_confidence", "min_margin")
        asked = {name: value for name in names if (value := getattr(limits, name)) is not None}
    if conditions.allow is not None:
        asked["allow"] = sorted(conditions.allow)
    if conditions.exact:
        asked["exact"] = True
    return asked
