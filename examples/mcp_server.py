"""An MCP server over a router and a catalogue of tools, asked by the SDK's own client.

Runs without a network: the client speaks to the server in memory. `server.run("stdio")` would wait for a client.
"""

import asyncio

from mcp.client.client import Client

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.integrations.mcp import create_server
from synaptoroute.tools import ToolRouter

CATALOGUE = [
    {"name": "get_weather", "description": "Get the weather forecast of a city.", "inputSchema": {"type": "object"}},
    {"name": "book_flight", "description": "Book a flight between two airports.", "inputSchema": {"type": "object"}},
    {"name": "play_music", "description": "Play a song or an album.", "inputSchema": {"type": "object"}},
]


async def main() -> None:
    with AdaptiveRouter() as router, ToolRouter(CATALOGUE) as tools:
        router.add_routes(
            [
                Route(name="billing", utterances=["what do I owe", "show my balance", "pay my bill"]),
                Route(name="weather", utterances=["will it rain", "is it sunny outside", "how cold is it"]),
            ]
        )
        router.wait_until_fitted()
        async with Client(create_server(router, tools)) as client:
            for tool in (await client.list_tools()).tools:
                print(f"{tool.name}: {tool.description}")
            for text in ("how much do I have to pay?", "who painted the Mona Lisa?"):
                decided = (await client.call_tool("route", {"text": text})).structured_content or {}
                print(text, "->", decided["name"], decided["reason"])
            found = await client.call_tool("search_tools", {"query": "book a flight to Rome", "k": 1})
            print([tool["name"] for tool in (found.structured_content or {})["tools"]])


asyncio.run(main())
