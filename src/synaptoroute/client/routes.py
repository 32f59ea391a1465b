"""The calls that show and change routes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from synaptoroute.client.answers import ImportReport, RouteInfo, RoutePage, one, revision
from synaptoroute.client.call import JSON, Call, as_json, based_on, path, query, sending
from synaptoroute.models import Route, clean_name, clean_utterances

Format = Literal["json", "jsonl", "yaml", "csv"]
Mode = Literal["add", "put", "replace"]

_MEDIA_TYPES: dict[Format, str] = {
    "json": JSON,
    "jsonl": "application/x-ndjson",
    "yaml": "application/yaml",
    "csv": "text/csv",
}
_Unset: Any = object()


def list_routes(
    *, limit: int = 100, after: str | None = None, containing: str | None = None, utterances: bool = False
) -> Call[RoutePage]:
    """One page of the routes; ``iter_routes`` gives all.

    Args:
        limit: How many at most.
        after: ``next`` of the page before.
        containing: Only routes with this in their name, description or utterances.
        utterances: Give them as well.
    """
    asked = query(limit=limit, after=after, query=containing, utterances=utterances)
    return Call(operation="listRoutes", method="GET", path=path("routes"), query=asked, read=one(RoutePage), safe=True)


def get_route(name: str) -> Call[RouteInfo]:
    """The route of that name. Raises RouteNotFoundError."""
    return Call(operation="getRoute", method="GET", path=_of(name), read=one(RouteInfo), safe=True)


def create_route(route: Route) -> Call[RouteInfo]:
    """Add a route; it takes part in the next query. Raises RouteExistsError if the name is taken."""
    return Call(
        operation="createRoute",
        method="POST",
        path=path("routes"),
        read=one(RouteInfo),
        **sending(route.model_dump(mode="json")),
    )


def put_route(route: Route, *, expected_revision: int | None = None) -> Call[RouteInfo]:
    """Add a route, or put it in the place of the one of its name.

    Args:
        route: As it shall be.
        expected_revision: The ``RouteInfo.revision`` that this is based on; 0 if the name must be free. None overwrites
            whatever is there.

    Raises:
        RevisionConflictError: The route has changed since; nothing was changed.
    """
    content = route.model_dump(mode="json", exclude={"name"})
    return _change("putRoute", "PUT", _of(route.name), content, expected_revision)


def update_route(
    name: str,
    *,
    utterances: Iterable[str] | None = None,
    threshold: float | None = _Unset,
    description: str | None = _Unset,
    metadata: Mapping[str, Any] | None = _Unset,
    expected_revision: int | None = None,
) -> Call[RouteInfo]:
    """Change some fields of a route; those not given stay.

    Args:
        name: Of the route.
        utterances: All that it shall have.
        threshold: Least cosine score; None removes it.
        description: None removes it.
        metadata: All that it shall have.
        expected_revision: See ``put_route``.

    Raises:
        RouteNotFoundError: There is no such route.
        InvalidRouteError: A value cannot be accepted.
        RevisionConflictError: The route has changed since; nothing was changed.
    """
    fields = {"threshold": threshold, "description": description, "metadata": metadata}
    content: dict[str, Any] = {field: value for field, value in fields.items() if value is not _Unset}
    if utterances is not None:
        content |= {"utterances": clean_utterances(utterances)}
    return _change("updateRoute", "PATCH", _of(name), content, expected_revision)


def delete_route(name: str, *, expected_revision: int | None = None) -> Call[int]:
    """Remove a route. Returns the new revision. Raises RouteNotFoundError, or RevisionConflictError."""
    return Call(
        operation="deleteRoute",
        method="DELETE",
        path=_of(name),
        headers=based_on(expected_revision),
        read=revision,
    )


def add_utterances(name: str, utterances: Iterable[str], *, expected_revision: int | None = None) -> Call[RouteInfo]:
    """Add examples to a route; those it has already are skipped. Raises as ``update_route`` does."""
    content = {"utterances": clean_utterances(utterances)}
    return _change("addUtterances", "POST", _of(name, "utterances"), content, expected_revision)


def remove_utterances(name: str, utterances: Iterable[str], *, expected_revision: int | None = None) -> Call[RouteInfo]:
    """Remove examples from a route, but not its last one. Raises as ``update_route`` does."""
    content = {"utterances": clean_utterances(utterances)}
    return _change("removeUtterances", "POST", _of(name, "utterances", "remove"), content, expected_revision)


def export_routes(format: Format = "json") -> Call[bytes]:  # noqa: A002  # as the server calls it
    """All routes as the content of a file, which ``import_routes`` and ``synaptoroute routes import`` read."""
    return Call(
        operation="exportRoutes",
        method="GET",
        path=path("export"),
        query=query(format=format),
        read=lambda answer: answer.body,
        safe=True,
    )


def import_routes(
    content: bytes | Iterable[Route],
    *,
    mode: Mode = "add",
    format: Format = "json",  # noqa: A002  # as the server calls it
    dry_run: bool = False,
    expected_revision: int | None = None,
) -> Call[ImportReport]:
    """Take routes from the content of a file, or a list: all or, on any error, none.

    Args:
        content: Bytes in that format, or Routes.
        mode: "add" wants all names free; "put" also puts routes in the place of others; "replace" also deletes those
            that are not in the file.
        format: Of the bytes.
        dry_run: Only tell what would be done.
        expected_revision: With "replace", of all routes, ``RoutePage.revision``; None replaces whatever is there.

    Raises:
        InvalidInputError: The content cannot be read, or a route cannot be accepted.
        RouteExistsError: With "add", a name is taken.
        RevisionConflictError: The routes have changed since ``expected_revision``; nothing was changed.
    """
    if not isinstance(content, bytes):
        content, format = as_json([route.model_dump(mode="json") for route in content]), "json"  # noqa: A001
    return Call(
        operation="importRoutes",
        method="POST",
        path=path("import"),
        query=query(mode=mode, format=format, dry_run=dry_run),
        body=content,
        headers={"content-type": _MEDIA_TYPES[format], **based_on(expected_revision)},
        read=one(ImportReport),
    )


def _change(operation: str, method: Any, where: str, content: Any, expected_revision: int | None) -> Call[RouteInfo]:
    sent = sending(content)
    sent["headers"] |= based_on(expected_revision)
    return Call(operation=operation, method=method, path=where, read=one(RouteInfo), **sent)


def _of(name: str, *parts: str) -> str:
    return path("routes", clean_name(name), *parts)
