"""FastAPI: a decision as a dependency, by a router that lives as long as the application.

Runs without a network: FastAPI's test client stands for a server and its callers.
"""

from typing import Annotated

from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel

from synaptoroute import AdaptiveRouter, Decision, Route
from synaptoroute.integrations.fastapi import routed, router_lifespan


def make_router() -> AdaptiveRouter:
    router = AdaptiveRouter()  # AdaptiveRouter(storage=SQLiteStorage("routes.db")) for routes that are kept
    router.add_routes(
        [
            Route(name="billing", utterances=["what do I owe", "show my balance", "pay my bill", "my invoice"]),
            Route(name="weather", utterances=["will it rain", "is it sunny outside", "how cold is it", "the forecast"]),
        ]
    )
    return router


class Message(BaseModel):
    text: str
    user: str


app = FastAPI(lifespan=router_lifespan(make_router))


@app.post("/chat")
async def chat(message: Message, decision: Annotated[Decision, Depends(routed(field="text"))]) -> dict[str, str | None]:
    return {"user": message.user, "route": decision.name}


@app.get("/ask")
async def ask(decision: Annotated[Decision, Depends(routed(field="q", of="query", min_confidence=0.9))]) -> str:
    return decision.name or f"nobody, {decision.reason}"


with TestClient(app) as client:
    for text in ("how much do I have to pay?", "who painted the Mona Lisa?"):
        print(client.post("/chat", json={"text": text, "user": "me"}).json())
    print(client.get("/ask", params={"q": "will it rain tomorrow?"}).json())
    refused = client.post("/chat", json={"text": " ", "user": "me"})
    print(refused.status_code, refused.json()["detail"][0]["msg"])
