"""Takes over into a router's table what others have committed to the same store."""

from __future__ import annotations

import random
import time
import weakref
from collections.abc import Callable, Sequence
from types import MethodType

import numpy as np

from synaptoroute.errors import RouterClosedError, StorageError
from synaptoroute.forking import PerProcess
from synaptoroute.lane import Lane
from synaptoroute.storage.base import (
    BaseStorage,
    Change,
    LabelledQueries,
    StoreState,
    WatchableStorage,
    Watching,
)
from synaptoroute.table import RouteTable

#: How often a change is planned because others were faster. Who wins is chance: losing so often in a row means that
#: something else is wrong.
PLANS = 64
#: Longest random pause before planning anew the third time. It doubles from then on up to the second: who is slow would
#: else lose again and again to those who are quick, for the store lets them in one after another.
_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.3


class Following:
    """Knows which state of the store a table shows, and what has come since. Used under the router's lock.

    Args:
        storage: The store.
        lane: The router's lane of now; its files know which state of the store its table shows.
    """

    def __init__(self, storage: BaseStorage, lane: Callable[[], Lane]) -> None:
        self._storage = storage
        self._lane = lane
        self._watch: PerProcess[Watching] = PerProcess()
        self._changed: Callable[[StoreState | None], bool] | None = None

    @property
    def shown(self) -> StoreState:
        """The state of the store that the router's table shows."""
        return self._lane().files.shown

    def committed(self, revision: int) -> None:
        """The router's own change was committed as that revision and is in its table."""
        try:
            storage = self._storage
            state = storage.last_commit() if isinstance(storage, WatchableStorage) else storage.state()
        except StorageError:
            return
        # Should another change have followed already, both are taken over with it: doing it twice does no harm.
        if state is not None and state.revision == revision:
            self._lane().files.shown = state

    def caught_up(self, table: RouteTable) -> tuple[RouteTable, Sequence[Change] | None]:
        """The table as the store has it now.

        Args:
            table: The last one, which holds all that was caught up with or ``committed``.

        Returns:
            The same table if nothing has changed. And the changes that led from the last one to it; None if it was read
            anew, because that is less work or because the store has another past now.

        Raises:
            EncoderMismatchError: The vectors were written with another encoder meanwhile.
            StorageError: The store cannot be read.
        """
        lane = self._lane()
        found = self._storage.changes_since(lane.files.shown, lane.identity)
        if found is None:
            opened = lane.files.open()
            labelled = _the_same(table.labelled, opened.labelled)
            return opened.resuming(table).with_labelled(labelled).with_point(opened.point), None
        changes, labelled = found.changes, _the_same(table.labelled, found.labelled)
        if changes or found.state.revision != table.revision:
            table = table.applied(changes, found.state.revision)
        if labelled is not table.labelled:
            table = table.with_labelled(labelled)
        if found.point != table.point:
            table = table.with_point(found.point)
        lane.files.shown = found.state
        return table, changes

    # ----------------------------------------------------------------------------------------------- following
    def begin(self, follow: Callable[[StoreState | None], object]) -> None:
        """Call ``follow``, a method, whenever the store tells of a change, if it can; until its object is gone."""
        if isinstance(self._storage, WatchableStorage) and isinstance(follow, MethodType):
            method = weakref.WeakMethod(follow)

            def changed(state: StoreState | None) -> bool:
                call = method()
                if call is None:
                    return False
                try:
                    call(state)
                except RouterClosedError:
                    return False
                return True

            self._changed = changed
            self.go_on()

    def go_on(self) -> None:
        """In a forked child, begin anew. Costs next to nothing otherwise."""
        if self._changed is not None:
            self._watch.get(self._make_watch)

    def close(self) -> None:
        """Follow no more."""
        if self._changed is not None:
            watch = self._watch.get(self._make_watch)
            self._changed = None
            watch.close()

    def _make_watch(self) -> Watching:
        assert isinstance(self._storage, WatchableStorage)  # noqa: S101 - asked in ``begin``
        assert self._changed is not None  # noqa: S101 - the callers have asked
        return self._storage.watch(self._changed)


def pause(lost: int) -> None:
    """Before planning anew for the ``lost``-th time: those who collide shall not do so in step."""
    if lost > 1:
        longest_s = min(_PAUSE_S * 2 ** (lost - 2), _LONGEST_PAUSE_S)
        time.sleep(random.uniform(0, longest_s))  # noqa: S311 - spreads load, hides nothing


def _the_same(former: LabelledQueries | None, latest: LabelledQueries | None) -> LabelledQueries | None:
    """The latest, or the former object if it says the same: what was learned from it need not be learned again."""
    if former is None or latest is None:
        return latest
    same = (
        former.texts == latest.texts
        and former.labels == latest.labels
        and former.min_confidence == latest.min_confidence
        and np.array_equal(former.vectors, latest.vectors)
    )
    return former if same else latest
