"""RouterStatus: what a router is doing now, for whoever asks; nothing in it is measured for the purpose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from synaptoroute.observability.hooks import Hook


class QueueFigures(Protocol):
    """Of the queue before the encoder; ``BatcherHealth`` has them."""

    @property
    def queries(self) -> int: ...  # noqa: D102 - see BatcherHealth
    @property
    def tokens(self) -> int: ...  # noqa: D102
    @property
    def waiting(self) -> int: ...  # noqa: D102
    @property
    def encoding(self) -> int: ...  # noqa: D102
    @property
    def workers(self) -> int: ...  # noqa: D102
    @property
    def restarts(self) -> int: ...  # noqa: D102
    @property
    def coalesced(self) -> int: ...  # noqa: D102


class SyncFigures(Protocol):
    """Of a sync manager; ``SyncHealth`` has them."""

    @property
    def state(self) -> str: ...  # noqa: D102 - see SyncHealth
    @property
    def lag_entries(self) -> int | None: ...  # noqa: D102
    @property
    def last_contact_s(self) -> float | None: ...  # noqa: D102
    @property
    def outbox(self) -> int: ...  # noqa: D102
    @property
    def applied(self) -> int: ...  # noqa: D102
    @property
    def published(self) -> int: ...  # noqa: D102
    @property
    def reconnects(self) -> int: ...  # noqa: D102
    @property
    def resyncs(self) -> int: ...  # noqa: D102
    @property
    def repairs(self) -> int: ...  # noqa: D102
    @property
    def conflicts(self) -> int: ...  # noqa: D102
    @property
    def poison(self) -> int: ...  # noqa: D102


class RerankerFigures(Protocol):
    """Of the reranker; ``RerankerHealth`` has them."""

    @property
    def name(self) -> str: ...  # noqa: D102 - see RerankerHealth
    @property
    def asked(self) -> int: ...  # noqa: D102
    @property
    def changed(self) -> int: ...  # noqa: D102
    @property
    def failed(self) -> int: ...  # noqa: D102
    @property
    def took_s(self) -> float: ...  # noqa: D102
    @property
    def last_failure(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterStatus:
    """One look at a router.

    Attributes:
        revision: Of the routes.
        routes: How many there are.
        utterances: How many vectors the index holds.
        settled: Whether everything is learned and compacted.
        fitted: Whether labelled queries are in use.
        fitted_at: When ``fit`` was last applied, in seconds since 1970; None without a fit, or if the store keeps no
            notes and it was before this router was opened.
        encoder: Its name.
        fingerprint: Of the encoder.
        provider: Who makes its vectors, as OpenTelemetry names them: "openai" for a server; else what runs it here.
        dim: Length of its vectors.
        vector_hits: Texts whose vector was known, since this encoder took over.
        vector_misses: Texts whose vector was not.
        cache_bytes: Memory that known vectors take.
        first_stage: Whether a static first stage answers what it is sure of; False while it is still to be learned, or
            where the table does not bear one.
        first_decided: Queries that it has decided, since this encoder took over.
        first_left: Queries that it was asked and left to the encoder.
        queue: Of the queue before the encoder.
        sync: Of the sync manager; None without one.
        reranker: Of the reranker; None without one.
    """

    revision: int
    routes: int
    utterances: int
    settled: bool
    fitted: bool
    fitted_at: float | None
    encoder: str
    fingerprint: str
    provider: str
    dim: int
    vector_hits: int
    vector_misses: int
    cache_bytes: int
    first_stage: bool
    first_decided: int
    first_left: int
    queue: QueueFigures
    sync: SyncFigures | None
    reranker: RerankerFigures | None = None


class Watched(Protocol):
    """What can be looked at and be heard; a router can."""

    def status(self) -> RouterStatus:
        """What it is doing now."""
        ...

    def add_hook(self, hook: Hook, /) -> None:
        """Tell a hook what it does from now on."""
        ...

    def remove_hook(self, hook: Hook, /) -> None:
        """Tell it no more."""
        ...
