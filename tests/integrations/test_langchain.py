"""The tool and the Runnable in LangChain, with its own conformance tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage, ToolCall
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import BaseTool, ToolException
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from synaptoroute import AdaptiveRouter, Decision
from synaptoroute.encoder import BundledEncoder
from synaptoroute.errors import InvalidInputError, InvalidQueryError, RouteNotFoundError, RouterClosedError
from synaptoroute.integrations.langchain import QueryRefusedError, RouteRunnable, SynaptoRouteTool
from synaptoroute.observability.events import QueriesDecided, QueryEvent
from tests.integrations.small import BILLING, NEITHER, WEATHER


# ------------------------------------------------------------------------------------------------------- the tool
class _Conforming:
    """What LangChain's tests need to know of the tool."""

    @pytest.fixture(autouse=True)
    def _router(self, router: AdaptiveRouter) -> None:
        self.router = router

    @property
    def tool_constructor(self) -> type[BaseTool]:
        return SynaptoRouteTool

    @property
    def tool_constructor_params(self) -> dict[str, Any]:
        return {"router": self.router}

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"query": BILLING}


class TestUnits(_Conforming, ToolsUnitTests):
    """LangChain's own."""


class TestIntegration(_Conforming, ToolsIntegrationTests):
    """LangChain's own."""


def call(text: str) -> ToolCall:
    return ToolCall(name="route", args={"query": text}, id="1", type="tool_call")


@pytest.mark.parametrize(("text", "name"), [(BILLING, "billing"), (NEITHER, None)])
async def test_a_model_gets_json_and_the_program_the_decision(
    router: AdaptiveRouter, text: str, name: str | None
) -> None:
    tool = SynaptoRouteTool(router)
    for message in (tool.invoke(call(text)), await tool.ainvoke(call(text))):
        assert message.artifact == router(text)
        answer = json.loads(message.content)
        assert answer == {
            "route": name,
            "confidence": round(router(text).confidence, 3),
            "reason": router(text).reason.value,
        }


async def test_a_text_that_cannot_be_routed_is_told_to_the_model(router: AdaptiveRouter) -> None:
    tool = SynaptoRouteTool(router)
    for message in (tool.invoke(call(" ")), await tool.ainvoke(call(" "))):
        assert (message.status, message.content) == ("error", "text is empty or only white space")
    strict = SynaptoRouteTool(router, handle_tool_error=False)
    with pytest.raises(QueryRefusedError, match="text is empty") as caught:
        strict.invoke({"query": " "})
    assert isinstance(caught.value, InvalidQueryError)
    assert isinstance(caught.value, ToolException)


def test_the_tool_may_be_named_and_decide_otherwise(router: AdaptiveRouter) -> None:
    tool = SynaptoRouteTool(router, name="where_to", description="billing or weather", options={"min_confidence": 1.0})
    assert (tool.name, tool.description) == ("where_to", "billing or weather")
    assert json.loads(tool.invoke({"query": BILLING}))["route"] is None


def test_other_failures_are_not_hidden_from_the_program(encoder: BundledEncoder) -> None:
    router = AdaptiveRouter(encoder)
    router.close()
    with pytest.raises(RouterClosedError):
        SynaptoRouteTool(router).invoke({"query": BILLING})


# --------------------------------------------------------------------------------------------------- the Runnable
async def test_the_runnable_decides_as_the_router_does(router: AdaptiveRouter) -> None:
    route, texts = RouteRunnable(router), [BILLING, NEITHER, WEATHER]
    expected = router.route_many(texts)
    assert [route.invoke(text) for text in texts] == expected
    assert [await route.ainvoke(text) for text in texts] == expected
    assert route.batch(texts) == await route.abatch(texts) == expected
    assert route.batch([]) == await route.abatch([]) == []


class _Counting:
    """How many queries each call of the router had."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def on_query(self, event: QueryEvent) -> None:
        self.calls.append(len(event.texts) if isinstance(event, QueriesDecided) else -1)


async def test_a_batch_is_one_call_of_the_router(router: AdaptiveRouter) -> None:
    counting = _Counting()
    router.add_hook(counting)
    RouteRunnable(router).batch([BILLING, NEITHER, WEATHER])
    await RouteRunnable(router).abatch([BILLING, NEITHER])
    router.remove_hook(counting)
    assert counting.calls == [3, 2]


async def test_one_bad_text_of_a_batch_does_not_stop_the_others(router: AdaptiveRouter) -> None:
    route, texts = RouteRunnable(router), [BILLING, " ", WEATHER]
    for decisions in (
        route.batch(texts, return_exceptions=True),
        await route.abatch(texts, return_exceptions=True),
    ):
        given: list[Any] = list(decisions)
        assert [given[0], given[2]] == router.route_many([BILLING, WEATHER])
        assert isinstance(given[1], InvalidQueryError)
    with pytest.raises(InvalidQueryError):
        route.batch(texts)
    with pytest.raises(InvalidQueryError):
        await route.abatch(texts)
    everything_bad: list[Any] = list(route.batch([" ", 5], return_exceptions=True))
    assert [type(error) for error in everything_bad] == [InvalidQueryError, InvalidInputError]


def test_it_reads_prompts_messages_and_keys(router: AdaptiveRouter) -> None:
    chain = ChatPromptTemplate.from_messages([("system", "it rains"), ("human", "{text}")]) | RouteRunnable(router)
    assert chain.invoke({"text": BILLING}).name == "billing"
    assert RouteRunnable(router).invoke(HumanMessage(BILLING)).name == "billing"
    assert RouteRunnable(router, key="text").invoke({"text": BILLING}).name == "billing"
    assert RouteRunnable(router, key=lambda given: given[0]).invoke([WEATHER]).name == "weather"
    with pytest.raises(InvalidInputError, match="what key returned is a int"):
        RouteRunnable(router, key=len).invoke("secret")


async def test_a_branch_gets_the_input_and_its_answer_comes_back(router: AdaptiveRouter) -> None:
    async def weather(given: dict[str, str]) -> str:
        return f"sun for {given['user']}"

    branch = RouteRunnable(router, key="text").as_branch(
        {"billing": lambda given: f"bill of {given['user']}", "weather": RunnableLambda(weather)},
        default=lambda _given: "a person will answer",
    )
    assert branch.invoke({"text": BILLING, "user": "a"}) == "bill of a"
    assert await branch.ainvoke({"text": WEATHER, "user": "b"}) == "sun for b"
    asked = [{"text": text, "user": "c"} for text in (NEITHER, BILLING)]
    assert branch.batch(asked) == await branch.abatch(asked) == ["a person will answer", "bill of c"]


async def test_a_branch_streams_what_its_runnable_streams(router: AdaptiveRouter) -> None:
    def words(chunks: Iterator[str]) -> Iterator[str]:
        for chunk in chunks:
            yield from chunk.split()

    from langchain_core.runnables import RunnableGenerator

    branch = RouteRunnable(router).as_branch({"billing": RunnableGenerator(words)}, default=lambda text: text)
    assert list(branch.stream(BILLING)) == BILLING.split()
    assert [part async for part in branch.astream(NEITHER)] == [NEITHER]


class _Traced(BaseCallbackHandler):
    def __init__(self) -> None:
        self.names: list[str] = []
        self.decisions: list[Decision] = []

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        self.names.append(kwargs["name"])

    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        if isinstance(outputs, Decision):
            self.decisions.append(outputs)


def test_traces_show_the_decision_and_what_answered(router: AdaptiveRouter) -> None:
    traced = _Traced()
    answering = RunnableLambda(lambda text: text, name="answering")
    branch = RouteRunnable(router).as_branch({"billing": answering}, default=answering)
    branch.invoke(BILLING, {"callbacks": [traced]})
    assert traced.names == ["route_branch", "route", "answering"]
    assert traced.decisions == [router(BILLING)]
    RouteRunnable(router).batch([BILLING, WEATHER], {"callbacks": [traced]})
    assert traced.decisions[1:] == router.route_many([BILLING, WEATHER])


def test_a_misspelled_branch_is_found_when_it_is_made(router: AdaptiveRouter) -> None:
    with pytest.raises(RouteNotFoundError, match="the router has no route 'wether'"):
        RouteRunnable(router).as_branch({"billing": str, "wether": str}, default=str)
