"""What the load generator is told, and what it reports: one line of JSON each way."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class _Order(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Closed(_Order):
    """So many connections, each asking as soon as it was answered; each request once.

    Attributes:
        requests: File of ``Asked``, one a line.
        connections: How many.
        first: Begin with this one, and go round.
        count: Requests in all.
    """

    kind: Literal["closed"] = "closed"
    requests: Path
    connections: int
    first: int = 0
    count: int


class Paced(_Order):
    """Requests that come when they come (Poisson), whether or not the earlier ones were answered.

    Attributes:
        requests: File of ``Asked``, one a line.
        rate_per_s: How many a second on average.
        seconds: For how long.
        connections: Opened beforehand; more are opened when all are busy.
        most: Connections at once; a request that finds all of them busy waits, and that counts as its delay.
        quick_ms: Afterwards, ask until an answer comes within this time; 0 not at all.
        seed: Of the times.
    """

    kind: Literal["paced"] = "paced"
    requests: Path
    rate_per_s: float
    seconds: float
    connections: int
    most: int
    quick_ms: float = 0.0
    seed: int = 0


Order = Annotated[Closed | Paced, Field(discriminator="kind")]
ORDER: TypeAdapter[Closed | Paced] = TypeAdapter(Order)


class Asked(_Order):
    """A request's body, and the decisions that it should be answered with, as JSON text."""

    body: str
    expected: str


class Outcome(_Order):
    """What came of an order; times in milliseconds.

    Attributes:
        elapsed_s: From the first request to the last answer; where paced, to the last request.
        asked: Requests sent.
        answered_ms: Of each answer 200, from sending or, where paced, from when it was due.
        refused_ms: Of each 503, from when it was sent.
        late_ms: By how much requests were sent later than due; a sample of at most 10,000.
        statuses: How often each other status came; 0 is a connection that broke.
        inexact: Answers with other bytes than were expected, though the same within 1e-5.
        wrong: Answers that differ by more.
        recovery_s: From the last request until an answer was quick again; null if that was not asked.
        without_retry_after: Answers 503 that do not say when to come again.
    """

    elapsed_s: float
    asked: int
    answered_ms: list[float]
    refused_ms: list[float] = []
    late_ms: list[float] = []
    statuses: dict[int, int] = {}
    inexact: int = 0
    wrong: int = 0
    recovery_s: float | None = None
