"""Logging for a program: JSON lines where nobody looks on, plain lines on a terminal, each with its request's id.

The library logs to ``logging.getLogger("synaptoroute")`` and below, and leaves it to the program what becomes of that.
``configure`` is for programs that have not decided, such as ``synaptoroute serve``; it leaves the root logger alone.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from synaptoroute.observability.context import request_id

LogFormat = Literal["auto", "json", "text"]

#: What a server is made of, and says something.
LOGGERS = ("synaptoroute", "uvicorn", "uvicorn.error")
#: Attributes that every record has; all others were given as ``extra``.
_USUAL = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_MARK = "_synaptoroute"


class JsonLines(logging.Formatter):
    """One line of JSON a record: time, level, logger, message, request_id, trace_id, span_id, and what it was given.

    Trace and span are those of OpenTelemetry, if that is in use.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _context()
        line |= {key: value for key, value in record.__dict__.items() if key not in _USUAL and key not in line}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, ensure_ascii=True, default=str)


class PlainLines(logging.Formatter):
    """A line for people, with times in UTC and the request's id at its end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name in the standard library
        """The line, before what was raised."""
        request = request_id.get()
        return super().formatMessage(record) + (f" [{request}]" if request else "")


def configure(
    *,
    level: str | int = "INFO",
    format: LogFormat = "auto",  # noqa: A002 - what users call it
    stream: TextIO | None = None,
    loggers: Iterable[str] = LOGGERS,
) -> None:
    """Write what these loggers say. Doing it again replaces what was done before.

    Args:
        level: Least level that is written.
        format: "json" or "text"; "auto" takes text on a terminal, else JSON.
        stream: Where to; stderr by default.
        loggers: Names. What they say does not reach the root logger any more.

    Raises:
        ValueError: There is no such level.
    """
    stream = stream if stream is not None else sys.stderr
    as_json = format == "json" or (format == "auto" and not stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines() if as_json else PlainLines())
    setattr(handler, _MARK, True)
    for name in loggers:
        logger = logging.getLogger(name)
        for former in [each for each in logger.handlers if hasattr(each, _MARK)]:
            logger.removeHandler(former)
        logger.setLevel(level.upper() if isinstance(level, str) else level)
        logger.propagate = False
        parents = [other for other in loggers if name.startswith(f"{other}.")]
        if parents:
            # Said once, by the parent.
            logger.propagate = True
        else:
            logger.addHandler(handler)


def _context() -> Mapping[str, str]:
    found = {}
    if (request := request_id.get()) is not None:
        found["request_id"] = request
    # Only if the program uses it: importing it would cost every program a tenth of a second.
    if (trace := sys.modules.get("opentelemetry.trace")) is not None:
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            found |= {"trace_id": f"{span.trace_id:032x}", "span_id": f"{span.span_id:016x}"}
    return found
