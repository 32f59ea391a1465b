"""Large tables as files beside the store: opened at once instead of being read and sorted again, and compacted.

The store is the truth. The files are a cache of one of its revisions, verified when opened and built anew when in
doubt; what has changed since that revision is read from the store.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synaptoroute import cache_files
from synaptoroute.cache_files import Content, Generation
from synaptoroute.calibrating import Encode
from synaptoroute.catalog import CatalogBuilder, RouteCatalog
from synaptoroute.encoder.base import BaseEncoder, Vectors
from synaptoroute.errors import MissingExtraError, StorageCorruptError, StorageError
from synaptoroute.index import GRAPH_PAYS_FROM, HnswGraph, SegmentedIndex
from synaptoroute.models import Route
from synaptoroute.profile import usable_cores
from synaptoroute.rerank.breaker import TieBreaker
from synaptoroute.storage.base import BaseStorage, EncoderIdentity, StoredStream, StoredTable, StoreState
from synaptoroute.table import SEGMENTED_FROM, RouteTable

#: Changes whenever the same table would be written as other files.
LAYOUT = 1
Batch = tuple[tuple[Route, ...], Vectors]

logger = logging.getLogger(__name__)


class TableFiles:
    """Opens the table of a store, and compacts it.

    Args:
        storage: The truth. Its ``cache_folder`` is where the files are; without one, large tables are kept in memory.
        identity: Whose vectors these are.
        encode: For the table.
        breaker: Likewise; None without a reranker.
        first_encoder: Likewise; None without a first stage.
    """

    def __init__(
        self,
        storage: BaseStorage,
        identity: EncoderIdentity,
        encode: Encode,
        breaker: TieBreaker | None = None,
        first_encoder: BaseEncoder | None = None,
    ) -> None:
        self._breaker = breaker
        self._storage = storage
        self._identity = identity
        self._encode = encode
        self._first_encoder = first_encoder
        self._folder: Path | None = storage.cache_folder
        # Said once: without the library, every compaction would say it again.
        self._has_graphs: bool | None = None
        self._unverified: Generation | None = None
        #: How many are adding routes part by part. A first graph would be outdated at once and has to wait for them.
        self.growing = 0
        self._shown: StoreState | None = None

    def open(self) -> RouteTable:
        """The table as the store has it now.

        Raises:
            EncoderMismatchError: The vectors were written with another encoder.
            StorageError: The store cannot be read.
        """
        generation = self.newest()
        if generation is None or (table := self._from_files(generation)) is None:
            return self._from_store()
        if not generation.verified:
            self._unverified = generation
        return table

    @property
    def shown(self) -> StoreState:
        """Which state of the store ``open`` gave last, or a later one that the table has been brought to since."""
        assert self._shown is not None  # noqa: S101 - routers open before they ask
        return self._shown

    @shown.setter
    def shown(self, state: StoreState) -> None:
        self._shown = state

    def newest(self) -> Generation | None:
        """What ``open`` would begin with; None if it would read the store. Damaged files are set aside."""
        return self._newest(self._storage.state()) if self._folder else None

    @property
    def verified(self) -> bool:
        """Whether every file of the table that was opened has been checked, or there is none."""
        return self._unverified is None

    def verify(self, rebuild: Callable[[Callable[[RouteTable], RouteTable]], None]) -> None:
        """Check the files that were too large to be checked when they were opened: 0.1 s a GB, more from a slow disk.

        Args:
            rebuild: Called if one is damaged. Swaps in what the function it is given makes of the current table.

        Raises:
            StorageError: A file is damaged and the store cannot be read either; nothing is verified then.
        """
        if self._unverified is not None and not self._unverified.verify():
            logger.warning("the table was opened from damaged files and is now read from the store")
            rebuild(lambda _damaged: self._from_store())
        self._unverified = None

    def needs_compaction(self, table: RouteTable) -> bool:
        """Whether a large table would be searched faster with other files, or without what has changed since them."""
        index = table.index
        if not isinstance(index, SegmentedIndex) or not len(index):
            return False
        return index.needs_compaction or (index.graph is None and self._wants_graph(index))

    def compacted(self, table: RouteTable, checkpoint: Callable[[], None]) -> RouteTable:
        """The same table with all its routes sealed, renumbered, and with a graph if that pays. Takes its time.

        Args:
            table: One for which ``needs_compaction``.
            checkpoint: Called now and then; whatever it raises ends the work and leaves everything as it was.
        """
        graphed = self._wants_graph(_segments(table))
        if self._folder is not None:
            try:
                state = replace(self._storage.state(), revision=table.revision)
                cache_files.write(self._folder, self._contents(table, checkpoint, graphed=graphed), self._meta(state))
                # Since then, another process may have written a generation of another revision.
                generation = cache_files.newest(self._folder, self._meta(state))
                sealed = self._sealed(generation) if generation else None
                if sealed is not None and (sealed[1].graph or not graphed):
                    return table.rebuilt(*sealed)
            except StorageError as exc:
                logger.warning("%s", exc)
        catalog, renumbered = table.catalog.compacted()
        vectors, owners = _segments(table).sealed()
        graph = self._built(vectors, checkpoint) if graphed else None
        return table.rebuilt(catalog, SegmentedIndex(vectors, renumbered[owners], graph))

    # ------------------------------------------------------------------------------------------------- opening
    def _newest(self, state: StoreState) -> Generation | None:
        assert self._folder is not None  # noqa: S101 - the callers have asked
        expected = {"store_id": state.store_id, **self._expected()}
        return cache_files.newest(self._folder, expected)

    def _expected(self) -> dict[str, Any]:
        return {"layout": LAYOUT, "encoder": self._identity.fingerprint, "dim": self._identity.dim}

    def _meta(self, state: StoreState) -> dict[str, Any]:
        return {"store_id": state.store_id, **self._expected(), "state": asdict(state)}

    def _from_files(self, generation: Generation) -> RouteTable | None:
        sealed = self._sealed(generation)
        state = StoreState(**generation.meta["state"])
        since = self._storage.changes_since(state, self._identity) if sealed else None
        if sealed is None or since is None:
            return None
        catalog, index = sealed
        table = RouteTable(
            revision=state.revision,
            catalog=catalog,
            index=index,
            encode=self._encode,
            labelled=since.labelled,
            point=since.point,
            breaker=self._breaker,
            first_encoder=self._first_encoder,
        )
        table = table.applied(since.changes, since.state.revision)
        if since.routes is not None and since.routes != len(table):
            logger.warning("the cache %s does not lead to the routes of the store", generation.path)
            return None
        self._shown = since.state
        return table

    def _sealed(self, generation: Generation) -> tuple[RouteCatalog, SegmentedIndex] | None:
        """What the files hold; None if it makes no sense together."""
        try:
            catalog = RouteCatalog.from_arrays(generation.arrays)
            vectors = generation.arrays["vectors"]
            owners = np.repeat(np.arange(len(catalog), dtype=np.int32), catalog.counts)
        except (StorageCorruptError, KeyError) as exc:
            logger.warning("the cache %s cannot be used and will be built anew: %s", generation.path, exc)
            return None
        if vectors.shape != (len(owners), self._identity.dim):
            logger.warning("the cache %s has not a vector for each utterance and will be built anew", generation.path)
            return None
        return catalog, SegmentedIndex(vectors, owners, self._graph(generation))

    def _graph(self, generation: Generation) -> HnswGraph | None:
        if not self._graph_pays(len(generation.arrays["vectors"])):
            return None
        try:
            path = generation.opaque("graph")
        except KeyError:
            return None
        try:
            return HnswGraph.view(path) if path else None
        except StorageCorruptError as exc:
            # Its checksum is right, so another version of usearch may have written it.
            logger.warning("%s; until then, queries are compared with all utterances", exc)
            return None

    def _from_store(self) -> RouteTable:
        with self._storage.read(self._identity) as stream:
            first: list[Batch] = []
            rows = 0
            for batch in stream.batches:
                first.append(batch)
                rows += len(batch[1])
                if rows > SEGMENTED_FROM and self._folder is not None:
                    table = self._streamed(stream, chain(first, stream.batches))
                    if table is not None:
                        return table
                    break
            else:
                return self._in_memory(stream, first)
        # The stream was used up by a cache that could not be written.
        with self._storage.read(self._identity) as stream:
            return self._in_memory(stream, list(stream.batches))

    def _in_memory(self, stream: StoredStream, batches: list[Batch]) -> RouteTable:
        self._shown = stream.state
        vectors = [vectors for _, vectors in batches] or [np.empty((0, self._identity.dim), np.float32)]
        stored = StoredTable(
            revision=stream.state.revision,
            routes=tuple(chain.from_iterable(routes for routes, _ in batches)),
            vectors=np.concatenate(vectors),
            labelled=stream.labelled,
            point=stream.point,
        )
        return RouteTable.from_stored(stored, self._encode, self._breaker, self._first_encoder)

    def _streamed(self, stream: StoredStream, batches: Iterable[Batch]) -> RouteTable | None:
        """Write the files while reading the store, so that only the texts are in memory at once."""
        assert self._folder is not None  # noqa: S101 - the caller has asked

        def contents() -> Iterator[tuple[str, Content]]:
            builder = CatalogBuilder()

            def vectors() -> Iterator[NDArray[np.float32]]:
                for routes, rows in batches:
                    builder.add(routes)
                    yield rows

            yield "vectors", vectors()
            yield from builder.built().arrays().items()

        try:
            cache_files.write(self._folder, contents(), self._meta(stream.state))
        except StorageCorruptError:
            raise
        except StorageError as exc:
            logger.warning("%s", exc)
            return None
        generation = self._newest(stream.state)
        return self._from_files(generation) if generation else None

    # ---------------------------------------------------------------------------------------------- compacting
    def _contents(
        self, table: RouteTable, checkpoint: Callable[[], None], *, graphed: bool
    ) -> Iterator[tuple[str, Content]]:
        catalog, _ = table.catalog.compacted()
        checkpoint()
        yield from catalog.arrays().items()
        yield "vectors", _segments(table).sealed_in_parts()
        checkpoint()
        if graphed:

            def build(path: Path) -> None:
                # The file beside it has just been written: read from there, the rows need not fit in memory.
                vectors = np.memmap(path.with_name("vectors.bin"), np.float32, "r").reshape(-1, self._identity.dim)
                self._built(vectors, checkpoint).save(path)

            yield "graph", build

    def _built(self, vectors: Vectors, checkpoint: Callable[[], None]) -> HnswGraph:
        return HnswGraph.build(vectors, threads=usable_cores(), progress=lambda _done, _all: checkpoint())

    def _wants_graph(self, index: SegmentedIndex) -> bool:
        return self._graph_pays(len(index)) and (index.graph is not None or not self.growing)

    def _graph_pays(self, rows: int) -> bool:
        if rows < GRAPH_PAYS_FROM:
            return False
        if self._has_graphs is None:
            self._has_graphs = HnswGraph.available()
            if not self._has_graphs:
                hint = MissingExtraError("searching so many utterances faster", "hnsw")
                logger.warning("%s utterances are searched one by one; %s", f"{rows:,}", hint)
        return self._has_graphs


def _segments(table: RouteTable) -> SegmentedIndex:
    assert isinstance(table.index, SegmentedIndex)  # noqa: S101 - others need no compaction
    return table.index
