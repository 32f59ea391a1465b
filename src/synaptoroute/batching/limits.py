"""BatchLimits, what a batcher may do; BatcherHealth, what it is doing."""

from __future__ import annotations

from dataclasses import dataclass

from synaptoroute.errors import InvalidInputError
from synaptoroute.profile import OptimizationProfile, usable_cores


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLimits:
    """How much is done at once, and how much may wait.

    Attributes:
        workers: Calls of the encoder at once.
        batch: Most texts in one such call. A text that comes in waits at least for a call under way to end, so an
            encoder that gains nothing from batches should have small ones.
        wait_s: How long a text may wait for others to fill its batch. 0 unless calls are dear, as those of a server.
        max_queries: Most queries accepted and not yet answered. A call of more than half of this counts as that half.
        max_tokens: Most tokens of these, estimated at one for every four characters; likewise.

    Raises:
        InvalidInputError: A limit is out of its range.
    """

    workers: int
    batch: int = 8
    wait_s: float = 0.0
    max_queries: int = 1024
    max_tokens: int = 262_144

    def __post_init__(self) -> None:
        for name in ("workers", "batch", "max_queries", "max_tokens"):
            if getattr(self, name) < 1:
                raise InvalidInputError(f"{name} is {getattr(self, name)}, wanted at least 1")
        if self.wait_s < 0:
            raise InvalidInputError(f"wait_s is {self.wait_s}, wanted seconds, or 0 for not waiting")


def batch_limits(profile: OptimizationProfile, *, alone: bool) -> BatchLimits:
    """How queries are put together.

    Args:
        profile: What to optimise for.
        alone: Whether the encoder runs each text alone in one thread, as the bundled one does. Others gain from
            batches and find their own threads.
    """
    latency, throughput = profile is OptimizationProfile.LATENCY, profile is OptimizationProfile.THROUGHPUT
    if alone:
        # A batch saves deciding one by one and delays those that come after it, by a millisecond a text.
        return BatchLimits(workers=1 if latency else usable_cores(), batch=1 if latency else 32 if throughput else 8)
    return BatchLimits(workers=2, batch=64 if throughput else 32, wait_s=0.005 if throughput else 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatcherHealth:
    """What a batcher is doing, and what it has seen since its process began to use it.

    Attributes:
        queries: Accepted and not yet answered; a call larger than half of what may wait counts as that half.
        tokens: Of these, estimated.
        waiting: Texts to encode that no worker has taken yet.
        encoding: Texts being encoded, some perhaps for callers who have left.
        workers: Threads that work or wait for work. They end when idle and start when needed.
        restarts: How often a worker died and went on.
        shed: Calls turned away for there were too many.
        expired: Calls not answered within their deadline.
        cancelled: Calls whose callers left.
        coalesced: Texts that another call was waiting for already, and that were encoded once for both.
        last_failure: What the encoder, or what killed a worker, said last.
    """

    queries: int
    tokens: int
    waiting: int
    encoding: int
    workers: int
    restarts: int
    shed: int
    expired: int
    cancelled: int
    coalesced: int
    last_failure: str | None
