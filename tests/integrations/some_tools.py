"""A few tools with examples, which every framework is to choose among."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from synaptoroute.encoder.base import BaseEncoder
from synaptoroute.tools import ToolRouter, as_tool

RAIN, DEBT, SONG = "do I need an umbrella today", "how much do I have to pay", "play something by Abba"
NEITHER = "who painted the Mona Lisa"


def get_weather(city: str = "Oslo") -> str:
    """The weather forecast for a city: temperature, rain, wind."""
    return f"sunny in {city}"


def pay_bill(number: int = 1) -> str:
    """Pay an invoice, a bill or a debt."""
    return f"paid {number}"


def play_music(song: str = "Yesterday") -> str:
    """Play a song, an album or an artist."""
    return f"playing {song}"


FUNCTIONS: list[Callable[..., str]] = [get_weather, pay_bill, play_music]
EXAMPLES = {
    "get_weather": ["will it rain tomorrow", "is it sunny outside", "how cold is it"],
    "pay_bill": ["what do I owe", "settle the invoice", "pay my bill"],
    "play_music": ["play some jazz", "put on a record", "I want to hear a song"],
}


def tool_router(encoder: BaseEncoder, functions: Iterable[Callable[..., str]] = FUNCTIONS) -> ToolRouter:
    """A router that knows them by name."""
    return ToolRouter([as_tool(each, examples=EXAMPLES[each.__name__]) for each in functions], encoder=encoder)
