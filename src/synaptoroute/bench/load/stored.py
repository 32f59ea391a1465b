"""A store on disk with the routes of a data set, as a service would open it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from synaptoroute.bench.datasets import Dataset, few_shot
from synaptoroute.encoder.bundled import BundledEncoder
from synaptoroute.models import Route
from synaptoroute.profile import OptimizationProfile
from synaptoroute.router import AdaptiveRouter
from synaptoroute.storage.sqlite import SQLiteStorage

STORE = "routes.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """Routes whose head has been learned, and queries to ask them.

    Attributes:
        path: The SQLite file.
        encoder: Loaded.
        routes: How many.
        utterances: Theirs.
        queries: Distinct texts from the test split.
    """

    path: Path
    encoder: BundledEncoder
    routes: int
    utterances: int
    queries: tuple[str, ...]

    def open(self) -> AdaptiveRouter:
        """A router over it as it comes, with all it needs already loaded."""
        return _warm(AdaptiveRouter(self.encoder, SQLiteStorage(self.path)))

    def open_uncached(self, profile: OptimizationProfile = OptimizationProfile.BALANCED) -> AdaptiveRouter:
        """The same, but it does all the work for every query, and no first stage saves any."""
        storage = SQLiteStorage(self.path)
        return _warm(AdaptiveRouter(self.encoder, storage, profile=profile, first_stage=False, cache_bytes=0))


@contextmanager
def stored(dataset: Dataset, *, shots: int | None, queries: int) -> Iterator[Stored]:
    """Build it in a temporary folder, which is removed at the end; waits for the learned head.

    Args:
        dataset: Routes come from train, queries from test.
        shots: Utterances a route; None takes all.
        queries: How many, evenly spread over the test split.
    """
    utterances = few_shot(dataset.train, shots, seed=0)
    texts = list(dict.fromkeys(item.text for item in dataset.test))
    encoder = BundledEncoder()
    with TemporaryDirectory(prefix="synaptoroute-bench-") as folder:
        path = Path(folder) / STORE
        with AdaptiveRouter(encoder, SQLiteStorage(path)) as router:
            router.add_routes([Route(name=name, utterances=own) for name, own in utterances.items()])
            router.wait_until_fitted()
            kept = sum(len(route.utterances) for route in router.routes)
        yield Stored(
            path=path,
            encoder=encoder,
            routes=len(utterances),
            utterances=kept,
            queries=tuple(texts[:: max(len(texts) // queries, 1)][:queries]),
        )


def _warm(router: AdaptiveRouter) -> AdaptiveRouter:
    router.warm_up()
    return router
