"""The MCP server, asked by the SDK's own client: in memory, as a process on stdio, over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.types import CallToolResult, TextContent

from synaptoroute import AdaptiveRouter
from synaptoroute.encoder import BundledEncoder
from synaptoroute.errors import InvalidInputError
from synaptoroute.integrations.mcp import MAX_TEXTS, create_server
from synaptoroute.storage import SQLiteStorage
from synaptoroute.tools import ToolRouter
from tests.cli.test_cli import run
from tests.integrations.small import BILLING, NEITHER, ROUTES, WEATHER
from tests.seeded import SeededEncoder

#: Nothing here takes this long unless it hangs.
SAFE_S = 120.0
SOURCE = Path(__file__).parents[2] / "src"
READING = ["route", "route_batch", "explain", "list_routes"]
WRITING = ["add_route", "add_utterances", "remove_utterance", "delete_route"]

Mode = Literal["auto", "legacy"]


def content(result: CallToolResult) -> dict[str, Any]:
    assert not result.is_error, result.content
    structured: dict[str, Any] = result.structured_content or {}
    assert structured
    return structured


def error(result: CallToolResult) -> str:
    assert result.is_error
    (told,) = result.content
    assert isinstance(told, TextContent)
    return told.text


@pytest.fixture(params=["auto", "legacy"])
def client(request: pytest.FixtureRequest, router: AdaptiveRouter) -> Callable[[], Client]:
    """A client of today's protocol, or of the one with a handshake."""
    return lambda: Client(create_server(router), mode=request.param)


@pytest.fixture
def changing(encoder: BundledEncoder) -> Iterator[AdaptiveRouter]:
    with AdaptiveRouter(encoder) as router:
        router.add_routes(ROUTES)
        yield router


# --------------------------------------------------------------------------------------------------- what it offers
async def test_the_tools_only_read_and_are_the_same_every_time(client: Callable[[], Client]) -> None:
    async with client() as asking:
        listed = await asking.list_tools()
        assert [tool.name for tool in listed.tools] == READING
        await asking.call_tool("route", {"text": BILLING})
        assert (await asking.list_tools()).tools == listed.tools
        for tool in listed.tools:
            assert tool.annotations is not None
            assert tool.annotations.read_only_hint
            assert tool.annotations.idempotent_hint
            assert tool.annotations.open_world_hint is False
            assert tool.description
            assert tool.output_schema is not None
            assert tool.input_schema["additionalProperties"] is False
            for parameter in tool.input_schema["properties"].values():
                assert parameter["description"]


async def test_tools_that_write_are_offered_only_if_wanted(changing: AdaptiveRouter) -> None:
    async with Client(create_server(changing, writable=True)) as asking:
        tools = (await asking.list_tools()).tools
    assert [tool.name for tool in tools] == [*READING, *WRITING]
    hints = {tool.name: tool.annotations for tool in tools if tool.annotations is not None}
    assert [name for name in hints if not hints[name].read_only_hint] == WRITING
    assert [name for name in hints if hints[name].destructive_hint] == ["remove_utterance", "delete_route"]


# ---------------------------------------------------------------------------------------------------------- reading
async def test_it_decides_as_the_router_does(client: Callable[[], Client], router: AdaptiveRouter) -> None:
    texts = [BILLING, NEITHER, WEATHER]
    async with client() as asking:
        alone = [content(await asking.call_tool("route", {"text": text})) for text in texts]
        together = content(await asking.call_tool("route_batch", {"texts": texts, "top_k": 3}))["decisions"]
    assert alone == together == [router.route(text, top_k=3).to_dict() for text in texts]
    assert [decided["name"] for decided in alone] == ["billing", None, "weather"]


async def test_it_explains(client: Callable[[], Client], router: AdaptiveRouter) -> None:
    async with client() as asking:
        told = content(await asking.call_tool("explain", {"text": BILLING}))
    expected = router.explain(BILLING).to_dict()
    assert told == {key: expected[key] for key in ("decision", "nearest", "limits", "decided_by")}


async def test_it_lists_routes_page_by_page(client: Callable[[], Client], router: AdaptiveRouter) -> None:
    async with client() as asking:
        first = content(await asking.call_tool("list_routes", {"limit": 1, "examples": 2}))
        second = content(await asking.call_tool("list_routes", {"after": first["next"]}))
        gone = error(await asking.call_tool("list_routes", {"after": "gone"}))
    assert first["routes"] == [
        {
            "name": "billing",
            "description": "What the customer owes",
            "threshold": None,
            "utterance_count": 4,
            "examples": ["what do I owe", "show my balance"],
        }
    ]
    assert (first["total"], first["next"], first["revision"]) == (2, "billing", router.revision)
    assert [route["name"] for route in second["routes"]] == ["weather"]
    assert second["next"] is None
    assert "there is no route 'gone' to go on after; begin anew" in gone


async def test_options_reach_the_router(client: Callable[[], Client]) -> None:
    async with client() as asking:
        strict = content(await asking.call_tool("route", {"text": BILLING, "min_confidence": 1}))
        among = content(await asking.call_tool("route", {"text": BILLING, "allow": ["weather"], "top_k": 1}))
    assert (strict["name"], strict["reason"]) == (None, "below_confidence")
    assert [match["name"] for match in among["matches"]] == ["weather"]


# ------------------------------------------------------------------------------------------------------- bad input
@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("route", {"text": " \n"}, "text is empty or only white space"),
        ("route", {"text": "secret " * 5_000}, "String should have at most 32768 characters"),
        ("route", {"text": {"secret": 1}}, "Input should be a valid string"),
        ("route", {"text": "secret", "allow": ["gone"]}, "there is no route 'gone'"),
        ("route", {"text": "secret", "top_k": 51}, "less than or equal to 50"),
        ("route", {"text": "secret", "min_confidence": 2}, "less than or equal to 1"),
        ("route", {"text": "secret", "topk": "secret"}, "topk\n  Extra inputs are not permitted"),
        ("route", {}, "text\n  Field required"),
        ("route_batch", {"texts": []}, "at least 1 item"),
        ("route_batch", {"texts": ["secret"] * (MAX_TEXTS + 1)}, "at most 256 items"),
        ("route_batch", {"texts": ["secret", ""]}, "text is empty"),
        ("nonsense", {}, "Unknown tool: nonsense"),
    ],
)
async def test_bad_input_is_told_without_repeating_it(
    router: AdaptiveRouter, tool: str, arguments: dict[str, Any], said: str
) -> None:
    async with Client(create_server(router)) as asking:
        told = error(await asking.call_tool(tool, arguments))
    assert said in told
    assert "secret" not in told


class _FailingEncoder(SeededEncoder):
    def encode(self, texts: Any) -> Any:
        raise OSError("cannot read /srv/secret/model.onnx")


async def test_what_goes_wrong_in_the_server_is_not_told_in_detail(router: AdaptiveRouter) -> None:
    closed = AdaptiveRouter(SeededEncoder())
    closed.close()
    async with Client(create_server(closed)) as asking:
        assert "this router was closed" in error(await asking.call_tool("route", {"text": BILLING}))
    with AdaptiveRouter(_FailingEncoder()) as failing:
        async with Client(create_server(failing)) as asking:
            assert error(await asking.call_tool("route", {"text": BILLING})) == "Error executing tool route"


# ---------------------------------------------------------------------------------------------------------- writing
async def test_routes_are_changed_and_the_history_says_by_whom(changing: AdaptiveRouter) -> None:
    async with Client(create_server(changing, writable=True, name="desk")) as asking:
        added = {"name": "hours", "utterances": ["when do you open", "opening hours"]}
        revision = content(await asking.call_tool("add_route", added))["revision"]
        assert revision == changing.revision
        assert changing.get_route("hours").utterances == tuple(added["utterances"])
        again = error(await asking.call_tool("add_route", added))
        await asking.call_tool("add_utterances", {"name": "hours", "utterances": ["are you open"]})
        await asking.call_tool("remove_utterance", {"name": "hours", "utterance": "opening hours"})
        assert changing.get_route("hours").utterances == ("when do you open", "are you open")
        bad = error(await asking.call_tool("add_route", {"name": "-", "utterances": ["x"]}))
        content(await asking.call_tool("delete_route", {"name": "hours"}))
        gone = error(await asking.call_tool("delete_route", {"name": "hours"}))
    assert "hours" not in changing
    assert "Error executing tool add_route: " in again
    assert "route name '-' is not accepted" in bad
    assert "there is no route 'hours'" in gone
    assert {entry.actor for entry in changing.history() if entry.route == "hours"} == {"mcp:desk"}


# -------------------------------------------------------------------------------------------------------- searching
WEATHER_TOOL = {
    "name": "get_weather",
    "description": "Get the weather forecast of a city.",
    "inputSchema": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "Its name."},
            "unit": {"enum": ["celsius", "fahrenheit"]},
        },
        "required": ["city"],
    },
}
CATALOGUE = [WEATHER_TOOL, {"name": "play_music", "description": "Play a song.", "inputSchema": {"type": "object"}}]


async def test_a_catalogue_is_searched_and_what_fits_nothing_finds_nothing(encoder: BundledEncoder) -> None:
    with ToolRouter(CATALOGUE, encoder=encoder) as tools:
        async with Client(create_server(None, tools)) as asking:
            assert [tool.name for tool in (await asking.list_tools()).tools] == ["search_tools"]
            asked: dict[str, Any] = {"query": "what is the weather forecast for Paris?", "k": 1}
            (found,) = content(await asking.call_tool("search_tools", asked))["tools"]
            nothing = content(await asking.call_tool("search_tools", {"query": "zzz qqq xxx"}))
            (match,) = tools.select(asked["query"], 1)
            refused = error(await asking.call_tool("search_tools", {"query": " "}))
    assert nothing == {"tools": []}
    assert "text is empty" in refused
    assert found == {
        "name": "get_weather",
        "description": "Get the weather forecast of a city.",
        "namespace": None,
        "confidence": pytest.approx(match.confidence),
        "score": pytest.approx(match.score),
        "parameters": [
            {"name": "city", "description": "Its name.", "type": "string", "required": True, "choices": []},
            {
                "name": "unit",
                "description": None,
                "type": found["parameters"][1]["type"],
                "required": False,
                "choices": ["celsius", "fahrenheit"],
            },
        ],
    }


async def test_a_search_stands_beside_the_routes(router: AdaptiveRouter, encoder: BundledEncoder) -> None:
    with ToolRouter(CATALOGUE, encoder=encoder) as tools:
        async with Client(create_server(router, tools)) as asking:
            assert [tool.name for tool in (await asking.list_tools()).tools] == [*READING, "search_tools"]


def test_a_server_needs_something_to_serve() -> None:
    with pytest.raises(InvalidInputError, match="there is no router"):
        create_server(None)


# ------------------------------------------------------------------------------------------------------ the command
@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory, encoder: BundledEncoder) -> Path:
    path = tmp_path_factory.mktemp("mcp") / "routes.db"
    with AdaptiveRouter(encoder, SQLiteStorage(path)) as router:
        router.add_routes(ROUTES)
        router.wait_until_fitted()
    return path


def environment() -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SYNAPTOROUTE_")}
    return clean | {"PYTHONPATH": str(SOURCE)}


async def test_a_client_starts_the_command_and_asks_it_on_stdio(
    db: Path, router: AdaptiveRouter, tmp_path: Path
) -> None:
    (tmp_path / "tools.json").write_text(json.dumps({"tools": CATALOGUE}))
    arguments = ["mcp", "--db", str(db), "--tools", str(tmp_path / "tools.json")]
    command = StdioServerParameters(command=sys.executable, args=["-m", "synaptoroute", *arguments], env=environment())
    async with Client(command) as asking:
        assert [tool.name for tool in (await asking.list_tools()).tools] == [*READING, "search_tools"]
        found = content(await asking.call_tool("search_tools", {"query": "play a song by Queen", "k": 1}))
        assert [tool["name"] for tool in found["tools"]] == ["play_music"]
        decided = content(await asking.call_tool("route", {"text": BILLING}))
        refused = error(await asking.call_tool("route", {"text": ""}))
    assert decided["name"] == "billing"
    assert decided["confidence"] == pytest.approx(router(BILLING).confidence)
    assert "at least 1 character" in refused


class _Served:
    """``synaptoroute mcp`` over HTTP in a process of its own."""

    def __init__(self, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "synaptoroute", "mcp", "--transport", "streamable-http", "--port", "0"]
            + [str(argument) for argument in arguments],
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self.listening = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if line.startswith("listening on "):
                self.listening.set()

    @property
    def url(self) -> str:
        """Where it listens, once it does."""
        assert self.listening.wait(SAFE_S), "".join(self.said)
        return next(line for line in self.said if line.startswith("listening on ")).split()[2]

    def ended(self) -> tuple[int, str]:
        self.process.terminate()
        code = self.process.wait(SAFE_S)
        self._reader.join(SAFE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code, "".join(self.said)


async def test_clients_ask_over_http_and_a_signal_ends_it(db: Path) -> None:
    served = _Served("--db", db, "--writable")
    try:
        modes: tuple[Mode, ...] = ("auto", "legacy")
        for mode in modes:
            async with Client(served.url, mode=mode) as asking:
                assert content(await asking.call_tool("route", {"text": WEATHER}))["name"] == "weather"
        async with Client(served.url) as asking:
            await asking.call_tool("add_route", {"name": "hours", "utterances": ["when do you open"]})
        # A page that has bound its own name to this address gets nothing.
        answer = httpx2.post(served.url, headers={"Host": "attacker.example"}, json={}, timeout=SAFE_S)
        assert answer.status_code == 421
    finally:
        code, said = served.ended()
    assert code in {0, -15}
    assert "Traceback" not in said
    # What was acknowledged is on disk.
    listed = run("routes", "list", "--db", db, "--json").stdout
    assert '"hours"' in listed


def test_what_the_command_cannot_do_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    missing = run("mcp", "--db", tmp_path / "gone.db")
    assert (missing.code, "there is no store" in missing.stderr) == (1, True)
    (tmp_path / "tools.json").write_text("{}")
    for file, said in (("tools.json", "it is no OpenAPI document"), ("gone.json", "cannot be read as JSON: No such")):
        broken = run("mcp", "--db", tmp_path / "none.db", "--tools", tmp_path / file)
        assert broken.code == 1
        broken = run("mcp", "--tools", tmp_path / file)
        assert (broken.code, said in broken.stderr) == (1, True), broken.stderr
    assert run("mcp", "--host", "0.0.0.0").code == 2  # noqa: S104
