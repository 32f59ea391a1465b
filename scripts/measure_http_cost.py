"""What POST /v1/route costs beside the router: ``python scripts/measure_http_cost.py``.

The application is called as an ASGI server calls it, with decisions that are in the router's cache, so that the
router's own time is small and can be taken off. Processor time of this process; the best of several rounds.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.server import ServerSettings, create_app
from synaptoroute.server.keys import Scope, new_key

ROUNDS, CALLS = 7, 2_000
KEY, ENTRY = new_key("measure", Scope.READ)


async def cost_us(call: Callable[[], Awaitable[Any]]) -> float:
    """Microseconds of processor time of one call."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.process_time()
        for _ in range(CALLS):
            await call()
        best = min(best, (time.process_time() - began) / CALLS)
    return best * 1e6


async def measured(router: AdaptiveRouter, settings: ServerSettings, texts: list[str]) -> tuple[float, float]:
    """Microseconds of a call over HTTP but for the sockets, and of the router alone."""
    app = create_app(router, settings=settings)
    body = json.dumps({"texts": texts}).encode()
    headers = [
        (b"host", b"127.0.0.1"),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"authorization", b"Bearer " + KEY.encode()),
    ]
    answers: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        answers[:] = [*answers[-1:], message]

    async def over_http() -> None:
        scope = {
            "type": "http", "method": "POST", "path": "/v1/route", "raw_path": b"/v1/route", "query_string": b"",
            "headers": headers, "client": ("127.0.0.1", 1), "state": {},
        }  # fmt: skip
        await app(scope, receive, send)

    await over_http()
    if answers[0]["status"] != 200:
        raise RuntimeError(answers)
    return await cost_us(over_http), await cost_us(lambda: router.aquery_many(texts, deadline_s=10))


async def main() -> None:
    """Print a line for each case."""
    with AdaptiveRouter() as router:
        router.add_routes(
            [Route(name=f"r{n}", utterances=[f"utterance {n} {word}" for word in "abc"]) for n in range(16)]
        )
        router.warm_up()
        for label, settings in (
            ("with a key", ServerSettings(keys=(ENTRY,))),
            ("with a key and a rate limit", ServerSettings(keys=(ENTRY,), rate_limit="1000000/second")),
        ):
            for count in (1, 32):
                whole, alone = await measured(router, settings, [f"utterance {n} a" for n in range(count)])
                print(f"{label}, {count} texts: {whole - alone:.0f} us beside {alone:.0f} us of the router's cache")


if __name__ == "__main__":
    asyncio.run(main())
