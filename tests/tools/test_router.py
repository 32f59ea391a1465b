"""Which tools are selected for a query."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from synaptoroute.encoder.base import Vectors
from synaptoroute.encoder.bundled import BundledEncoder
from synaptoroute.errors import (
    InvalidInputError,
    InvalidQueryError,
    InvalidToolError,
    RouteExistsError,
    RouteNotFoundError,
    RouterClosedError,
    SynaptoRouteError,
)
from synaptoroute.storage import SQLiteStorage
from synaptoroute.tools import Tool, ToolRouter, as_tool

TOOLS = [
    Tool(name="get_weather", description="Tell the weather forecast of a city for the next days.", namespace="public"),
    Tool(name="send_email", description="Send an e-mail to somebody.", namespace="office"),
    Tool(name="create_invoice", description="Create an invoice for a customer.", namespace="office"),
    Tool(name="play_music", description="Play a song or an album.", namespace="home"),
]


@pytest.fixture(scope="module")
def router(encoder: BundledEncoder) -> Iterator[ToolRouter]:
    with ToolRouter(TOOLS, encoder=encoder) as router:
        yield router


def test_tools_that_are_not_allowed_take_no_part() -> None:
    with ToolRouter(TOOLS) as router:
        query = "will it rain in Paris tomorrow"
        assert [match.name for match in router.select(query, 1, min_confidence=0)] == ["get_weather"]
        for allow in (["send_email", "play_music", "gone"], lambda tool: tool.name in ("send_email", "play_music")):
            names = {match.name for match in router.select(query, allow=allow, min_confidence=0)}
            assert names == {"send_email", "play_music"}
        assert {match.name for match in router.select(query, namespaces=["office"], min_confidence=0)} == {
            "send_email",
            "create_invoice",
        }
        assert router.select(query, allow=[], min_confidence=0) == []


async def test_sync_and_async_select_alike_while_tools_change() -> None:
    async with ToolRouter() as router:
        assert await router.aselect("play some jazz") == []
        router.add(*TOOLS[1:])
        with pytest.raises(RouteExistsError, match="send_email"):
            router.add(TOOLS[0], TOOLS[1])
        assert len(router) == 3
        router.replace_all(TOOLS)
        router.remove("send_email")
        with pytest.raises(RouteNotFoundError, match="send_email"):
            router.remove("send_email")
        assert [tool.name for tool in router.tools] == ["get_weather", "create_invoice", "play_music"]
        found = await router.aselect("play some jazz", 2, min_confidence=0)
        assert found[0].name == "play_music"
        assert found[0].tool is router.tools[2]
        assert found == router.select("play some jazz", 2, min_confidence=0)


@pytest.mark.parametrize(
    ("query", "served"),
    [
        ("will it rain in Paris tomorrow", "get_weather"),
        ("write an e-mail to Anna", "send_email"),
        ("bill the customer for two hours", "create_invoice"),
        ("put on some jazz", "play_music"),
        ("who painted the ceiling of the Sistine chapel", None),
        ("how many legs does a spider have", None),
        ("my knee hurts when I run", None),
    ],
)
def test_descriptions_alone_are_enough_to_select_and_to_abstain(
    router: ToolRouter, query: str, served: str | None
) -> None:
    assert [match.name for match in router.select(query, 1)] == ([served] if served else [])


def test_confidences_add_up_to_the_probability_that_any_tool_serves(router: ToolRouter) -> None:
    best = router.select("play a song about the weather", len(TOOLS), min_confidence=0)
    assert len(best) == len(TOOLS)
    total = sum(match.confidence for match in best)
    assert 0 < total <= 1
    for limit, found in ((total - 1e-9, len(TOOLS)), (total + 1e-9, 0)):
        assert len(router.select("play a song about the weather", 5, min_confidence=limit)) == found
    assert [match.confidence for match in best] == sorted((match.confidence for match in best), reverse=True)


def test_many_queries_are_answered_as_each_alone(router: ToolRouter) -> None:
    queries = ["will it rain", "mail Tom", "how old is the universe"]
    for many, query in zip(router.select_many(queries), queries, strict=True):
        alone = router.select(query)
        assert [match.name for match in many] == [match.name for match in alone]
        assert [match.confidence for match in many] == pytest.approx([match.confidence for match in alone], abs=1e-5)


def test_an_example_counts_at_once(encoder: BundledEncoder) -> None:
    query = "do I need a brolly in Leeds"
    with ToolRouter(TOOLS, encoder=encoder) as router:
        before = router.select(query, 1, min_confidence=0)[0]
        router.replace_all([as_tool(TOOLS[0], examples=["do I need a brolly today"]), *TOOLS[1:]])
        after = router.select(query, 1, min_confidence=0)[0]
    assert after.name == "get_weather"
    assert after.score > before.score + 0.1


def test_words_of_any_script_are_matched_by_their_letters(encoder: BundledEncoder) -> None:
    tools = [Tool(name="invoice", description="请求开具发票"), Tool(name="weather", description="查询天气预报")]
    with ToolRouter(tools, encoder=encoder) as router:
        assert router.select("明天天气怎么样", 1, min_confidence=0)[0].name == "weather"
        assert router.select("我要发票", 1, min_confidence=0)[0].name == "invoice"


def test_stored_tools_are_there_again_and_are_not_encoded_again(tmp_path: Path, encoder: BundledEncoder) -> None:
    class Counting:
        name, dim, fingerprint = encoder.name, encoder.dim, encoder.fingerprint
        texts: ClassVar[list[str]] = []

        def encode(self, texts: Sequence[str]) -> Vectors:
            self.texts.extend(texts)
            return encoder.encode(texts)

    tool = as_tool(
        {"name": "get_weather", "description": "Tell the weather.", "parameters": {"properties": {"city": {}}}},
        examples=["will it rain"],
        namespace="public",
    )
    with ToolRouter([tool], encoder=Counting(), storage=SQLiteStorage(tmp_path / "tools.db")):
        assert "Tell the weather." in Counting.texts
    Counting.texts.clear()
    with ToolRouter(encoder=Counting(), storage=SQLiteStorage(tmp_path / "tools.db")) as router:
        assert router.tools == (tool,)
        assert router.tools[0].source is None
        router.replace_all([tool])
    assert "Tell the weather." not in Counting.texts


def test_what_is_asked_for_must_make_sense(router: ToolRouter) -> None:
    for wrong in ({"allow": "get_weather"}, {"namespaces": "office"}, {"min_confidence": 2}):
        with pytest.raises(InvalidInputError):
            router.select("will it rain", **wrong)
    with pytest.raises(InvalidInputError, match="k is 0"):
        router.select("will it rain", 0)
    with pytest.raises(InvalidInputError, match="list of queries"):
        router.select_many("will it rain")
    with pytest.raises(InvalidQueryError):
        router.select(" ")


def test_a_closed_router_says_so(encoder: BundledEncoder) -> None:
    router = ToolRouter(TOOLS, encoder=encoder)
    router.close()
    router.close()
    with pytest.raises(RouterClosedError):
        router.select("will it rain")


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ([], "list of tools is empty"),
        ([TOOLS[0], TOOLS[0]], "two tools are named 'get_weather'"),
        ([TOOLS[0], 7], r"tools\[1\]: a int is no tool"),
        (7, "list of tools is wanted, got int"),
        ({"name": "a"}, "list of tools is wanted, got dict"),
    ],
)
def test_a_list_that_cannot_be_accepted_is_refused(tools: object, message: str) -> None:
    with pytest.raises(InvalidToolError, match=message) as caught:
        ToolRouter(tools)  # type: ignore[arg-type]
    assert isinstance(caught.value, SynaptoRouteError)
