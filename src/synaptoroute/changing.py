"""What routes a router has, and the calls that change them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from synaptoroute import planning
from synaptoroute.committing import Committing
from synaptoroute.encoder.base import Vectors, checked_vectors
from synaptoroute.errors import InvalidRouteError, RouteNotFoundError
from synaptoroute.lane import Progress
from synaptoroute.models import Route, clean_utterances
from synaptoroute.storage.base import Change, DropRoute
from synaptoroute.table import RouteTable

_Unset = object()


class Changing(Committing):
    """The part of ``AdaptiveRouter`` that shows routes and changes them."""

    @property
    def routes(self) -> tuple[Route, ...]:
        """All routes in the order they were added."""
        return self._table.routes

    @property
    def revision(self) -> int:
        """How many changes the store has seen."""
        return self._table.revision

    @property
    def snapshot(self) -> RouteTable:
        """The immutable table that the next query will be decided by."""
        return self._table

    def get_route(self, name: str) -> Route:
        """The route of that name. Raises RouteNotFoundError."""
        return self._table.get(name)

    def __contains__(self, name: object) -> bool:
        return name in self._table

    def __bool__(self) -> bool:
        """True, also without routes: whoever writes ``router or another`` asks whether there is a router."""
        return True

    def __len__(self) -> int:
        return len(self._table)

    def add_route(self, route: Route, *, vectors: Vectors | None = None) -> int:
        """Add a route; it takes part in the next query. Returns the new revision, durable.

        Args:
            route: A new route.
            vectors: See ``add_routes``.

        Raises:
            RouteExistsError: The name is taken; use ``update_route``.
            EncoderError: An utterance could not be encoded.
            StorageError: The change could not be written.
        """
        return self.add_routes([route], vectors=vectors)

    def add_routes(
        self, routes: Iterable[Route], *, vectors: Vectors | None = None, progress: Progress | None = None
    ) -> int:
        """Add routes, all of them or, on any error, none; see ``add_route``. Returns the new revision.

        Args:
            routes: New routes.
            vectors: What the router's encoder makes of their ``utterances``, route after route, float32 (n, dim), if
                that is known already; else they are encoded.
            progress: Told how many of how many utterances have been encoded.
        """
        routes = list(routes)
        count = sum(len(route.utterances) for route in routes)

        def plan(table: RouteTable) -> list[Change]:
            if vectors is None:
                planning.require_new(table, routes)
                return self._puts(table, routes, progress)
            known = checked_vectors(vectors, (count, self._lane.identity.dim), "the given vectors")
            planning.require_new(table, routes)
            return planning.puts_of_known(routes, known)

        return self._change(plan)

    def put_routes(
        self,
        routes: Iterable[Route],
        *,
        progress: Progress | None = None,
        expected_revisions: Mapping[str, int] | None = None,
        expected_revision: int | None = None,
        cause: str | None = None,
    ) -> int:
        """Add routes or put them in the place of those of the same name, all or none. Returns the revision.

        Only utterances that are new to a route are encoded; routes that are there just so are left alone.

        Args:
            routes: As they shall be.
            progress: Told how many of how many utterances have been encoded.
            expected_revisions: Name -> the revision at which that route must have changed last (``route_revision``);
                0 if it must be new.
            expected_revision: The ``revision`` of all routes that this was decided upon; None for any.
            cause: What it is part of, for the history.

        Raises:
            InvalidInputError: Two of them have the same name.
            RevisionConflictError: One of the routes has changed since the expected revision.
        """
        routes = list(routes)
        planning.require_distinct(routes)

        def plan(table: RouteTable) -> list[Change]:
            planning.require_at(table, expected_revision)
            return self._puts(table, routes, progress)

        return self._change(plan, expected=expected_revisions, cause=cause)

    def load_routes(self, routes: Iterable[Route], *, progress: Callable[[int], None] | None = None) -> int:
        """``put_routes`` in parts of 1,000, each of them all or none, for many routes. Returns the revision.

        Routes are taken from the iterable as they are needed. What was loaded before an error or a crash stays, and
        loading the same again goes on from there: what is stored already is not encoded again. Learning from the new
        routes begins when all are there.

        Args:
            routes: Any number; ``route_files.iter_routes`` reads them from a file.
            progress: Told how many utterances have been encoded so far.
        """
        before = encoded = 0

        def advance(done: int, _of_part: int) -> None:
            nonlocal encoded
            encoded = before + done
            if progress:
                progress(encoded)

        with self.loading():
            for part in planning.in_parts(routes):
                self.put_routes(part, progress=advance)
                before = encoded
        return self.revision

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Routes that are added inside, in however many calls, are learned and get their graph once, at the end.

        What comes from elsewhere with its vectors is loaded so: ``load_routes`` does it by itself. Without it, a
        pause between two calls looks like the end, and a graph over millions of utterances takes the better part of
        an hour.
        """
        files = self._files
        with self._changing:
            files.growing += 1
        try:
            yield
        finally:
            with self._changing:
                files.growing -= 1

    def update_route(
        self,
        name: str,
        *,
        utterances: Iterable[str] | None = None,
        threshold: Any = _Unset,
        description: Any = _Unset,
        metadata: Any = _Unset,
        expected_revision: int | None = None,
    ) -> int:
        """Change some fields of a route; those not given stay. Returns the new revision.

        Only utterances that are new to the route are encoded.

        Args:
            name: Of the route.
            utterances: All that it shall have.
            threshold: Least cosine score; None removes it.
            description: None removes it.
            metadata: All that it shall have.
            expected_revision: The ``route_revision`` that the change was based on; None overwrites whatever is there.
                Every change of a single route takes one.

        Raises:
            RouteNotFoundError: There is no such route.
            InvalidRouteError: A value cannot be accepted.
            RevisionConflictError: The route has changed since ``expected_revision``; nothing was changed.
        """
        fields = {"threshold": threshold, "description": description, "metadata": metadata}
        given = {field: value for field, value in fields.items() if value is not _Unset}
        if utterances is not None:
            given["utterances"] = clean_utterances(utterances)
        expected = _expected(name, expected_revision)
        return self._change(lambda table: self._puts(table, [table.get(name).replaced(**given)]), expected=expected)

    def update_threshold(self, name: str, threshold: float | None, *, expected_revision: int | None = None) -> int:
        """Set or, with None, remove a route's threshold. Returns the new revision."""
        return self.update_route(name, threshold=threshold, expected_revision=expected_revision)

    def add_utterance(self, name: str, utterance: str, *, expected_revision: int | None = None) -> int:
        """Add an example; nothing changes if the route has it already. Returns the revision."""
        return self.add_utterances(name, [utterance], expected_revision=expected_revision)

    def add_utterances(self, name: str, utterances: Iterable[str], *, expected_revision: int | None = None) -> int:
        """Add examples to a route; those it has already are skipped. Returns the revision."""
        texts = clean_utterances(utterances)

        def plan(table: RouteTable) -> list[Change]:
            route = table.get(name)
            return self._puts(table, [route.replaced(utterances=(*route.utterances, *texts))])

        return self._change(plan, expected=_expected(name, expected_revision))

    def remove_utterance(self, name: str, utterance: str, *, expected_revision: int | None = None) -> int:
        """Remove an example. Returns the new revision.

        Raises:
            RouteNotFoundError: There is no such route, or it has no such utterance.
            InvalidRouteError: It is the route's last one; use ``delete_route``.
        """
        (text,) = clean_utterances([utterance])

        def plan(table: RouteTable) -> list[Change]:
            route = table.get(name)
            if text not in route.utterances:
                raise RouteNotFoundError(f"route {name!r} has no such utterance")
            kept = tuple(other for other in route.utterances if other != text)
            if not kept:
                raise InvalidRouteError(f"route {name!r} would be left without utterances; use delete_route")
            return self._puts(table, [route.replaced(utterances=kept)])

        return self._change(plan, expected=_expected(name, expected_revision))

    def delete_route(self, name: str, *, expected_revision: int | None = None) -> int:
        """Remove a route. Returns the new revision. Raises RouteNotFoundError, or RevisionConflictError."""

        def plan(table: RouteTable) -> list[Change]:
            return [DropRoute(name=table.get(name).name)]

        return self._change(plan, expected=_expected(name, expected_revision))

    def _puts(self, table: RouteTable, routes: list[Route], progress: Progress | None = None) -> list[Change]:
        encode = functools.partial(self._lane.encode, progress=progress)
        return planning.puts(table, routes, functools.partial(planning.encoded_once, self._encoded, encode))


def _expected(name: str, revision: int | None) -> dict[str, int] | None:
    return None if revision is None else {name: revision}
