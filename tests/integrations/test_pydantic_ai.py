"""Pydantic AI: real agents with its own FunctionModel and TestModel, and a real router."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic_ai import Agent, BinaryContent, FunctionToolset, RunContext, Tool
from pydantic_ai.capabilities import PrepareTools, ToolSearch
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, ToolCallPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RunUsage

from synaptoroute.encoder import BundledEncoder
from synaptoroute.integrations.pydantic_ai import REMEMBERED_RUNS, Prepare, prepare_tools, tool_filter, tool_search
from synaptoroute.tools import ToolRouter
from tests.integrations.gated import GatedEncoder
from tests.integrations.running_examples import assert_prints_what_its_page_says
from tests.integrations.some_tools import (
    DEBT,
    FUNCTIONS,
    NEITHER,
    RAIN,
    SONG,
    get_weather,
    pay_bill,
    play_music,
    tool_router,
)


@pytest.fixture(scope="module")
def tools(encoder: BundledEncoder) -> Iterator[ToolRouter]:
    with tool_router(encoder) as router:
        yield router


def context(prompt: Any, run_id: str = "run", messages: list[ModelMessage] | None = None) -> RunContext[None]:
    return RunContext(
        deps=None, model=TestModel(), usage=RunUsage(), prompt=prompt, run_id=run_id, messages=messages or []
    )


def definitions(*functions: Callable[..., str]) -> list[ToolDefinition]:
    return [Tool(function).tool_def for function in functions]


# --------------------------------------------------------------------------------------------------------- searching
class Searching:
    """A model that looks for tools in these words, calls the first it found, and says what came of it."""

    def __init__(self, *queries: str) -> None:
        self.queries = queries
        self.saw: list[list[str]] = []

    def __call__(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        names = [tool.name for tool in info.function_tools]
        self.saw.append(names)
        found = [name for name in names if name != "search_tools"]
        if len(messages) == 1:
            return ModelResponse(parts=[ToolCallPart("search_tools", {"queries": list(self.queries)})])
        if len(messages) == 3 and found:
            return ModelResponse(parts=[ToolCallPart(found[0], {})])
        returned = messages[-1].parts[-1]
        return ModelResponse(parts=[TextPart(str(getattr(returned, "content", "")))])


def searching_agent(model: Searching, strategy: Any, **settings: Any) -> Agent[None, str]:
    deferred = [Tool(function, defer_loading=True) for function in FUNCTIONS]
    return Agent(FunctionModel(model), tools=deferred, capabilities=[ToolSearch(strategy=strategy, **settings)])


async def test_a_model_finds_a_deferred_tool_by_what_it_does_and_calls_it(tools: ToolRouter) -> None:
    for query, name, answer in ((RAIN, "get_weather", "sunny in Oslo"), (DEBT, "pay_bill", "paid 1")):
        model = Searching(query)
        result = await searching_agent(model, tool_search(tools, max_results=1)).run("Please help.")
        assert result.output == answer
        assert [sorted(saw) for saw in model.saw] == [["search_tools"], *[[name, "search_tools"]] * 2]


async def test_a_model_is_told_that_nothing_was_found(tools: ToolRouter) -> None:
    model = Searching(NEITHER)
    result = await searching_agent(model, tool_search(tools)).run("Please help.")
    assert "No matching tools found" in result.output
    assert model.saw == [["search_tools"]] * 2


async def test_a_router_is_made_of_the_tools_where_none_is_given() -> None:
    model = Searching("play a song")
    agent = searching_agent(model, tool_search(min_confidence=0), max_results=1)
    assert (await agent.run("Please help.")).output == "playing Yesterday"


async def test_the_best_of_several_searches_come_first(tools: ToolRouter) -> None:
    search = tool_search(tools, max_results=2, min_confidence=0.0)
    found = await search(context("x"), [RAIN, " ", SONG, SONG], definitions(*FUNCTIONS))
    assert set(found) == {"get_weather", "play_music"}
    assert await search(context("x"), [" "], definitions(*FUNCTIONS)) == []
    assert await search(context("x"), [RAIN], []) == []


async def test_only_tools_that_the_agent_has_are_found(tools: ToolRouter) -> None:
    search = tool_search(tools, min_confidence=0.0)
    assert "get_weather" not in await search(context("x"), [RAIN], definitions(pay_bill, play_music))


def send_mail(to: str) -> str:
    """Send an e-mail to somebody."""
    return to


async def test_a_given_router_learns_the_tools_it_does_not_know(encoder: BundledEncoder) -> None:
    with tool_router(encoder, [get_weather, pay_bill]) as router:
        search = tool_search(router, max_results=1, min_confidence=0)
        every = definitions(get_weather, pay_bill, send_mail)
        assert await search(context("x"), ["write a message to Anna"], every) == ["send_mail"]
        assert [tool.name for tool in router.tools] == ["get_weather", "pay_bill", "send_mail"]


async def test_its_own_router_follows_definitions_that_change() -> None:
    search = tool_search(max_results=1, min_confidence=0)
    before = [ToolDefinition(name="act", description="Play a song"), *definitions(get_weather, pay_bill)]
    assert await search(context("x"), [SONG], before) == ["act"]
    after = [ToolDefinition(name="act", description="Send an e-mail to somebody"), *definitions(get_weather, pay_bill)]
    assert await search(context("x"), ["write an e-mail to Anna"], after) == ["act"]


# --------------------------------------------------------------------------------------------------------- filtering
def seen(model: TestModel) -> list[str]:
    assert model.last_model_request_parameters is not None
    return [tool.name for tool in model.last_model_request_parameters.function_tools]


@pytest.mark.parametrize(("prompt", "name"), [(RAIN, "get_weather"), (DEBT, "pay_bill"), (SONG, "play_music")])
async def test_a_model_sees_the_tools_its_prompt_needs(tools: ToolRouter, prompt: str, name: str) -> None:
    prepared, filtered = TestModel(), TestModel()
    await Agent(prepared, tools=FUNCTIONS, capabilities=[PrepareTools(prepare_tools(tools, k=1))]).run(prompt)
    await Agent(filtered, toolsets=[FunctionToolset(FUNCTIONS).filtered(tool_filter(tools, k=1))]).run(prompt)
    assert seen(prepared) == seen(filtered) == [name]


@pytest.mark.parametrize(("on_no_match", "expected"), [("all", 3), ("none", 0)])
async def test_all_tools_or_none_are_there_where_none_fits(tools: ToolRouter, on_no_match: Any, expected: int) -> None:
    prepared, filtered = TestModel(), TestModel()
    prepare = prepare_tools(tools, on_no_match=on_no_match)
    toolset = FunctionToolset(FUNCTIONS).filtered(tool_filter(tools, on_no_match=on_no_match))
    await Agent(prepared, tools=FUNCTIONS, capabilities=[PrepareTools(prepare)]).run(NEITHER)
    await Agent(filtered, toolsets=[toolset]).run(NEITHER)
    assert len(seen(prepared)) == len(seen(filtered)) == expected


async def test_some_tools_are_always_there_and_the_order_is_that_of_the_definitions(tools: ToolRouter) -> None:
    how: dict[str, Any] = {"k": 1, "always": ["play_music"], "on_no_match": "none"}
    prepare, keep = prepare_tools(tools, **how), tool_filter(tools, **how)
    offered = definitions(play_music, pay_bill, get_weather)
    for prompt, expected in ((RAIN, ["play_music", "get_weather"]), (NEITHER, ["play_music"])):
        assert [tool.name for tool in await prepare(context(prompt), offered)] == expected
        assert [tool.name for tool in offered if await keep(context(prompt), tool)] == expected


async def test_a_run_keeps_its_tools_through_all_its_steps_and_is_routed_once(encoder: BundledEncoder) -> None:
    counting = GatedEncoder(encoder)
    with tool_router(counting) as router:
        counting.calls.clear()
        keep = tool_filter(router, k=1, on_no_match="none")
        first = [await keep(context(RAIN), tool) for tool in definitions(*FUNCTIONS)]
        router.remove("get_weather")
        assert [await keep(context(RAIN), tool) for tool in definitions(*FUNCTIONS)] == first == [True, False, False]
        assert sum(RAIN in texts for texts in counting.calls) == 1
        assert not await keep(context(RAIN, "another"), definitions(get_weather)[0])
        for number in range(REMEMBERED_RUNS):
            await keep(context(SONG, str(number)), definitions(play_music)[0])
        assert not await keep(context(RAIN), definitions(get_weather)[0])


async def test_the_prompt_is_found_wherever_it_is(tools: ToolRouter) -> None:
    prepare: Prepare = prepare_tools(tools, k=1, on_no_match="none")
    picture = BinaryContent(data=b"", media_type="image/png")
    asked: list[ModelMessage] = [
        ModelRequest(parts=[UserPromptPart(SONG)]),
        ModelResponse(parts=[TextPart("Which?")]),
        ModelRequest(parts=[UserPromptPart([picture, RAIN])]),
    ]
    for ctx in (context(RAIN), context([picture, RAIN]), context(None, messages=asked)):
        assert [tool.name for tool in await prepare(ctx, definitions(*FUNCTIONS))] == ["get_weather"]
    for ctx in (context(None), context(""), context([picture])):
        assert await prepare(ctx, definitions(*FUNCTIONS)) == []
        assert not await tool_filter(tools, on_no_match="none")(ctx, definitions(get_weather)[0])


async def test_no_way_of_asking_blocks_the_loop(encoder: BundledEncoder) -> None:
    gated = GatedEncoder(encoder)
    offered = definitions(*FUNCTIONS)
    with tool_router(gated, FUNCTIONS[:2]) as router:
        # The first also learns a tool, whose texts are encoded.
        search = tool_search(router, max_results=1, min_confidence=0)(context("x"), ["play a song"], offered)
        assert await gated.result_with_a_free_loop(search, "play a song") == ["play_music"]
        prepared = await gated.result_with_a_free_loop(prepare_tools(router, k=1)(context(RAIN), offered), RAIN)
        assert [tool.name for tool in prepared] == ["get_weather"]
        assert await gated.result_with_a_free_loop(tool_filter(router, k=1)(context(DEBT), offered[1]), DEBT)


def test_the_example_prints_what_its_page_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_prints_what_its_page_says("pydantic_ai_tools", "pydantic-ai", monkeypatch, capsys)
