"""The dependency in real applications of FastAPI."""

# Without postponed annotations: FastAPI could not see the local names in them.

import asyncio
from collections.abc import Iterator, Sequence
from threading import Event
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel

from synaptoroute import AdaptiveRouter, Decision
from synaptoroute.encoder import BundledEncoder
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import InvalidInputError, RouterClosedError
from synaptoroute.integrations.fastapi import routed, router_lifespan, router_of
from tests.integrations.small import BILLING, NEITHER, WEATHER, small_router
from tests.seeded import SeededEncoder, route


class Message(BaseModel):
    text: str
    user: str = "somebody"


def app_of(router: AdaptiveRouter | None, **options: Any) -> FastAPI:
    app = FastAPI()

    @app.post("/chat")
    async def chat(
        message: Message, decision: Annotated[Decision, Depends(routed(router, **options))]
    ) -> dict[str, Any]:
        return {"user": message.user, **decision.to_dict()}

    @app.post("/unread")
    def unread(decision: Annotated[Decision, Depends(routed(router, **options))]) -> str | None:
        return decision.name

    @app.get("/ask")
    async def ask(decision: Annotated[Decision, Depends(routed(router, field="q", of="query", **options))]) -> str:
        return str(decision.name)

    @app.get("/ask/{said}")
    async def said(decision: Annotated[Decision, Depends(routed(router, field="said", of="path", **options))]) -> str:
        return str(decision.name)

    return app


@pytest.fixture(scope="module")
def client(router: AdaptiveRouter) -> Iterator[TestClient]:
    with TestClient(app_of(router)) as client:
        yield client


@pytest.mark.parametrize("text", [BILLING, WEATHER, NEITHER])
def test_the_text_of_a_request_is_routed(client: TestClient, router: AdaptiveRouter, text: str) -> None:
    decision = router(text)
    answer = client.post("/chat", json={"text": text, "user": "me"})
    assert answer.json() == {"user": "me", **decision.to_dict()}
    assert client.post("/unread", json={"text": text}).json() == decision.name
    assert client.get("/ask", params={"q": text}).json() == str(decision.name)
    assert client.get(f"/ask/{text}").json() == str(decision.name)


def test_the_endpoint_keeps_its_own_model_and_parameters_are_described(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    body = described["paths"]["/chat"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/Message"}
    (parameter,) = described["paths"]["/ask"]["get"]["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("q", "query", True)
    (parameter,) = described["paths"]["/ask/{said}"]["get"]["parameters"]
    assert (parameter["name"], parameter["in"]) == ("said", "path")


@pytest.mark.parametrize(
    ("path", "body", "location", "message"),
    [
        ("/chat", b'{"text": " "}', ["body", "text"], "text is empty or only white space"),
        ("/chat", b'{"text": "' + b"secret " * 5_000 + b'"}', ["body", "text"], "at most 32,768 are accepted"),
        ("/chat", b"{}", ["body", "text"], "Field required"),
        ("/unread", b"{}", ["body", "text"], "Field required"),
        ("/unread", b'{"text": ["secret"]}', ["body", "text"], "Input should be a valid string"),
        ("/unread", b'["secret"]', ["body"], "Input should be a valid dictionary"),
        ("/unread", b"secret", ["body"], "JSON decode error"),
        ("/unread", b'{"text": "\xff secret"}', ["body"], "JSON decode error"),
        ("/unread", b"", ["body"], "JSON decode error"),
    ],
)
def test_a_text_that_cannot_be_routed_is_answered_as_other_bad_input_is(
    client: TestClient, path: str, body: bytes, location: list[str], message: str
) -> None:
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    problem = answer.json()["detail"][0]
    assert problem["loc"] == location
    assert message in problem["msg"]
    assert "secret" not in answer.text


def test_parameters_too(client: TestClient) -> None:
    assert client.get("/ask").json()["detail"][0]["loc"] == ["query", "q"]
    empty = client.get("/ask", params={"q": " "})
    assert (empty.status_code, empty.json()["detail"][0]["loc"]) == (422, ["query", "q"])


def test_options_reach_the_router_and_bad_ones_are_found_at_once(router: AdaptiveRouter) -> None:
    with TestClient(app_of(router, min_confidence=1.0)) as client:
        assert client.post("/unread", json={"text": BILLING}).json() is None
    with pytest.raises(InvalidInputError, match="threshold is 3"):
        routed(router, threshold=3)


class GatedEncoder(SeededEncoder):
    """Encodes nothing that begins with "wait" before the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Event()

    def encode(self, texts: Sequence[str]) -> Vectors:
        if any(text.startswith("wait") for text in texts):
            assert self.gate.wait(60)
        return super().encode(texts)


async def test_too_many_are_told_when_to_come_again_and_the_others_are_answered() -> None:
    encoder = GatedEncoder()
    with AdaptiveRouter(encoder) as router:
        router.add_routes([route("a"), route("b")])
        transport = httpx2.ASGITransport(app=app_of(router, threshold=-1))
        async with httpx2.AsyncClient(transport=transport, base_url="http://here", timeout=60) as client:
            # So long that the queue is full of the tokens of a few dozen.
            texts = [f"wait {number} {'x' * 30_000}" for number in range(48)]
            waiting = [asyncio.create_task(client.post("/unread", json={"text": text})) for text in texts]
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            encoder.gate.set()
            answers = await asyncio.gather(*waiting)
            refused = [answer for answer in answers if answer.status_code == 503]
            assert {answer.status_code for answer in answers} == {200, 503}
            assert all(task.result().status_code == 503 for task in done)
            assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
            assert (await client.post("/unread", json={"text": "a 1"})).json() == "a"


async def test_a_deadline_is_a_gateway_timeout() -> None:
    encoder = GatedEncoder()
    with AdaptiveRouter(encoder) as router:
        router.add_routes([route("a"), route("b")])
        transport = httpx2.ASGITransport(app=app_of(router, deadline_s=0.05))
        async with httpx2.AsyncClient(transport=transport, base_url="http://here", timeout=60) as client:
            answer = await client.post("/unread", json={"text": "wait"})
        encoder.gate.set()
    assert (answer.status_code, answer.headers["Retry-After"]) == (504, "5")


# --------------------------------------------------------------------------------------------------------- lifetime
def test_a_router_lives_as_long_as_the_application(encoder: BundledEncoder) -> None:
    made: list[AdaptiveRouter] = []

    def make() -> AdaptiveRouter:
        made.append(small_router(encoder))
        return made[-1]

    app = FastAPI(lifespan=router_lifespan(make))

    @app.post("/chat")
    async def chat(decision: Annotated[Decision, Depends(routed())]) -> str | None:
        return decision.name

    @app.get("/routes")
    def routes(router: Annotated[AdaptiveRouter, Depends(router_of)]) -> list[str]:
        return [route.name for route in router.routes]

    assert made == []
    with TestClient(app) as client:
        assert client.post("/chat", json={"text": BILLING}).json() == "billing"
        assert client.get("/routes").json() == ["billing", "weather"]
    (router,) = made
    with pytest.raises(RouterClosedError):
        router(BILLING)


def test_a_closed_router_is_a_service_that_is_not_there() -> None:
    router = AdaptiveRouter(SeededEncoder())
    router.close()
    with TestClient(app_of(router)) as client:
        answer = client.post("/unread", json={"text": "a 1"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


def test_an_application_without_a_router_is_told_what_is_missing() -> None:
    with TestClient(app_of(None)) as client, pytest.raises(InvalidInputError, match="there is no router; give one"):
        client.post("/unread", json={"text": "a 1"})
