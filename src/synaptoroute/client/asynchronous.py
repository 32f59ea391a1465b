"""AsyncClient: the same calls for event loops, of asyncio or Trio."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Coroutine
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from synaptoroute.client import corrections, learning, plans, routes, routing, transport
from synaptoroute.client import history as past
from synaptoroute.client.answers import RouteInfo
from synaptoroute.client.call import Answer, Call, Pause, Plan
from synaptoroute.client.retrying import Retries, tried
from synaptoroute.client.signatures import as_method
from synaptoroute.errors import SynaptoRouteError

P = ParamSpec("P")
T = TypeVar("T")


def _call(build: Callable[P, Call[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    async def method(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await client.send(build(*args, **kwargs))

    return as_method(method, build)


def _plan(build: Callable[P, Plan[T]]) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    async def method(client: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await client.follow(build(*args, **kwargs))

    return as_method(method, build)


class AsyncClient:
    """``Client`` for an event loop: every call is awaited. Close it, or use it as an async context manager.

    Args:
        base_url: Where the server is, such as "http://127.0.0.1:8000"; SYNAPTOROUTE_URL by default.
        api_key: Its key for this client; SYNAPTOROUTE_API_KEY by default, none on a server without keys.
        timeout_s: For one try of a call; ``deadline_s`` of ``route`` is for all tries together.
        retries: How often calls that change nothing are tried.
        options: For ``httpx2.AsyncClient``: verify, cert, proxy, transport ...

    Raises:
        InvalidInputError: There is no base URL, or it, the key or the timeout is not one.
        MissingExtraError: httpx2 is not installed.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retries: Retries = Retries(),  # noqa: B008  # frozen
        **options: Any,
    ) -> None:
        self._address = transport.Address.of(base_url, api_key, timeout_s)
        self._retries = retries
        self._http = transport.asynchronous(self._address, options)
        self._failures = transport.failures()

    route = _call(routing.route)
    route_many = _call(routing.route_many)
    explain = _call(routing.explain)

    list_routes = _call(routes.list_routes)
    get_route = _call(routes.get_route)
    create_route = _call(routes.create_route)
    put_route = _call(routes.put_route)
    update_route = _call(routes.update_route)
    delete_route = _call(routes.delete_route)
    add_utterances = _call(routes.add_utterances)
    remove_utterances = _call(routes.remove_utterances)
    export_routes = _call(routes.export_routes)
    import_routes = _call(routes.import_routes)

    history = _call(past.history)
    diff = _call(past.diff)
    rollback = _call(past.rollback)
    list_snapshots = _call(past.list_snapshots)
    save_snapshot = _call(past.save_snapshot)
    use_snapshot = _call(past.use_snapshot)
    delete_snapshot = _call(past.delete_snapshot)

    start_fit = _call(learning.start_fit)
    forget_fit = _call(learning.forget_fit)
    start_evaluate = _call(learning.start_evaluate)
    list_jobs = _call(learning.list_jobs)
    get_job = _call(learning.get_job)
    cancel_job = _call(learning.cancel_job)
    lint = _call(learning.lint)
    apply_fix = _call(learning.apply_fix)

    operating_point = _call(corrections.operating_point)
    set_operating_point = _call(corrections.set_operating_point)
    add_feedback = _call(corrections.add_feedback)
    list_feedback = _call(corrections.list_feedback)
    get_feedback = _call(corrections.get_feedback)
    forget_feedback = _call(corrections.forget_feedback)
    start_proposal = _call(corrections.start_proposal)
    accept_correction = _call(corrections.accept_correction)
    dismiss_feedback = _call(corrections.dismiss_feedback)

    fit = _plan(plans.fit)
    evaluate = _plan(plans.evaluate)
    propose_correction = _plan(plans.propose_correction)
    wait_for_job = _plan(plans.wait_for_job)

    status = _call(routing.status)
    traffic = _call(routing.traffic)
    map = _call(routing.map)
    locate = _call(routing.locate)
    is_live = _call(routing.is_live)
    is_ready = _call(routing.is_ready)
    metrics = _call(routing.metrics)

    async def iter_routes(
        self, *, containing: str | None = None, utterances: bool = False, page: int = 500
    ) -> AsyncIterator[RouteInfo]:
        """All routes, or those whose name or description contains a text, asked for page by page."""
        after = None
        while True:
            found = await self.list_routes(limit=page, after=after, containing=containing, utterances=utterances)
            for route in found.routes:
                yield route
            if (after := found.next) is None:
                return

    async def send(self, call: Call[T]) -> T:
        """The result of a call, tried again where that is safe."""
        steps = tried(call, self._retries, time.monotonic)
        given: Answer | SynaptoRouteError | None = None
        while True:
            try:
                step = steps.send(given)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Pause):
                await self._pause(step)
                given = None
            else:
                given = await self._exchange(step)

    async def follow(self, plan: Plan[T]) -> T:
        """The result of a plan of several calls."""
        given = None
        while True:
            try:
                step = plan.send(given)
            except StopIteration as done:
                result: T = done.value
                return result
            if isinstance(step, Pause):
                await self._pause(step)
                given = None
            else:
                given = await self.send(step)

    async def _exchange(self, call: Call[T]) -> Answer | SynaptoRouteError:
        try:
            request = self._address.request(call, self._http.build_request)
            return transport.answered(await self._http.send(request))
        except self._failures as exc:
            return transport.failed(exc, call, self._address)

    async def _pause(self, pause: Pause) -> None:
        import anyio

        await anyio.sleep(pause.seconds)

    # ------------------------------------------------------------------------------------------------ lifetime
    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncClient({self._address.base_url!r})"
