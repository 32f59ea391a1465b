"""Events: what hooks are told. Frozen; what they hold is shared with others and must not be changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from synaptoroute.decision.policy import Limits
from synaptoroute.models import Decision
from synaptoroute.observability.stages import CallStages


class Conditions(Protocol):
    """How queries were to be decided; see ``RouteOptions``."""

    @property
    def top_k(self) -> int:
        """How many routes each Decision lists."""
        ...

    @property
    def limits(self) -> Limits:
        """What the best route must reach."""
        ...

    @property
    def allow(self) -> frozenset[str] | None:
        """Names of the only routes that were considered; None for all."""
        ...

    @property
    def exact(self) -> bool:
        """Whether every utterance was compared."""
        ...


class QueriesDecided(NamedTuple):
    """One call was answered. A tuple, for it is made at every call: a dataclass takes a microsecond longer.

    Attributes:
        texts: The queries, cleaned. What a hook writes down or sends on should not have them unless asked to.
        conditions: How they were to be decided.
        decisions: One for each, in order.
        stages: When the call came to each step.
    """

    texts: Sequence[str]
    conditions: Conditions
    decisions: Sequence[Decision]
    stages: CallStages


class Unanswered(StrEnum):
    """Why a call got no answer."""

    SHED = "shed"
    EXPIRED = "expired"
    INVALID = "invalid"
    FAILED = "failed"
    CLOSED = "closed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueriesUnanswered:
    """One call ended with an error, or its caller left.

    Attributes:
        why: What became of it.
        error: The class of the error, such as "EncoderUnavailableError".
        shed_for: What there was too much of, for a call that was shed: "queries", "tokens" or "oversize".
        queries: How many there were.
        stages: When the call came to each step.
    """

    why: Unanswered
    error: str
    shed_for: str | None
    queries: int
    stages: CallStages


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchEncoded:
    """The encoder was called for queries.

    Attributes:
        texts: How many at once.
        took_s: Seconds.
        failed: Whether it raised.
    """

    texts: int
    took_s: float
    failed: bool


class Origin(StrEnum):
    """Who changed the routes."""

    OWN = "own"
    REPLICA = "replica"
    STORE = "store"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutesChanged:
    """Another table is in use, because routes have changed.

    Attributes:
        revision: Of the routes now.
        former: Of the routes before.
        put: Names of routes that were added or changed; None if the store was read anew and nobody knows.
        dropped: Names of routes that are gone; likewise.
        origin: Whether this router changed them, another replica by its sync manager, or others in the same store.
        actor: Who did it, if that is known.
        cause: Such as "rollback to 12"; None for a plain change.
        took_s: Seconds from planning the change until it took effect; None if others made it.
    """

    revision: int
    former: int
    put: tuple[str, ...] | None
    dropped: tuple[str, ...] | None
    origin: Origin
    actor: str | None
    cause: str | None
    took_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderChanged:
    """Another encoder has taken over.

    Attributes:
        former: Name of the one before.
        name: Of the one in use.
        revision: Of the routes now.
        took_s: Seconds that encoding everything anew has taken.
    """

    former: str
    name: str
    revision: int
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TableLearned:
    """What is learned from the routes was brought up to date.

    Attributes:
        revision: Of the routes it was learned from.
        took_s: Seconds.
    """

    revision: int
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCompacted:
    """A large table was sorted into new segments, or its files were verified.

    Attributes:
        revision: Of its routes.
        utterances: How many there are.
        took_s: Seconds.
        verified_only: Whether files were checked and nothing was compacted.
    """

    revision: int
    utterances: int
    took_s: float
    verified_only: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class QueriesFitted:
    """``fit`` or ``forget_fit`` has ended.

    Attributes:
        applied: Whether the router uses it now; False also where a fit was forgotten.
        forgotten: Whether it was ``forget_fit``.
        queries: Labelled queries that were used.
        accuracy_before: Held-out accuracy of what the utterances alone teach; None where a fit was forgotten.
        accuracy_after: The same with the fit.
        min_confidence: The operating point it chose; None for the default.
        took_s: Seconds.
    """

    applied: bool
    forgotten: bool
    queries: int
    accuracy_before: float | None
    accuracy_after: float | None
    min_confidence: float | None
    took_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class UpkeepFailed:
    """Learning or compacting failed in the background. Queries are decided as before.

    Attributes:
        error: The class of the error.
    """

    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncChanged:
    """Keeping in step with other replicas goes otherwise than before.

    Attributes:
        state: As in ``SyncHealth``: "following", "resyncing", "waiting", "refused".
        former: The state before.
        error: The class of the error that led to it, if one did.
        resyncs: How often everything has been compared so far.
    """

    state: str
    former: str
    error: str | None
    resyncs: int


QueryEvent = QueriesDecided | QueriesUnanswered
RoutesEvent = RoutesChanged | EncoderChanged
UpkeepEvent = TableLearned | TableCompacted | QueriesFitted | UpkeepFailed
