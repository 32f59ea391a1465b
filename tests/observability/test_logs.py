"""Logs of a program: lines of JSON or for people, with the request's id, and nothing done to the root logger."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import TracerProvider

from synaptoroute.observability import logs
from synaptoroute.observability.context import request_id

NAMES = ("test_synaptoroute", "test_synaptoroute.server", "test_other")


@pytest.fixture(autouse=True)
def _loggers_as_they_were() -> Iterator[None]:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    assert (list(root.handlers), root.level) == before
    for name in NAMES:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
        logger.setLevel(logging.NOTSET)


def written(**options: object) -> io.StringIO:
    stream = io.StringIO()
    logs.configure(stream=stream, loggers=NAMES, **options)  # type: ignore[arg-type]
    return stream


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_of_json_has_the_request_its_fields_and_the_error() -> None:
    stream = written()
    token = request_id.set("r-1")
    try:
        logging.getLogger("test_synaptoroute.server").info("answered %d", 5, extra={"status": 200, "level": "mine"})
        logging.getLogger("test_other").error("failed", exc_info=ValueError("two\nlines"))
    finally:
        request_id.reset(token)
    logging.getLogger("test_other").warning("no request")
    first, second, third = map(json.loads, stream.getvalue().splitlines())
    assert first["message"] == "answered 5"
    assert (first["level"], first["logger"], first["status"]) == ("info", "test_synaptoroute.server", 200)
    assert first["request_id"] == "r-1"
    assert first["time"].endswith("+00:00")
    assert "ValueError: two\nlines" in second["exception"]
    assert "request_id" not in third


def test_a_line_belongs_to_its_span() -> None:
    stream = written(format="json")
    with TracerProvider().get_tracer("test").start_as_current_span("work") as span:
        logging.getLogger("test_other").error("within")
    line = json.loads(stream.getvalue())
    assert int(line["trace_id"], 16) == span.get_span_context().trace_id
    assert int(line["span_id"], 16) == span.get_span_context().span_id


def test_auto_takes_json_where_nobody_looks_on_and_text_on_a_terminal() -> None:
    logger = logging.getLogger("test_other")
    terminal = Terminal()
    logs.configure(stream=terminal, loggers=NAMES)
    token = request_id.set("r-2")
    logger.warning("for people")
    request_id.reset(token)
    line = terminal.getvalue()
    assert line.endswith("WARNING test_other: for people [r-2]\n")
    assert written(format="text").getvalue() == ""
    with pytest.raises(json.JSONDecodeError):
        json.loads(line)


def test_each_line_is_written_once_however_often_it_is_configured() -> None:
    written()
    stream = written(level="warning")
    logging.getLogger("test_synaptoroute.server").warning("once")
    logging.getLogger("test_synaptoroute.server").info("below the level")
    assert len(stream.getvalue().splitlines()) == 1


def test_a_level_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        written(level="loud")
