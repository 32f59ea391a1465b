"""Standing: how synchronising goes, shared by its threads and by those who ask or wait."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from synaptoroute.errors import SyncError
from synaptoroute.observability.events import SyncChanged

#: Waits between attempts grow from the first to the second, each drawn from 0 up: many replicas shall not come at once.
FIRST_WAIT_S, LONGEST_WAIT_S = 0.02, 3.0
#: What an operator has to put right is looked at again after this long.
REFUSED_WAIT_S = 30.0

logger = logging.getLogger(__name__)


class Standing:
    """Numbers and a state, all guarded by ``changed``."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._state = self._told_state = "starting"
        #: Told when the state is another.
        self.tell: Callable[[SyncChanged], None] | None = None
        # What does not work, by what was being done.
        self._troubles: dict[str, tuple[Exception, bool]] = {}
        self.lag_entries: int | None = None
        self.contact_at: float | None = None
        self.in_step_at: float | None = None
        self.following = False
        self.published_now: set[int] = set()
        self.applied = self.published = self.resyncs = self.repairs = self.conflicts = self.poison = 0

    @property
    def state(self) -> str:
        """See ``SyncHealth``."""
        troubles = list(self._troubles.values())
        if not troubles:
            return self._state
        return "refused" if any(refused for _, refused in troubles) else "waiting"

    @property
    def error(self) -> str | None:
        """See ``SyncHealth``."""
        return next((str(exc) for exc, _ in list(self._troubles.values())), None)

    @property
    def refusal(self) -> SyncError | None:
        """Why this can never work; None while it may."""
        refusals = (exc for exc, refused in list(self._troubles.values()) if refused)
        return next((exc for exc in refusals if isinstance(exc, SyncError)), None)

    def contact(self, lag_entries: int | None = None) -> None:
        """The server has answered."""
        with self.changed:
            self.contact_at = time.monotonic()
            if lag_entries is not None:
                self.lag_entries = lag_entries

    def resyncing(self) -> None:
        """Everything is being compared."""
        with self.changed:
            self.resyncs += 1
            if self._state != "starting":
                self._state = "resyncing"
            self._tell_if_changed()

    def follows(self) -> None:
        """Reading goes well."""
        with self.changed:
            self._state, self.following = "following", True
            self.works("reading")

    def in_step(self, since: float) -> None:
        """All that was published by then is applied here."""
        with self.changed:
            self.in_step_at = since
            self.changed.notify_all()

    def works(self, doing: str) -> None:
        """That was no trouble."""
        with self.changed:
            if self._troubles.pop(doing, None):
                logger.info("%s works again", doing)
            self._tell_if_changed()
            self.changed.notify_all()

    def failed(self, doing: str, exc: Exception, *, refused: bool = False) -> None:
        """Something went wrong and is tried again."""
        with self.changed:
            if doing not in self._troubles:
                logger.warning("%s does not work, replicas are not kept the same for now: %s", doing, exc)
            self._troubles[doing] = exc, refused
            if doing == "reading":
                self.following = False
            self._tell_if_changed(type(exc).__name__)
            self.changed.notify_all()

    def _tell_if_changed(self, error: str | None = None) -> None:
        state, former = self.state, self._told_state
        if state != former:
            self._told_state = state
            if self.tell is not None:
                self.tell(SyncChanged(state=state, former=former, error=error, resyncs=self.resyncs))


class Backoff:
    """Waits that grow with failures in a row."""

    def __init__(self) -> None:
        self._failures = 0

    def reset(self) -> None:
        """It worked."""
        self._failures = 0

    def next_s(self) -> float:
        """How long to wait after one more failure, in seconds."""
        limit = min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(self._failures, 20))
        self._failures += 1
        return random.uniform(0, limit)  # noqa: S311 - to spread load, no secret
