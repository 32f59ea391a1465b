"""RedisSyncManager: keeps routers the same through one Redis or Valkey server, and goes on without it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from synaptoroute.errors import InvalidInputError, InvalidRouteError, StorageError, SyncError, SyncUnavailableError
from synaptoroute.forking import close_at_exit
from synaptoroute.observability.events import SyncChanged
from synaptoroute.storage.base import Change, NotingStorage, PutRoute
from synaptoroute.sync.base import Notes, Replica, SyncHealth
from synaptoroute.sync.follower import Follower
from synaptoroute.sync.ledger import Ledger, Step
from synaptoroute.sync.link import Link, shown, watch
from synaptoroute.sync.parts import Parts
from synaptoroute.sync.publisher import Outlet, Publisher
from synaptoroute.sync.records import MAX_RECORD_BYTES, estimated_bytes
from synaptoroute.sync.standing import Standing

#: How long ``close`` waits for own changes to be published, and then for each thread.
DRAIN_S, JOIN_S = 2.0, 2.0
_NAMESPACE_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")

logger = logging.getLogger(__name__)


class RedisSyncManager:
    """Makes the routes of all routers with the same server and namespace the same.

    Every change is durable in its own store before it is acknowledged, and takes effect there at once; Redis is how the
    others learn of it. A change is sent as the whole routes with their vectors, so nobody encodes anything again.

    **The order that decides.** The server gives every change a place in one order. On every replica, a route is as the
    latest change of it in that order says, whole: of two replicas that change a route at the same time, the later one
    wins and the other's change of that route is gone. A replica leaves a route as it is while its own change of it
    waits for its place, since that place will be later than anything it reads until then. Clocks take no part.

    **When the server is away**, frozen or unreachable, reads and writes go on. What was changed meanwhile is remembered
    in the store, also across a crash, and sent when the server is back. **When entries are missing** (trimmed, flushed,
    a fail-over to an older copy, a new server) all versions are compared, what is newer elsewhere is fetched, and what
    the server has lost is given back to it. The server holds every route once, beside the latest entries: 50,000 routes
    of 5 utterances in 384 dimensions take it 0.4 GB. It should not evict keys; if it does, they are made anew.

    What ``fit`` was given stays with the replica, and so does the order in which routes were added.

    Args:
        redis_url: ``redis://``, ``rediss://`` or ``unix://``; user and password in it are never shown.
        namespace: Which routers belong together; letters, digits and ``. _ -``.
        key: Shared by all of them. With it, what was not written by one of them is set aside.
        timeout_s: Most that an answer may take; and, doubled, a whole call.
        check_every_s: How often all routes are compared with what was agreed.
        max_entries: Of the stream. A replica that was away for more compares everything.
        max_stream_bytes: Likewise, of their records.

    Raises:
        MissingExtraError: redis-py is not installed.
        InvalidInputError: The address or an option cannot be accepted.
    """

    def __init__(
        self,
        redis_url: str,
        *,
        namespace: str = "default",
        key: str | bytes | None = None,
        timeout_s: float = 5.0,
        check_every_s: float = 60.0,
        max_entries: int = 100_000,
        max_stream_bytes: int = 128 << 20,
    ) -> None:
        if not 0 < len(namespace) <= 64 or not _NAMESPACE_CHARS.issuperset(namespace):
            raise InvalidInputError(f"the namespace {namespace[:70]!r} is not 1 to 64 letters, digits, '.', '_' or '-'")
        if min(timeout_s, check_every_s, max_entries, max_stream_bytes) <= 0:
            raise InvalidInputError("timeout_s, check_every_s, max_entries and max_stream_bytes must be more than 0")
        if key is not None and len(key) < 16:
            raise InvalidInputError(
                f"the key has {len(key)} characters, wanted at least 16; make one with secrets.token_hex()"
            )
        self._shown = f"{shown(redis_url)} namespace {namespace!r}"
        self._namespace = namespace
        self._key = key.encode() if isinstance(key, str) else key
        self._check_every_s = check_every_s
        self._limits = (max_entries, max_stream_bytes)
        self._links = (Link(redis_url, namespace, timeout_s), Link(redis_url, namespace, timeout_s))
        self._standing = Standing()
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self._replica: Replica | None = None
        self._ledger: Ledger | None = None
        self._pid = os.getpid()
        self._follower: Follower | None = None
        self._parts: Parts | None = None
        self._prepared: Step | None = None
        self._prepared_revision = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"RedisSyncManager({self._shown!r})"

    # ------------------------------------------------------------------------------------------------ lifetime
    def attach(self, replica: Replica) -> None:
        """See ``BaseSyncManager.attach``. Looks at the server once; if it does not answer, that is for the background.

        Raises:
            SyncForeignError: The server is too old or refuses us, or the stream is another application's or encoder's.
        """
        if self._replica is not None:
            raise InvalidInputError("this sync manager has a router already; make one for each")
        if not isinstance(replica.storage, NotingStorage):
            raise InvalidInputError(
                f"{type(replica.storage).__name__} cannot note what was synchronised; take a SQLiteStorage for each "
                "replica. Routers that share a store in PostgreSQL follow it without a sync manager"
            )
        ledger = Ledger(replica.storage, self._namespace)
        known = ledger.cursor is not None and ledger.revision is not None
        changed_alone = known and ledger.revision != replica.contents().revision
        reading, writing = self._links
        parts = Parts(
            link=reading,
            outlet=Outlet(reading, replica, self._key, *self._limits),
            replica=replica,
            ledger=ledger,
            standing=self._standing,
            key=self._key,
        )
        follower = Follower(parts, check_every_s=self._check_every_s, changed_alone=changed_alone)
        publisher = Publisher(Outlet(writing, replica, self._key, *self._limits), replica, ledger, self._standing)
        # First, for the look at the server has a limit too.
        self._start("watch", watch, self._links, self._stopping)
        self._look_once(parts)
        self._replica, self._ledger, self._follower, self._parts = replica, ledger, follower, parts
        self._start("read", follower.run, self._stopping)
        self._start("write", publisher.run, self._stopping)
        close_at_exit(self, RedisSyncManager.close)

    def _start(self, name: str, target: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, name=f"synaptoroute-sync-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _look_once(self, parts: Parts) -> None:
        try:
            parts.link.check_version()
            parts.status()
        except SyncUnavailableError as exc:
            self._standing.failed("reading", exc)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """See ``BaseSyncManager.close``. Takes 2 s to publish what waits, and 2 s for each thread, at most."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        standing, ledger = self._standing, self._ledger
        if ledger is not None:
            with standing.changed:
                standing.changed.wait_for(
                    lambda: not standing.following or standing.published_now >= ledger.waiting.keys(), DRAIN_S
                )
        self._stopping.set()
        for link in self._links:
            link.shut()
        with standing.changed:
            standing.changed.notify_all()
        for thread in self._threads:
            thread.join(JOIN_S)
        for link in self._links:
            link.close()
        if self._parts is not None and not any(thread.is_alive() for thread in self._threads):
            try:
                self._parts.write_at_the_end()
            except StorageError as exc:
                # It is read from the server again.
                logger.warning("how far was read could not be noted at the end: %s", exc)

    # ---------------------------------------------------------------------------------------------- own changes
    def outgoing(self, changes: Sequence[Change], revision: int) -> Notes:
        """See ``BaseSyncManager.outgoing``."""
        replica, ledger = self._replica, self._ledger
        if replica is None or ledger is None:
            return {}
        if self._pid != os.getpid():
            raise SyncError(
                "this router keeps in step with others in the process that made it, not in one forked from it; "
                "make the router after the fork to change routes here"
            )
        sizes: dict[str, int] = {}
        for change in changes:
            if isinstance(change, PutRoute):
                sizes[change.route.name] = size = estimated_bytes(change.route, replica.identity.dim)
                if size > MAX_RECORD_BYTES:
                    raise InvalidRouteError(
                        f"route {change.route.name!r} with {len(change.route.utterances):,} utterances is too large "
                        f"to be sent to other replicas (about {size:,} bytes, at most {MAX_RECORD_BYTES:,}); divide it"
                    )
        names = [change.route.name if isinstance(change, PutRoute) else change.name for change in changes]
        step = Step()
        former = ledger.drawn_together(self._standing.published_now)
        if former:
            names = [name for own in former for name in own.names] + names
            step.seen = {own.number for own in former}
        step.waiting = ledger.own(dict.fromkeys(names), sizes)
        self._prepared, self._prepared_revision = step, revision
        notes = ledger.notes(step, revision)
        if self._follower is not None and self._follower.changed_alone:
            # Until what was changed alone has been found, the store's note of its revision stays as it was.
            notes = {name: value for name, value in notes.items() if not name.endswith("/at")}
        return notes

    def committed(self) -> None:
        """See ``BaseSyncManager.committed``."""
        step, ledger = self._prepared, self._ledger
        if step is None or ledger is None:
            return
        self._prepared = None
        with self._standing.changed:
            ledger.done(step, self._prepared_revision)
            self._standing.changed.notify_all()

    # -------------------------------------------------------------------------------------------------- asking
    def tell(self, listener: Callable[[SyncChanged], None]) -> None:
        """See ``TellingSyncManager.tell``."""
        self._standing.tell = listener

    def wait(self, timeout_s: float | None = None) -> bool:
        """See ``BaseSyncManager.wait``."""
        standing, ledger = self._standing, self._ledger
        if self._pid != os.getpid():
            return False
        began = time.monotonic()

        def done() -> bool:
            if standing.refusal is not None or self._closed:
                return True
            at = standing.in_step_at
            return at is not None and at >= began and ledger is not None and not ledger.waiting

        with standing.changed:
            reached = standing.changed.wait_for(done, timeout_s)
        if standing.refusal is not None:
            raise standing.refusal
        return reached and not self._closed

    def health(self) -> SyncHealth:
        """See ``BaseSyncManager.health``."""
        standing, ledger = self._standing, self._ledger
        ended = self._closed or self._pid != os.getpid()
        contact = standing.contact_at
        return SyncHealth(
            state="stopped" if ended else standing.state,
            error=standing.error,
            lag_entries=standing.lag_entries,
            last_contact_s=None if contact is None else time.monotonic() - contact,
            outbox=len(ledger.waiting) if ledger else 0,
            applied=standing.applied,
            published=standing.published,
            reconnects=sum(max(0, link.connections - 1) for link in self._links),
            resyncs=standing.resyncs,
            repairs=standing.repairs,
            conflicts=standing.conflicts,
            poison=standing.poison,
            routes=ledger.routes if ledger else 0,
            digest=ledger.digest if ledger else "0" * 32,
        )
