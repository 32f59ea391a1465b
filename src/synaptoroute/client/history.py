"""The calls that show what was done to the routes, and lead back."""

from __future__ import annotations

from synaptoroute.client.answers import RouteDiff, field_of, one
from synaptoroute.client.answers import revision as new_revision
from synaptoroute.client.call import Call, based_on, path, query, sending
from synaptoroute.models import clean_name
from synaptoroute.storage.history import HistoryEntry, Snapshot


def history(*, limit: int = 100, route: str | None = None) -> Call[tuple[HistoryEntry, ...]]:
    """What was done to the routes, or to one of them, newest first."""
    return Call(
        operation="history",
        method="GET",
        path=path("history"),
        query=query(limit=limit, route=route),
        read=field_of("entries", tuple[HistoryEntry, ...]),
        safe=True,
    )


def diff(first: int, second: int) -> Call[RouteDiff]:
    """What leads from the routes of one revision to those of another, which may be the earlier one.

    Raises:
        RevisionNotFoundError: One of them has not been reached yet, or its history was forgotten.
    """
    asked = query(first=first, second=second)
    return Call(operation="diff", method="GET", path=path("diff"), query=asked, read=one(RouteDiff), safe=True)


def rollback(revision: int, *, expected_revision: int | None = None) -> Call[int]:
    """Make the routes what they were at that revision. Returns the new revision, for this is a change as well.

    Args:
        revision: To go back to.
        expected_revision: Of all routes, ``RoutePage.revision``; None goes back from whatever is there.

    Raises:
        RevisionNotFoundError: It has not been reached yet, or its history was forgotten.
        RevisionConflictError: The routes have changed since ``expected_revision``; nothing was changed.
    """
    sent = sending({"revision": revision})
    sent["headers"] |= based_on(expected_revision)
    return Call(operation="rollback", method="POST", path=path("rollback"), read=new_revision, **sent)


def list_snapshots() -> Call[tuple[Snapshot, ...]]:
    """All snapshots, in the order they were saved."""
    return Call(
        operation="listSnapshots",
        method="GET",
        path=path("snapshots"),
        read=field_of("snapshots", tuple[Snapshot, ...]),
        safe=True,
    )


def save_snapshot(name: str) -> Call[Snapshot]:
    """Keep the routes as they are now under a name. Raises InvalidInputError if it is taken or no name."""
    return Call(
        operation="saveSnapshot",
        method="POST",
        path=path("snapshots"),
        read=one(Snapshot),
        **sending({"name": clean_name(name)}),
    )


def use_snapshot(name: str, *, expected_revision: int | None = None) -> Call[int]:
    """Make the routes what they were when the snapshot was saved. Returns the new revision; see ``rollback``.

    Raises:
        SnapshotNotFoundError: There is none of that name.
        RevisionConflictError: The routes have changed since ``expected_revision``; nothing was changed.
    """
    where, headers = path("snapshots", clean_name(name), "use"), based_on(expected_revision)
    return Call(operation="useSnapshot", method="POST", path=where, headers=headers, read=new_revision)


def delete_snapshot(name: str) -> Call[int]:
    """Forget a snapshot. Returns the revision of the routes, which stay. Raises SnapshotNotFoundError."""
    where = path("snapshots", clean_name(name))
    return Call(operation="deleteSnapshot", method="DELETE", path=where, read=new_revision)
