"""What the server tells beyond the router's own results, and how results are made of JSON."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from pydantic import TypeAdapter

from synaptoroute.client.call import Answer
from synaptoroute.errors import InvalidInputError
from synaptoroute.models import Decision, Route

if TYPE_CHECKING:
    from synaptoroute.lint import Finding

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteInfo:
    """A route as the server has it.

    Attributes:
        name: Its name.
        utterance_count: How many it has.
        revision: At which it changed last; as ``expected_revision`` it makes a change depend on that.
        utterances: All of them; None in lists that leave them out.
        threshold: Least cosine score; None leaves it to the confidence.
        description: One sentence, or None.
        metadata: The caller's own.
    """

    name: str
    utterance_count: int
    revision: int
    utterances: tuple[str, ...] | None = field(default=None, repr=False)
    threshold: float | None = None
    description: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)

    @property
    def route(self) -> Route:
        """The same as a Route. Raises InvalidInputError if the list left its utterances out."""
        if self.utterances is None:
            raise InvalidInputError(f"route {self.name!r} was listed without utterances; ask for utterances=True")
        return Route(
            name=self.name,
            utterances=self.utterances,
            threshold=self.threshold,
            description=self.description,
            metadata=self.metadata,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutePage:
    """Part of a list of routes.

    Attributes:
        routes: In the list's order.
        total: How many the whole list has.
        next: ``after`` for the next page; None if this is the last.
        revision: Of the route table.
    """

    routes: tuple[RouteInfo, ...]
    total: int
    next: str | None
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """A Decision with the server's explanation of it."""

    decision: Decision
    explanation: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """How many routes an import changed, or with ``dry_run`` would change, and the revision then."""

    added: int
    updated: int
    deleted: int
    unchanged: int
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is."""

    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Work that the server does beside answering queries.

    Attributes:
        id: Its id.
        kind: What it does, such as "fit".
        state: Where it stands.
        created_at: When it was asked for.
        progress: How far it is; None if that is not known.
        finished_at: When it ended; None until then.
        result: What came out, as JSON; None unless it is done.
        problem: Why it failed, as JSON; None unless it did.
    """

    id: str
    kind: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    created_at: datetime
    progress: Progress | None = None
    finished_at: datetime | None = None
    result: Any = field(default=None, repr=False)
    problem: dict[str, Any] | None = None

    @property
    def finished(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state in {"done", "failed", "cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteChange:
    """How one route differs between two revisions.

    Attributes:
        route: Its name.
        operation: "add", "update" or "delete", to get from the first revision to the second.
        added: Utterances that are only in the second.
        removed: Utterances that are only in the first.
        fields: Threshold, description and metadata where they differ: each "before" and "after".
    """

    route: str
    operation: Literal["add", "update", "delete"]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    fields: dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteDiff:
    """What leads from the routes of one revision to those of another."""

    first: int
    second: int
    changes: tuple[RouteChange, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LintReport:
    """What the server's lint found in the routes.

    Attributes:
        findings: The worst first.
        total: How many there are; ``findings`` may leave the last ones out.
        revision: Of the routes that were looked at.
    """

    findings: tuple[Finding, ...]
    total: int
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """How the server is.

    Attributes:
        version: Of SynaptoRoute.
        encoder: Its name.
        dim: Of its vectors.
        revision: Of the route table.
        routes: How many.
        utterances: How many.
        settled: Everything is learned.
        min_confidence: Least probability that queries need which name none.
        fitted: What the last fit was; None without one.
        health: The queue of queries, see ``BatcherHealth``.
        sync: How replicas follow each other; None without.
        uptime_s: Since the server started.
        draining: It is about to end.
        caller: The name of this client's key; None without keys.
        scopes: What the caller may do.
    """

    version: str
    encoder: str
    dim: int
    revision: int
    routes: int
    utterances: int
    settled: bool
    min_confidence: float | None
    fitted: dict[str, Any] | None
    health: dict[str, Any]
    sync: dict[str, Any] | None
    uptime_s: float
    draining: bool
    caller: str | None
    scopes: tuple[str, ...]


def adapter(kind: Any) -> TypeAdapter[Any]:
    """What reads and checks results of that type; fields it does not know are left out."""
    return _adapter(kind)


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def one(kind: type[T]) -> Callable[[Answer], T]:
    """Reads an answer as one such thing."""
    return lambda answer: cast("T", adapter(kind).validate_json(answer.body))


def field_of(name: str, kind: type[T]) -> Callable[[Answer], T]:
    """Reads one field of an answer, as such a thing."""
    return lambda answer: cast("T", adapter(kind).validate_python(json.loads(answer.body)[name]))


#: Of a change.
revision = field_of("revision", int)
