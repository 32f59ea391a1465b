"""A Pydantic AI agent that finds its deferred tools by meaning, and one that sees only what its prompt needs.

Runs without a network or a key: Pydantic AI's own FunctionModel and TestModel stand for a model.
"""

from pydantic_ai import Agent, Tool
from pydantic_ai.capabilities import PrepareTools, ToolSearch
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.test import TestModel

from synaptoroute.integrations.pydantic_ai import prepare_tools, tool_search
from synaptoroute.tools import ToolRouter, as_tool


def get_weather(city: str) -> str:
    """The weather forecast for a city: temperature, rain, wind."""
    return f"sunny in {city}"


def pay_bill(number: int) -> str:
    """Pay an invoice, a bill or a debt."""
    return f"paid {number}"


def play_music(song: str) -> str:
    """Play a song, an album or an artist."""
    return f"playing {song}"


FUNCTIONS = [get_weather, pay_bill, play_music]
router = ToolRouter(
    [
        as_tool(get_weather, examples=["will it rain tomorrow", "is it sunny outside", "how cold is it"]),
        as_tool(pay_bill, examples=["what do I owe", "settle the invoice", "pay my bill"]),
        as_tool(play_music, examples=["play some jazz", "put on a record", "I want to hear a song"]),
    ]
)


def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Looks for a tool in its own words, calls it once it is there, then answers."""
    print("the model sees:", ", ".join(tool.name for tool in info.function_tools))
    if len(messages) == 1:
        return ModelResponse(parts=[ToolCallPart("search_tools", {"queries": ["will it rain in Oslo"]})])
    if len(messages) == 3:
        return ModelResponse(parts=[ToolCallPart("get_weather", {"city": "Oslo"})])
    return ModelResponse(parts=[TextPart("No, it is sunny in Oslo.")])


searching = Agent(
    FunctionModel(model),
    tools=[Tool(function, defer_loading=True) for function in FUNCTIONS],
    capabilities=[ToolSearch(strategy=tool_search(router, max_results=1))],
)
print(searching.run_sync("Do I need an umbrella?").output)

test_model = TestModel()
prepare = prepare_tools(router, k=1, on_no_match="none")
narrowed = Agent(test_model, tools=FUNCTIONS, capabilities=[PrepareTools(prepare)])
for prompt in ("how much do I have to pay?", "who painted the Mona Lisa?"):
    narrowed.run_sync(prompt)
    print(prompt, "->", [tool.name for tool in test_model.last_model_request_parameters.function_tools])
router.close()
