"""The request that is being worked on, for logs, records and traces."""

from __future__ import annotations

from contextvars import ContextVar

#: Its id; set by whoever takes requests in. Threads that the request is handed on to with its context have it too.
request_id: ContextVar[str | None] = ContextVar("synaptoroute_request_id", default=None)
