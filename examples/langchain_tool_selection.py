"""An agent of LangChain with many tools, whose model is shown only the few that serve the query.

Runs without a network: LangChain's own fake model stands for a real one, and says which tools it was shown.
"""

from collections.abc import Callable, Sequence
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage

from synaptoroute.integrations.langchain_agents import SemanticToolSelectorMiddleware


def get_weather(city: str) -> str:
    """Get the weather forecast of a city."""
    return f"rain in {city}"


def send_email(to: str, text: str) -> str:
    """Send an email to somebody."""
    return f"sent to {to}"


def book_flight(origin: str, destination: str) -> str:
    """Book a flight between two airports."""
    return f"booked from {origin} to {destination}"


def convert_currency(amount: float, currency: str) -> str:
    """Convert an amount of money into another currency."""
    return f"{amount} {currency}"


def play_music(title: str) -> str:
    """Play a song or an album."""
    return f"playing {title}"


class FakeModel(GenericFakeChatModel):
    """Prints the tools that it is shown."""

    def bind_tools(self, tools: Sequence[Any], **_: Any) -> Any:
        print(f"  the model is shown {', '.join(tool.name for tool in tools)}")
        return self


TOOLS: list[Callable[..., str]] = [get_weather, send_email, book_flight, convert_currency, play_music]
calling = AIMessage("", tool_calls=[{"name": "get_weather", "args": {"city": "Paris"}, "id": "1"}])
model = FakeModel(messages=iter([calling, "It will rain.", "Booked.", "I do not know."]))
selecting = SemanticToolSelectorMiddleware(max_tools=1, always_include=["send_email"], on_no_match="none")
agent = create_agent(model, TOOLS, middleware=[selecting])

for text in ("what will the weather be in Paris?", "book a flight to Rome", "zzz qqq xxx"):
    print(text)
    print(f"  {agent.invoke({'messages': [HumanMessage(text)]})['messages'][-1].content}")
selecting.close()
