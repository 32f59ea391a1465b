"""LangGraph: a conditional edge and a node that go where the router says.

Runs without a network; the nodes only say that they were there.
"""

import operator
from typing import Annotated, Any, TypedDict

from langgraph.graph import START, StateGraph

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.integrations.langgraph import as_path, command_node


class State(TypedDict, total=False):
    text: str
    route: dict[str, Any]
    answers: Annotated[list[str], operator.add]


def billing(state: State) -> State:
    return {"answers": ["you owe 12 euros"]}


def weather(state: State) -> State:
    return {"answers": ["it will rain"]}


def chat(state: State) -> State:
    return {"answers": ["let us talk"]}


def graph_with_nodes() -> StateGraph[State]:
    graph = StateGraph(State)
    for name, node in (("billing", billing), ("weather", weather), ("chat", chat)):
        graph.add_node(name, node)
    return graph


with AdaptiveRouter() as router:
    router.add_routes(
        [
            Route(name="billing", utterances=["what do I owe", "show my balance", "pay my bill", "my invoice"]),
            Route(name="weather", utterances=["will it rain", "is it sunny outside", "how cold is it", "the forecast"]),
        ]
    )
    router.wait_until_fitted()

    # An edge; a text that asks several things goes to several nodes at once.
    graph = graph_with_nodes()
    path = as_path(router, fallback="chat", key="text", split=lambda text: text.split(", and "))
    graph.add_conditional_edges(START, path, path.path_map)
    edges = graph.compile()
    for text in ("what do I have to pay?", "pay my bill, and will it rain tomorrow?", "who painted the Mona Lisa?"):
        print(edges.invoke({"text": text})["answers"])

    # A node, which also leaves the decision in the state.
    graph = graph_with_nodes()
    node = command_node(router, fallback="chat", key="text")
    graph.add_node("decide", node, destinations=node.destinations)
    graph.add_edge(START, "decide")
    ended = graph.compile().invoke({"text": "do I need an umbrella today?"})
    print(ended["answers"], ended["route"]["name"], ended["route"]["reason"])
