"""LangChain: a chain that branches by route, and the router as a tool that a model calls.

Runs without a network: LangChain's own fake model stands for a real one.
"""

from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.integrations.langchain import RouteRunnable, SynaptoRouteTool


class FakeModel(GenericFakeChatModel):
    """Says what it is given to say, and takes tools without looking at them."""

    def bind_tools(self, tools: Any, **_: Any) -> Any:
        return self


def saying(*messages: AIMessage | str) -> FakeModel:
    return FakeModel(messages=iter(messages))


with AdaptiveRouter() as router:
    router.add_routes(
        [
            Route(name="billing", utterances=["what do I owe", "show my balance", "pay my bill", "my invoice"]),
            Route(name="weather", utterances=["will it rain", "is it sunny outside", "how cold is it", "the forecast"]),
        ]
    )
    router.wait_until_fitted()

    # One decision for each input, however many branches there are.
    accountant = ChatPromptTemplate.from_template("Answer as an accountant: {text}") | saying("You owe 12 euros.")
    chain = RouteRunnable(router, key="text").as_branch(
        {"billing": accountant, "weather": lambda asked: f"(a forecast for {asked['city']})"},
        default=lambda _asked: "I will ask somebody.",
    )
    for text in ("how much do I have to pay?", "do I need an umbrella today?", "who painted the Mona Lisa?"):
        answer = chain.invoke({"text": text, "city": "Paris"})
        print(getattr(answer, "content", answer))

    # The model asks; the program gets the whole decision as the tool's artifact.
    call = {"name": "route", "args": {"query": "how much do I have to pay?"}, "id": "1"}
    model = saying(AIMessage("", tool_calls=[call]), "That is for the accountants.")
    agent = create_agent(model, [SynaptoRouteTool(router)])
    for message in agent.invoke({"messages": [HumanMessage("Whom do I ask what I have to pay?")]})["messages"][2:]:
        print(f"{message.type}: {message.content}")
