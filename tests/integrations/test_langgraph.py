"""Real graphs of LangGraph that go where a real router says."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command

from synaptoroute import AdaptiveRouter
from synaptoroute.errors import InvalidInputError, InvalidQueryError, RouteNotFoundError
from synaptoroute.integrations.langgraph import RoutePath, as_path, command_node
from tests.integrations.small import BILLING, BOTH, NEITHER, WEATHER


class State(TypedDict, total=False):
    text: str
    went: Annotated[list[str], operator.add]
    route: dict[str, Any]


def going(name: str) -> Any:
    return lambda _state: {"went": [name]}


def graph_of(path: RoutePath) -> Any:
    graph = StateGraph(State)
    for node in path.path_map:
        graph.add_node(node, going(node))
    graph.add_conditional_edges(START, path, path.path_map)
    return graph.compile()


@pytest.mark.parametrize(("text", "node"), [(BILLING, "billing"), (WEATHER, "weather"), (NEITHER, "chat")])
async def test_an_edge_goes_where_the_router_says(router: AdaptiveRouter, text: str, node: str) -> None:
    graph = graph_of(as_path(router, fallback="chat", key="text"))
    assert graph.invoke({"text": text})["went"] == [node]
    assert (await graph.ainvoke({"text": text}))["went"] == [node]


def test_routes_may_lead_to_nodes_of_other_names_and_those_without_one_to_the_fallback(router: AdaptiveRouter) -> None:
    graph = graph_of(as_path(router, {"billing": "accounts"}, fallback="chat", key="text"))
    assert graph.invoke({"text": BILLING})["went"] == ["accounts"]
    assert graph.invoke({"text": WEATHER})["went"] == ["chat"]


async def test_what_is_split_goes_to_several_nodes_at_once(router: AdaptiveRouter) -> None:
    graph = graph_of(as_path(router, fallback="chat", key="text", split=lambda text: text.split(", and ")))
    assert sorted(graph.invoke({"text": BOTH})["went"]) == ["billing", "weather"]
    assert sorted((await graph.ainvoke({"text": BOTH}))["went"]) == ["billing", "weather"]
    # A part that belongs nowhere leads nowhere beside one that does.
    assert graph.invoke({"text": f"{NEITHER}, and {BILLING}"})["went"] == ["billing"]
    assert graph.invoke({"text": f"{NEITHER}, and {NEITHER}"})["went"] == ["chat"]


def test_the_drawing_shows_just_the_nodes_it_may_go_to(router: AdaptiveRouter) -> None:
    path = as_path(router, ["billing"], fallback=END, key="text")
    graph = StateGraph(State)
    for node in ("billing", "elsewhere"):
        graph.add_node(node, going(node))
    graph.add_conditional_edges(START, path, path.path_map)
    edges = graph.compile().get_graph().edges
    assert {edge.target for edge in edges if edge.source == START} == {"billing", END}


def test_options_reach_the_router(router: AdaptiveRouter) -> None:
    assert as_path(router, fallback="chat", key="text", min_confidence=1.0).invoke({"text": BILLING}) == ["chat"]
    assert as_path(router, fallback="chat", key="text", threshold=-1).invoke({"text": NEITHER}) != ["chat"]


@dataclass
class Asked:
    text: str


@pytest.mark.parametrize(
    ("state", "key"),
    [
        ({"messages": [HumanMessage(BILLING), AIMessage("let me see whether it rains")]}, "messages"),
        ({"messages": [{"role": "user", "content": BILLING}]}, "messages"),
        (Asked(BILLING), "text"),
        ({"a": {"b": BILLING}}, lambda state: state["a"]["b"]),
        ({"said": HumanMessage([{"type": "text", "text": BILLING}, {"type": "image", "url": "x"}])}, "said"),
    ],
)
def test_the_query_is_found_in_states_of_any_kind(router: AdaptiveRouter, state: Any, key: Any) -> None:
    assert as_path(router, fallback="chat", key=key).invoke(state) == ["billing"]


def test_what_has_no_query_is_an_error_that_does_not_repeat_the_state(router: AdaptiveRouter) -> None:
    path = as_path(router, fallback="chat")
    with pytest.raises(InvalidInputError, match="there is no 'messages' in the dict; name another key"):
        path.invoke({"secret": "words"})
    with pytest.raises(InvalidInputError, match="what is under 'messages' is a list without a text of a human"):
        path.invoke({"messages": [AIMessage("secret words")]})
    with pytest.raises(InvalidQueryError, match="text is empty"):
        path.invoke({"messages": [HumanMessage(" ")]})


def test_a_misspelled_route_is_found_when_the_graph_is_made(router: AdaptiveRouter) -> None:
    with pytest.raises(RouteNotFoundError, match="the router has no route 'biling'; correct the name"):
        as_path(router, ["biling"], fallback="chat")
    with pytest.raises(RouteNotFoundError, match="the router has no route 'biling'"):
        command_node(router, {"biling": "accounts"}, fallback="chat")


@pytest.mark.parametrize(("text", "node"), [(BILLING, "accounts"), (NEITHER, "chat")])
async def test_a_node_goes_there_and_leaves_its_decision_in_the_state(
    router: AdaptiveRouter, text: str, node: str
) -> None:
    deciding = command_node(router, {"billing": "accounts"}, fallback="chat", key="text")
    graph = StateGraph(State)
    graph.add_node("decide", deciding, destinations=deciding.destinations)
    for name in deciding.destinations:
        graph.add_node(name, going(name))
    graph.add_edge(START, "decide")
    # The decision goes through a checkpointer and back.
    compiled = graph.compile(checkpointer=InMemorySaver())
    for number, ended in enumerate(
        (
            compiled.invoke({"text": text}, {"configurable": {"thread_id": "1"}}),
            await compiled.ainvoke({"text": text}, {"configurable": {"thread_id": "2"}}),
        )
    ):
        assert ended["went"] == [node]
        kept = compiled.get_state({"configurable": {"thread_id": str(number + 1)}}).values["route"]
        assert kept == ended["route"] == router(text).to_dict()
    targets = {edge.target for edge in compiled.get_graph().edges if edge.source == "decide"}
    assert targets == {"accounts", "chat"}


def test_a_node_of_a_graph_within_may_go_to_nodes_around_it(router: AdaptiveRouter) -> None:
    within = StateGraph(State)
    within.add_node("decide", command_node(router, fallback="chat", key="text", graph=Command.PARENT))
    within.add_edge(START, "decide")
    around = StateGraph(State)
    around.add_node("within", within.compile(), destinations=("billing", "weather", "chat"))
    for name in ("billing", "weather", "chat"):
        around.add_node(name, going(name))
    around.add_edge(START, "within")
    assert around.compile().invoke({"text": WEATHER})["went"] == ["weather"]


def test_messages_are_the_state_unless_told_otherwise(router: AdaptiveRouter) -> None:
    path = as_path(router, fallback="chat")
    graph = StateGraph(MessagesState)
    for node in path.path_map:
        graph.add_node(node, lambda _state, node=node: {"messages": [AIMessage(node)]})
    graph.add_conditional_edges(START, path, path.path_map)
    assert graph.compile().invoke({"messages": [HumanMessage(WEATHER)]})["messages"][-1].content == "weather"
