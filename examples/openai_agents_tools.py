"""An agent of the OpenAI Agents SDK that sees the tools its turn needs, one that hands off by route, and tool search.

Runs without a network or a key: the SDK's own ScriptedModel answers.
"""

import asyncio

from agents import Agent, Runner, function_tool, set_tracing_disabled
from agents.testing import ScriptedModel, assistant_message, function_call

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.integrations.openai_agents import openai_tool_search, select_handoffs, select_tools
from synaptoroute.tools import ToolRouter, as_tool

set_tracing_disabled(disabled=True)


@function_tool
def get_weather(city: str) -> str:
    """The weather forecast for a city: temperature, rain, wind."""
    return f"sunny in {city}"


@function_tool
def pay_bill(number: int) -> str:
    """Pay an invoice, a bill or a debt."""
    return f"paid {number}"


@function_tool
def play_music(song: str) -> str:
    """Play a song, an album or an artist."""
    return f"playing {song}"


tools = ToolRouter(
    [
        as_tool(get_weather, examples=["will it rain tomorrow", "is it sunny outside", "how cold is it"]),
        as_tool(pay_bill, examples=["what do I owe", "settle the invoice", "pay my bill"]),
        as_tool(play_music, examples=["play some jazz", "put on a record", "I want to hear a song"]),
    ]
)
routes = AdaptiveRouter()
routes.add_routes(
    [
        Route(name="billing", utterances=["what do I owe", "show my balance", "pay my bill", "send the invoice"]),
        Route(name="support", utterances=["it does not start", "the app crashes", "I cannot log in", "error code"]),
    ]
)


async def main() -> None:
    model = ScriptedModel(
        [[function_call("get_weather", {"city": "Oslo"}, call_id="1")], [assistant_message("It is sunny.")]]
    )
    assistant = Agent("assistant", model=model, tools=select_tools([get_weather, pay_bill, play_music], tools, k=1))
    result = await Runner.run(assistant, "do I need an umbrella today?")
    print("the model saw:", [[tool.name for tool in call.tools] for call in model.calls])
    print(result.final_output)

    model = ScriptedModel([[function_call("transfer_to_support", {}, call_id="1")]])
    billing = Agent("billing", model=ScriptedModel([[assistant_message("Billing here.")]]))
    support = Agent("support", model=ScriptedModel([[assistant_message("Support here.")]]))
    triage = Agent("triage", model=model, handoffs=select_handoffs([billing, support], routes))
    result = await Runner.run(triage, "the program crashed again")
    print("triage saw:", [each.tool_name for each in model.calls[0].handoffs])
    print(result.final_output)

    # Without the runner: what responses.create(tools=[search]) is given, and the answer to what the model then calls.
    search, handler = openai_tool_search(tools, k=1)
    call = {"type": "tool_search_call", "call_id": "1", "arguments": {"query": "settle an invoice"}}
    found = await handler.acall(call)
    print(search["execution"], "search found:", [tool["name"] for tool in found["tools"]])


asyncio.run(main())
tools.close()
routes.close()
