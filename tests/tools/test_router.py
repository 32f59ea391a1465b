"""Which tools are selected for a query."""

from __future__ import annotations

import pytest

from synaptoroute.errors import InvalidToolError, RouteExistsError, RouteNotFoundError, SynaptoRouteError
from synaptoroute.tools import Tool, ToolRouter

TOOLS = [
    Tool(name="get_weather", description="Tell the weather forecast of a city for the next days.", namespace="public"),
    Tool(name="send_email", description="Send an e-mail to somebody.", namespace="office"),
    Tool(name="create_invoice", description="Create an invoice for a customer.", namespace="office"),
    Tool(name="play_music", description="Play a song or an album.", namespace="home"),
]


def test_tools_that_are_not_allowed_take_no_part() -> None:
    with ToolRouter(TOOLS) as router:
        query = "will it rain in Paris tomorrow"
        assert [match.name for match in router.select(query, 1, min_confidence=0)] == ["get_weather"]
        for allow in (["send_email", "play_music", "gone"], lambda tool: tool.name in ("send_email", "play_music")):
            names = {match.name for match in router.select(query, allow=allow, min_confidence=0)}
            assert names == {"send_email", "play_music"}
        assert {match.name for match in router.select(query, namespaces=["office"], min_confidence=0)} == {
            "send_email",
            "create_invoice",
        }
        assert router.select(query, allow=[], min_confidence=0) == []


async def test_sync_and_async_select_alike_while_tools_change() -> None:
    async with ToolRouter() as router:
        assert await router.aselect("play some jazz") == []
        router.add(*TOOLS[1:])
        with pytest.raises(RouteExistsError, match="send_email"):
            router.add(TOOLS[0], TOOLS[1])
        assert len(router) == 3
        router.replace_all(TOOLS)
        router.remove("send_email")
        with pytest.raises(RouteNotFoundError, match="send_email"):
            router.remove("send_email")
        assert [tool.name for tool in router.tools] == ["get_weather", "create_invoice", "play_music"]
        found = await router.aselect("play some jazz", 2, min_confidence=0)
        assert found[0].name == "play_music"
        assert found[0].tool is router.tools[2]
        assert found == router.select("play some jazz", 2, min_confidence=0)


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ([], "list of tools is empty"),
        ([TOOLS[0], TOOLS[0]], "two tools are named 'get_weather'"),
        ([TOOLS[0], 7], r"tools\[1\]: a int is no tool"),
        (7, "list of tools is wanted, got int"),
        ({"name": "a"}, "list of tools is wanted, got dict"),
    ],
)
def test_a_list_that_cannot_be_accepted_is_refused(tools: object, message: str) -> None:
    with pytest.raises(InvalidToolError, match=message) as caught:
        ToolRouter(tools)  # type: ignore[arg-type]
    assert isinstance(caught.value, SynaptoRouteError)
