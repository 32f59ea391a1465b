"""The OpenAI Agents SDK: real runs with its own ScriptedModel, and tool search as the Responses API asks for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from agents import (
    Agent,
    FunctionTool,
    RunConfig,
    RunContextWrapper,
    Runner,
    Tool,
    WebSearchTool,
    function_tool,
    handoff,
)
from agents import set_tracing_disabled as disable_tracing
from agents.testing import ScriptedModel, assistant_message, function_call
from openai.types.responses import ResponseToolSearchCall, ResponseToolSearchOutputItem
from pydantic import BaseModel, Field

from synaptoroute import AdaptiveRouter
from synaptoroute.describing import Parameter
from synaptoroute.encoder import BundledEncoder
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import EncoderError, InvalidInputError, RouteNotFoundError
from synaptoroute.integrations.openai_agents import (
    last_user_text,
    openai_tool_search,
    select_handoffs,
    select_tools,
)
from synaptoroute.observability.events import QueriesDecided, QueryEvent
from synaptoroute.tools import Tool as RoutedTool
from synaptoroute.tools import ToolRouter
from tests.integrations.gated import GatedEncoder
from tests.integrations.running_examples import assert_prints_what_its_page_says
from tests.integrations.small import BILLING, WEATHER, small_router
from tests.integrations.some_tools import DEBT, FUNCTIONS, NEITHER, RAIN, SONG, tool_router

disable_tracing(disabled=True)
TOOLS: list[Tool] = [function_tool(function) for function in FUNCTIONS]


@pytest.fixture(scope="module")
def tools(encoder: BundledEncoder) -> Iterator[ToolRouter]:
    with tool_router(encoder) as router:
        yield router


def answering(*texts: str) -> ScriptedModel:
    return ScriptedModel([[assistant_message(text)] for text in texts or ("Done.",)])


def seen(model: ScriptedModel) -> list[list[str]]:
    """The names of the tools of each call of the model."""
    return [[tool.name for tool in call.tools] for call in model.calls]


# ------------------------------------------------------------------------------------------------------------- tools
@pytest.mark.parametrize(("text", "name"), [(RAIN, "get_weather"), (DEBT, "pay_bill"), (SONG, "play_music")])
async def test_a_turn_sees_the_tools_that_were_asked_for_until_it_is_done(
    tools: ToolRouter, text: str, name: str
) -> None:
    model = ScriptedModel([[function_call(name, {}, call_id="1")], [assistant_message("Done.")]])
    result = await Runner.run(Agent("assistant", model=model, tools=select_tools(TOOLS, tools, k=1)), text)
    assert result.final_output == "Done."
    assert seen(model) == [[name], [name]]
    items: list[Any] = result.to_input_list()
    output = next(item["output"] for item in items if item.get("type") == "function_call_output")
    assert output in ("sunny in Oslo", "paid 1", "playing Yesterday")


async def test_each_turn_of_a_conversation_is_chosen_for_anew(tools: ToolRouter) -> None:
    model = answering("Take one.", "Seven.")
    agent = Agent("assistant", model=model, tools=select_tools(TOOLS, tools, k=1))
    first = await Runner.run(agent, RAIN)
    said = [{"role": "user", "content": [{"type": "input_text", "text": DEBT}]}]
    await Runner.run(agent, first.to_input_list() + said)  # type: ignore[operator]
    assert seen(model) == [["get_weather"], ["pay_bill"]]


@pytest.mark.parametrize(("on_no_match", "expected"), [("all", 3), ("none", 0)])
async def test_all_tools_or_none_are_there_where_none_fits(tools: ToolRouter, on_no_match: Any, expected: int) -> None:
    model = answering("I do not know.", "Hm?")
    agent = Agent("assistant", model=model, tools=select_tools(TOOLS, tools, on_no_match=on_no_match))
    await Runner.run(agent, NEITHER)
    await Runner.run(agent, " ")
    assert [len(names) for names in seen(model)] == [expected] * 2


async def test_some_tools_are_always_there_in_their_order_and_hosted_ones_too(tools: ToolRouter) -> None:
    model = answering()
    offered: list[Tool] = [WebSearchTool(), *reversed(TOOLS)]
    chosen = select_tools(offered, tools, k=1, always=["play_music"], on_no_match="none")
    await Runner.run(Agent("assistant", model=model, tools=chosen), RAIN)
    assert seen(model) == [["web_search", "play_music", "get_weather"]]


async def test_a_tool_that_is_switched_off_stays_off(tools: ToolRouter) -> None:
    async def for_friends(run: RunContextWrapper[dict[str, bool]], _agent: Any) -> bool:
        return run.context["friend"]

    weather = function_tool(FUNCTIONS[0], is_enabled=for_friends)
    music = function_tool(FUNCTIONS[2], is_enabled=False)
    for friend, text, expected in ((True, RAIN, ["get_weather"]), (False, RAIN, []), (True, SONG, [])):
        model = answering()
        agent = Agent("assistant", model=model, tools=select_tools([weather, music], tools, k=1))
        await Runner.run(agent, text, context={"friend": friend})
        assert seen(model) == [expected]


class Asked:
    """What a router was asked."""

    def __init__(self) -> None:
        self.queries: list[str] = []

    def on_query(self, event: QueryEvent) -> None:
        assert isinstance(event, QueriesDecided)
        self.queries.extend(event.texts)


async def test_a_turn_is_routed_once_whatever_the_number_of_tools_and_calls(router: AdaptiveRouter) -> None:
    asked = Asked()
    router.add_hook(asked)
    many = [Agent(name, model=answering()) for name in ("billing", "weather")]
    model = ScriptedModel(
        [[function_call("get_weather", {}, call_id=str(n))] for n in range(3)] + [[assistant_message("Done.")]]
    )
    await Runner.run(Agent("triage", model=model, tools=TOOLS, handoffs=select_handoffs(many, router)), BILLING)
    router.remove_hook(asked)
    assert len(model.calls) == 4
    assert asked.queries == [BILLING]


class Failing:
    """Fails for queries once."""

    def __init__(self, encoder: BundledEncoder) -> None:
        self._encoder = encoder
        self.name, self.dim, self.fingerprint = encoder.name, encoder.dim, encoder.fingerprint
        self.fails = 0

    def encode(self, texts: Any) -> Vectors:
        if self.fails:
            self.fails -= 1
            raise EncoderError("out of order")
        return self._encoder.encode(texts)


async def test_a_failure_of_the_router_ends_the_run_and_the_next_turn_asks_again(encoder: BundledEncoder) -> None:
    failing = Failing(encoder)
    with tool_router(failing) as router:
        chosen = select_tools(TOOLS, router, k=1)
        run = RunContextWrapper(None, turn_input=[{"role": "user", "content": RAIN}])
        agent = Agent("assistant", model=answering(), tools=chosen)
        failing.fails = 1
        with pytest.raises(EncoderError, match="out of order"):
            await agent.get_all_tools(run)
        assert [tool.name for tool in await agent.get_all_tools(run)] == ["get_weather"]


async def test_runs_side_by_side_each_have_their_own_tools(tools: ToolRouter) -> None:
    async def last(_call: Any) -> Any:
        await asyncio.sleep(0)
        return [assistant_message("Done.")]

    agent = Agent("assistant", tools=select_tools(TOOLS, tools, k=1))
    models = [ScriptedModel([{"responder": last}]) for _ in range(9)]
    texts = [(RAIN, DEBT, SONG)[number % 3] for number in range(9)]
    await asyncio.gather(
        *(Runner.run(agent, text, run_config=RunConfig(model=model)) for text, model in zip(texts, models, strict=True))
    )
    expected = {RAIN: "get_weather", DEBT: "pay_bill", SONG: "play_music"}
    assert [seen(model) for model in models] == [[[expected[text]]] for text in texts]


async def test_tools_the_router_does_not_know_are_added_and_a_router_is_made_where_none_is_given(
    encoder: BundledEncoder,
) -> None:
    with tool_router(encoder, FUNCTIONS[:2]) as router:
        select_tools(TOOLS, router)
        assert [tool.name for tool in router.tools] == [tool.name for tool in TOOLS]
    model = answering()
    agent = Agent("assistant", model=model, tools=select_tools(TOOLS, k=1, min_confidence=0))
    await Runner.run(agent, "play a song")
    assert seen(model) == [["play_music"]]
    assert select_tools([WebSearchTool()]) != []


def test_the_given_tools_are_left_as_they_are(tools: ToolRouter) -> None:
    select_tools(TOOLS, tools)
    assert all(isinstance(tool, FunctionTool) and tool.is_enabled is True for tool in TOOLS)


# ---------------------------------------------------------------------------------------------------------- handoffs
@pytest.mark.parametrize(
    ("text", "on_no_match", "expected"),
    [
        (BILLING, "none", ["transfer_to_billing"]),
        (WEATHER, "none", ["transfer_to_weather"]),
        (NEITHER, "none", []),
        (NEITHER, "all", ["transfer_to_billing", "transfer_to_weather"]),
    ],
)
async def test_a_turn_is_handed_off_where_it_is_routed(
    router: AdaptiveRouter, text: str, on_no_match: Any, expected: list[str]
) -> None:
    billing, weather = (Agent(name, model=answering(f"{name} here")) for name in ("billing", "weather"))
    steps: list[Any] = [[function_call(expected[0], {}, call_id="1")]] if expected else [[assistant_message("?")]]
    model = ScriptedModel(steps)
    handoffs = select_handoffs([billing, handoff(weather)], router, on_no_match=on_no_match)
    result = await Runner.run(Agent("triage", model=model, handoffs=handoffs), text)
    assert [each.tool_name for each in model.calls[0].handoffs] == expected
    assert result.final_output == (f"{expected[0].removeprefix('transfer_to_')} here" if expected else "?")


def test_an_agent_without_a_route_is_refused(router: AdaptiveRouter) -> None:
    with pytest.raises(RouteNotFoundError, match="the router has no route 'refunds'"):
        select_handoffs([Agent("refunds")], router)


# ------------------------------------------------------------------------------------------------------- tool search
class Refund(BaseModel):
    """Give the money back for an order."""

    order: int = Field(description="Its number")


SCHEMA = {"type": "object", "properties": {"number": {"type": "string"}}, "required": ["number"]}
CHAT = {
    "type": "function",
    "function": {"name": "track_parcel", "description": "Where a parcel is", "strict": True, "parameters": SCHEMA},
}
FLAT = {"type": "function", "name": "open_door", "description": "Open the door of the office"}


def searched(arguments: Any) -> ResponseToolSearchCall:
    return ResponseToolSearchCall(
        id="ts_1",
        call_id="call_1",
        arguments=arguments,
        execution="client",
        status="completed",
        type="tool_search_call",
    )


async def test_a_search_of_the_model_is_answered_with_definitions(encoder: BundledEncoder) -> None:
    with ToolRouter([*FUNCTIONS, TOOLS[0], Refund, CHAT, FLAT][1:], encoder=encoder) as router:
        tool, handler = openai_tool_search(router, k=1, min_confidence=0)
        assert (tool["type"], tool["execution"], tool["parameters"]["required"]) == ("tool_search", "client", ["query"])
        for query, name, schema, strict in (
            ("play a song", "play_music", ["song"], True),
            ("the weather forecast", "get_weather", ["city"], True),
            ("give the money back", "Refund", ["order"], False),
            ("where is my parcel", "track_parcel", ["number"], True),
            ("open the office door", "open_door", [], False),
        ):
            for item in (
                handler(searched({"query": query})),
                await handler.acall(searched({"query": query}).to_dict()),
            ):
                assert (item["type"], item["call_id"], item["execution"]) == ("tool_search_output", "call_1", "client")
                (found,) = item["tools"]
                assert (found["name"], list(found["parameters"]["properties"]), found["strict"]) == (
                    name,
                    schema,
                    strict,
                )
                assert (found["defer_loading"], bool(found["description"])) == (True, True)
                # It is what the API gives back, once it has an id.
                ResponseToolSearchOutputItem.model_validate({**item, "id": "tso_1"}, strict=True)


async def test_a_search_for_what_no_tool_does_finds_nothing(tools: ToolRouter) -> None:
    _, handler = openai_tool_search(tools)
    for arguments in ({"query": NEITHER}, {"query": " "}, {"query": 5}, {}, "not JSON", None, ["query"]):
        for item in (handler(searched(arguments)), await handler.acall(searched(arguments))):
            assert item["tools"] == []
    assert handler(searched(json.dumps({"query": RAIN})))["tools"][0]["name"] == "get_weather"


def test_other_items_are_refused(tools: ToolRouter) -> None:
    _, handler = openai_tool_search(tools)
    with pytest.raises(InvalidInputError, match="an item of type 'message', wanted tool_search_call"):
        handler({"type": "message", "content": "secret"})


def test_a_tool_of_unknown_make_is_described_by_its_parameters(encoder: BundledEncoder) -> None:
    parameters = (
        Parameter(name="door", description="Which", required=True, choices=("front", "back")),
        Parameter(name="slowly"),
        Parameter(name="where.street", required=True),
    )
    door = RoutedTool(name="open_door", description="Open the door", parameters=parameters)
    with ToolRouter([door], encoder=encoder) as router:
        _, handler = openai_tool_search(router, min_confidence=0)
        (found,) = handler(searched({"query": "open the door"}))["tools"]
        assert found["parameters"] == {
            "type": "object",
            "properties": {"door": {"description": "Which", "enum": ["front", "back"]}, "slowly": {}, "where": {}},
            "required": ["door"],
        }


# ---------------------------------------------------------------------------------------------------------- the rest
@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([], ""),
        ([{"role": "assistant", "content": "x"}], ""),
        ([{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"type": "function_call"}], "b"),
        ([{"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_image"}]}], "a"),
        ([{"role": "user", "content": None}], ""),
    ],
)
def test_the_last_text_of_a_user_is_what_counts(items: list[Any], text: str) -> None:
    assert last_user_text(items) == text


async def test_no_way_of_asking_blocks_the_loop(encoder: BundledEncoder) -> None:
    gated = GatedEncoder(encoder)
    with tool_router(gated) as router, small_router(gated) as routes:
        agent = Agent("assistant", model=answering(), tools=select_tools(TOOLS, router, k=1))
        await gated.result_with_a_free_loop(Runner.run(agent, RAIN), RAIN)
        many = select_handoffs([Agent("billing", model=answering())], routes)
        triage = Agent("triage", model=answering(), handoffs=many)
        await gated.result_with_a_free_loop(Runner.run(triage, BILLING), BILLING)
        _, handler = openai_tool_search(router)
        found = await gated.result_with_a_free_loop(handler.acall(searched({"query": SONG})), SONG)
        assert found["tools"]


def test_the_example_prints_what_its_page_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_prints_what_its_page_says("openai_agents_tools", "openai-agents", monkeypatch, capsys)
