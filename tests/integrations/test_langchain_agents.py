"""Selecting tools in real agents of LangChain, with its own fake model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelRequest, ModelResponse
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from pydantic import Field

from synaptoroute.encoder import BundledEncoder
from synaptoroute.errors import InvalidInputError
from synaptoroute.integrations.langchain_agents import SemanticToolSelectorMiddleware
from synaptoroute.models import MAX_TEXT_CHARS
from synaptoroute.tools import ToolRouter
from tests.integrations.gated import GatedEncoder

DESCRIBED = {
    "get_weather": "Get the weather forecast of a city.",
    "send_email": "Send an email to somebody.",
    "book_flight": "Book a flight between two airports.",
    "convert_currency": "Convert an amount of money into another currency.",
    "play_music": "Play a song or an album.",
    "create_invoice": "Create an invoice for a customer.",
}
RAIN, SONG, NOTHING = "what is the weather forecast for Paris?", "play a song by Queen", "zzz qqq xxx"
PROVIDERS = {"type": "web_search", "max_uses": 3}


def tool(name: str, description: str | None = None) -> BaseTool:
    def work(text: str) -> str:
        return f"{name}: {text}"

    return StructuredTool.from_function(work, name=name, description=description or DESCRIBED[name])


TOOLS = [tool(name) for name in DESCRIBED]


class ScriptedModel(GenericFakeChatModel):
    """LangChain's fake model, which also notes the tools that each call was shown."""

    shown: list[list[str]] = Field(default_factory=list)

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Any:
        self.shown.append([each["type"] if isinstance(each, dict) else each.name for each in tools])
        return self


def calling(name: str) -> AIMessage:
    return AIMessage("", tool_calls=[{"name": name, "args": {"text": "x"}, "id": "1"}])


def model(*messages: AIMessage | str) -> ScriptedModel:
    return ScriptedModel(messages=iter(messages or ["done"]))


@pytest.fixture(scope="module")
def catalogue(encoder: BundledEncoder) -> Iterator[ToolRouter]:
    with ToolRouter(TOOLS, encoder=encoder) as router:
        yield router


class _Asking:
    """One call of a model, without an agent around it."""

    def __init__(self, middleware: SemanticToolSelectorMiddleware, tools: Sequence[Any] = TOOLS) -> None:
        self.middleware, self.tools = middleware, list(tools)
        self.request: ModelRequest[Any] | None = None

    def __call__(self, *messages: str | BaseMessage, **fields: Any) -> list[str]:
        return _names(self.middleware.wrap_model_call(self._asked(messages, fields), self._answered))

    async def later(self, *messages: str | BaseMessage, **fields: Any) -> list[str]:
        async def answered(request: ModelRequest[Any]) -> ModelResponse[Any]:
            return self._answered(request)

        return _names(await self.middleware.awrap_model_call(self._asked(messages, fields), answered))

    def _asked(self, messages: Sequence[str | BaseMessage], fields: dict[str, Any]) -> ModelRequest[Any]:
        given: list[Any] = [HumanMessage(each) if isinstance(each, str) else each for each in messages]
        self.request = ModelRequest(model=model(), messages=given, tools=self.tools, **fields)
        return self.request

    def _answered(self, request: ModelRequest[Any]) -> ModelResponse[Any]:
        shown = [each["type"] if isinstance(each, dict) else each.name for each in request.tools]
        return ModelResponse(result=[AIMessage(",".join(shown))])


def _names(response: ModelResponse[Any]) -> list[str]:
    return [name for name in str(response.result[0].content).split(",") if name]


# ------------------------------------------------------------------------------------------------------- selecting
@pytest.mark.parametrize(("text", "name"), [(RAIN, "get_weather"), (SONG, "play_music")])
async def test_the_model_sees_the_tools_that_serve_the_query(catalogue: ToolRouter, text: str, name: str) -> None:
    asking = _Asking(SemanticToolSelectorMiddleware(catalogue, max_tools=1))
    assert asking(text) == await asking.later(text) == [name]


def test_tools_keep_the_order_the_agent_has_them_in(catalogue: ToolRouter) -> None:
    asking = _Asking(SemanticToolSelectorMiddleware(catalogue, max_tools=3), [PROVIDERS, *TOOLS])
    for text in (RAIN, SONG):
        shown = asking(text)
        order = ["web_search", *DESCRIBED]
        assert len(shown) == 4
        assert shown == sorted(shown, key=order.index)


def test_tools_of_the_provider_and_those_the_router_does_not_know_are_always_shown(catalogue: ToolRouter) -> None:
    asking = _Asking(
        SemanticToolSelectorMiddleware(catalogue, max_tools=1), [tool("write_todos", "Plan."), *TOOLS, PROVIDERS]
    )
    assert asking(RAIN) == ["write_todos", "get_weather", "web_search"]


def test_some_are_shown_whatever_the_query_and_take_no_place(catalogue: ToolRouter) -> None:
    middleware = SemanticToolSelectorMiddleware(catalogue, max_tools=1, always_include=["send_email"])
    assert _Asking(middleware)(SONG) == ["send_email", "play_music"]
    assert _Asking(middleware, [tool("send_email")])(SONG) == ["send_email"]


def test_the_last_message_of_the_human_counts_and_not_what_came_after(catalogue: ToolRouter) -> None:
    asking = _Asking(SemanticToolSelectorMiddleware(catalogue, max_tools=1))
    assert asking(RAIN, AIMessage("sunny"), SONG, calling("play_music"), ToolMessage(RAIN, tool_call_id="1")) == [
        "play_music"
    ]


def test_the_query_may_come_from_elsewhere(catalogue: ToolRouter) -> None:
    middleware = SemanticToolSelectorMiddleware(
        catalogue, max_tools=1, query_from=lambda request: str(request.messages[0].text)
    )
    assert _Asking(middleware)(RAIN, SONG) == ["get_weather"]


def test_a_tool_the_caller_insists_on_stays(catalogue: ToolRouter) -> None:
    asking = _Asking(SemanticToolSelectorMiddleware(catalogue, max_tools=1))
    assert asking(RAIN, tool_choice="play_music") == ["get_weather", "play_music"]


def test_the_request_that_came_in_is_left_as_it_was(catalogue: ToolRouter) -> None:
    asking = _Asking(SemanticToolSelectorMiddleware(catalogue, max_tools=1))
    asking(RAIN)
    assert asking.request is not None
    assert asking.request.tools == TOOLS


# -------------------------------------------------------------------------------------------------------- no match
@pytest.mark.parametrize(
    ("on_no_match", "shown"),
    [
        ("all", list(DESCRIBED)),
        ("none", []),
        (["send_email"], ["send_email"]),
        (lambda query: ["play_music"] if query == NOTHING else ["send_email"], ["play_music"]),
    ],
)
def test_where_no_tool_fits_it_is_as_was_asked(catalogue: ToolRouter, on_no_match: Any, shown: list[str]) -> None:
    asking = _Asking(SemanticToolSelectorMiddleware(catalogue, max_tools=1, on_no_match=on_no_match))
    assert catalogue.select(NOTHING) == []
    assert asking(NOTHING) == shown


def test_the_least_confidence_may_be_another(catalogue: ToolRouter) -> None:
    strict = SemanticToolSelectorMiddleware(catalogue, max_tools=1, min_confidence=1.0, on_no_match="none")
    assert _Asking(strict)(RAIN) == []


async def test_without_a_query_it_is_as_if_no_tool_fits(catalogue: ToolRouter) -> None:
    asking = _Asking(SemanticToolSelectorMiddleware(catalogue, max_tools=1))
    assert asking(SystemMessage("be kind")) == list(DESCRIBED)
    assert await asking.later(HumanMessage([{"type": "image", "url": "https://here/a.png"}])) == list(DESCRIBED)
    assert asking(" ") == list(DESCRIBED)


def test_a_text_longer_than_the_router_takes_is_selected_by_its_beginning(catalogue: ToolRouter) -> None:
    text = f"{RAIN} " * 2_000
    matches = catalogue.select(text[:MAX_TEXT_CHARS], 1, min_confidence=0)
    asking = _Asking(SemanticToolSelectorMiddleware(catalogue, max_tools=1, min_confidence=0))
    assert asking(text) == [match.name for match in matches]


def test_an_agent_without_tools_is_left_alone(catalogue: ToolRouter) -> None:
    assert _Asking(SemanticToolSelectorMiddleware(catalogue, max_tools=1), [])(RAIN) == []
    assert _Asking(SemanticToolSelectorMiddleware(max_tools=1), [PROVIDERS])(RAIN) == ["web_search"]


# ------------------------------------------------------------------------------------------------------- bad input
def test_names_of_no_tool_are_found_at_the_first_call(catalogue: ToolRouter) -> None:
    middleware = SemanticToolSelectorMiddleware(catalogue, max_tools=1, always_include=["send_mail"])
    with pytest.raises(InvalidInputError, match="always_include names 'send_mail', of which the agent has no tool"):
        _Asking(middleware)(RAIN)
    middleware = SemanticToolSelectorMiddleware(catalogue, max_tools=1, on_no_match=["send_mail"])
    with pytest.raises(InvalidInputError, match="on_no_match names 'send_mail'"):
        _Asking(middleware)(RAIN)
    middleware = SemanticToolSelectorMiddleware(catalogue, max_tools=1, on_no_match=lambda _query: ["send_mail"])
    with pytest.raises(InvalidInputError, match="on_no_match names 'send_mail'"):
        _Asking(middleware)(NOTHING)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"max_tools": 0}, "max_tools is 0"),
        ({"max_tools": 1, "always_include": "send_email"}, "always_include is a single text"),
        ({"max_tools": 1, "on_no_match": "nothing"}, "on_no_match is 'nothing'"),
        ({"max_tools": 1, "min_confidence": 2}, "wanted a probability"),
    ],
)
def test_bad_arguments_are_found_when_it_is_made(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        SemanticToolSelectorMiddleware(**arguments)


# ---------------------------------------------------------------------------------------------------------- agents
async def test_a_turn_is_selected_for_once_and_the_tool_runs(encoder: BundledEncoder) -> None:
    gated = GatedEncoder(encoder)
    with ToolRouter(TOOLS, encoder=gated) as router:
        middleware = SemanticToolSelectorMiddleware(router, max_tools=1)
        for asynchronous in (False, True):
            scripted = model(calling("play_music"), calling("play_music"), "done")
            agent = create_agent(scripted, [*TOOLS, PROVIDERS], middleware=[middleware])
            asked: Any = {"messages": [HumanMessage(f"{SONG}, please {asynchronous}")]}
            ended = await agent.ainvoke(asked) if asynchronous else agent.invoke(asked)
            assert [each.content for each in ended["messages"] if each.type == "tool"] == ["play_music: x"] * 2
            assert ended["messages"][-1].content == "done"
            assert scripted.shown == [["play_music", "web_search"]] * 3
            assert [text for call in gated.calls for text in call].count(f"{SONG}, please {asynchronous}") == 1


async def test_a_selection_holds_for_its_turn_also_when_the_tools_have_learned(encoder: BundledEncoder) -> None:
    with ToolRouter(TOOLS, encoder=encoder) as router:
        asking = _Asking(SemanticToolSelectorMiddleware(router, max_tools=1))
        assert asking(HumanMessage(SONG, id="1")) == ["play_music"]
        router.replace_all([*TOOLS[:4], tool("play_music", "Nothing at all."), tool("create_invoice", SONG)])
        loop = [calling("play_music"), ToolMessage("x", tool_call_id="1")]
        assert asking(HumanMessage(SONG, id="1"), *loop) == ["play_music"]
        assert asking(HumanMessage(SONG, id="2")) == ["create_invoice"]


async def test_the_loop_is_free_while_tools_and_queries_are_encoded(encoder: BundledEncoder) -> None:
    gated = GatedEncoder(encoder)
    with ToolRouter(TOOLS, encoder=gated) as router:
        asking = _Asking(SemanticToolSelectorMiddleware(router, max_tools=1))
        assert await gated.result_with_a_free_loop(asking.later(RAIN)) == ["get_weather"]


class _Adding(AgentMiddleware[Any, Any, Any]):
    """Another middleware, with a tool of its own."""

    tools = (tool("write_todos", "Write a list of things to do."),)


def test_it_goes_with_other_middleware(catalogue: ToolRouter) -> None:
    scripted = model("done")
    middleware = [_Adding(), SemanticToolSelectorMiddleware(catalogue, max_tools=1)]
    create_agent(scripted, TOOLS, middleware=middleware).invoke({"messages": [HumanMessage(RAIN)]})
    assert scripted.shown == [["write_todos", "get_weather"]]


# ------------------------------------------------------------------------------------------- without a given router
async def test_without_a_router_it_takes_the_agents_tools_and_goes_with_their_changes() -> None:
    middleware = SemanticToolSelectorMiddleware(max_tools=1)
    asking = _Asking(middleware, TOOLS[:3])
    assert asking(RAIN) == ["get_weather"]
    assert middleware._own._router is not None
    revision = middleware._own._router._routes.revision
    # The same objects, and other objects that say the same, change nothing.
    assert await asking.later("weather forecast for Rome") == ["get_weather"]
    asking.tools = [tool(name) for name in list(DESCRIBED)[:3]]
    assert asking("weather forecast for Oslo") == ["get_weather"]
    assert middleware._own._router._routes.revision == revision
    # More tools, and one that says something else.
    asking.tools = [tool("get_weather", "Play a song or an album."), *TOOLS[1:4]]
    assert await asking.later(SONG) == ["get_weather"]
    assert asking("convert 5 dollars to another currency") == ["convert_currency"]
    # Those of another agent do not get in the way, nor push these out.
    other = _Asking(middleware, [TOOLS[4], TOOLS[1]])
    assert other("play a song") == ["play_music"]
    assert len(middleware._own._router) == 5
    middleware.close()
    assert asking("convert 7 dollars to another currency") == ["convert_currency"]
    middleware.close()


async def test_many_at_once_build_it_once() -> None:
    middleware = SemanticToolSelectorMiddleware(max_tools=1)
    asking = [_Asking(middleware) for _ in range(8)]
    shown = await asyncio.gather(*(each.later(f"{RAIN} {number}") for number, each in enumerate(asking)))
    assert shown == [["get_weather"]] * 8
    assert middleware._own._router is not None
    assert middleware._own._router._routes.revision == 1
    middleware.close()
