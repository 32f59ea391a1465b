"""What the fault runs route by: small tables, and small ones that take the ways of large ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from synaptoroute import AdaptiveRouter, Decision, Route
from synaptoroute.decision import lessons
from synaptoroute.storage import SQLiteStorage
from tests.seeded import SeededEncoder, small_heads

NAMES = tuple(f"r{number}" for number in range(8))
#: float32 products of differently shaped arrays differ by some 1e-7.
_TOLERANCE = 1e-5
QUERIES = (*(f"{name} wanted" for name in NAMES), "nothing of the kind", "r1 1", "r2 2")


def take_the_ways_of(kind: str, patch: pytest.MonkeyPatch) -> None:
    """Of "large": segments, two stages, cache files and graphs from a few utterances on. Of "small": as it is."""
    if kind == "large":
        for module in ("table", "table_files"):
            patch.setattr(f"synaptoroute.{module}.SEGMENTED_FROM", 20)
        patch.setattr("synaptoroute.table_files.GRAPH_PAYS_FROM", 24)
        patch.setattr("synaptoroute.index.segmented._TAIL_ROWS", 8)
        patch.setattr(lessons, "EFFORTS", small_heads(100))


def opened(path: Path | str) -> AdaptiveRouter:
    """A router over the store, without caches of what was asked."""
    return AdaptiveRouter(SeededEncoder(), SQLiteStorage(path), cache_bytes=0)


def fresh_build(routes: Sequence[Route]) -> AdaptiveRouter:
    """A router that was given just these routes, in memory."""
    router = AdaptiveRouter(SeededEncoder(), cache_bytes=0)
    router.add_routes(routes)
    return router


def answers(router: AdaptiveRouter, *, learned: bool) -> list[list[Any]]:
    """What the router decides, without the revision; as JSON would give it back.

    Args:
        router: Of few routes.
        learned: Wait for what is learned; else neighbours alone decide, which takes no time.
    """
    if learned:
        assert router.wait_until_fitted(120)
        return [_told(decision) for decision in router.route_many(QUERIES)]
    encoder = SeededEncoder()
    table = router.snapshot.with_learned(None)
    decided = table.decide(QUERIES, encoder.encode(QUERIES))
    return [_told(decision) for decision in decided]


def _told(decision: Decision) -> list[Any]:
    matches = [[match.name, match.utterance, match.score] for match in decision.matches]
    return [decision.name, decision.confidence, str(decision.reason), matches]


def agree(seen: Any, expected: Any) -> bool:
    """Whether two routers decided alike: all numbers within 1e-5."""
    if isinstance(seen, list) and isinstance(expected, list):
        return len(seen) == len(expected) and all(map(agree, seen, expected))
    if isinstance(seen, float) and isinstance(expected, float):
        return abs(seen - expected) <= _TOLERANCE
    return bool(seen == expected)
