"""Reading what a ``DecisionLog`` has written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from synaptoroute.errors import InvalidInputError
from synaptoroute.models import Decision, Reason, Stage


class DecisionRecord(NamedTuple):
    """One record, as far as it is needed to decide it again.

    Attributes:
        decision: What was decided, without matches.
        query: The text; None if it was not recorded.
        asked: See ``asked_of``.
        request_id: Of the request it belonged to; None if there was none.
    """

    decision: Decision
    query: str | None
    asked: dict[str, Any]
    request_id: str | None


def record_files(path: Path) -> list[Path]:
    """The file and its predecessors, oldest first; of a folder, those of all ``*.jsonl`` in it.

    Raises:
        InvalidInputError: There is nothing at the path.
    """
    if path.is_dir():
        found = [each for file in sorted(path.glob("*.jsonl")) for each in record_files(file)]
    else:
        numbered = [
            (int(other.suffix[1:]), other) for other in path.parent.glob(f"{path.name}.*") if other.suffix[1:].isdigit()
        ]
        found = [other for _, other in sorted(numbered, reverse=True)] + ([path] if path.exists() else [])
    if not found:
        raise InvalidInputError(f"there are no records of decisions at {path}")
    return found


def read_records(path: Path) -> Iterator[DecisionRecord | None]:
    """The records of ``record_files``, oldest first; None for a line that is none, as a process leaves that was killed.

    Raises:
        InvalidInputError: There is nothing at the path, or it cannot be read.
    """
    for file in record_files(path):
        try:
            with file.open("rb") as lines:
                for line in lines:
                    if line.strip():
                        yield _parsed(line)
        except OSError as exc:
            raise InvalidInputError(f"cannot read {file}: {exc.strerror}") from exc


def _parsed(line: bytes) -> DecisionRecord | None:
    try:
        record = json.loads(line)
        decision = Decision(
            name=record["route"],
            score=record["score"],
            confidence=float(record["confidence"]),
            margin=record["margin"],
            matches=(),
            reason=Reason(record["reason"]),
            revision=int(record["revision"]),
            # Older records have no stage: there was only one.
            stage=Stage(record.get("stage", Stage.ENCODER)),
        )
        return DecisionRecord(decision, record.get("query"), record.get("asked", {}), record.get("request_id"))
    except (ValueError, KeyError, TypeError):
        return None
