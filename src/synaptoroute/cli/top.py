"""``synaptoroute top``: a running server as it is now, in a terminal."""

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synaptoroute.cli import output, remote
from synaptoroute.cli.figures import Samples, sampled
from synaptoroute.cli.routes import Json

if TYPE_CHECKING:
    from rich.console import RenderableType

_SPARKS = "▁▂▃▄▅▆▇█"
#: Seconds that the line of queries shows at most.
_SHOWN_S = 60


def top(
    *,
    url: remote.Url = remote.DEFAULT_URL,
    api_key: remote.ApiKey = None,
    interval_s: Annotated[float, typer.Option("--interval", min=0.2, max=60, help="Seconds between two looks.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Print what is there now, and end.")] = False,
    as_json: Json = False,
) -> None:
    """Watch a running server: queries, latency, abstention, queue, revision, synchronisation. Ctrl-C ends it.

    With --json, one object a line: with --once one, else one for every look. What the server does not tell is null.
    Exit codes: 0 ended, 1 the server cannot be reached or refuses, 2 wrong usage.
    """
    server = remote.Remote(url=url, key=api_key)
    if once:
        figures = sampled(server).figures(None)
        if as_json:
            output.print_json(figures)
        else:
            output.print_table(["figure", "value"], _rows(figures))
        return
    with suppress(KeyboardInterrupt):
        if as_json:
            _print(server, interval_s)
        else:
            _live(server, interval_s)


def _print(server: remote.Remote, interval_s: float) -> None:
    """One object a line, until Ctrl-C or the server goes away."""
    before = None
    while True:
        samples = sampled(server)
        output.print_json(samples.figures(before))
        before = samples
        time.sleep(interval_s)


def _live(server: remote.Remote, interval_s: float) -> None:
    """Draw until Ctrl-C. A server that goes away is waited for; one that was never there is an error."""
    from rich.console import Console
    from rich.live import Live

    first = sampled(server)
    before: Samples | None = first
    with Live(
        _screen(server.url, first.figures(None), None), console=Console(), screen=True, auto_refresh=False
    ) as live:
        while True:
            time.sleep(interval_s)
            try:
                samples = sampled(server)
            except remote.RemoteError as exc:
                live.update(_screen(server.url, None, str(exc)), refresh=True)
                before = None
                continue
            live.update(_screen(server.url, samples.figures(before), None), refresh=True)
            before = samples


def _screen(url: str, figures: dict[str, Any] | None, trouble: str | None) -> "RenderableType":
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    title = f"synaptoroute top  {output.visible(url)}"
    if figures is None:
        return Panel(Text(output.visible(trouble or "")), title=title, border_style="red")
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(justify="right")
    for name, value in _rows(figures):
        table.add_row(Text(str(name)), Text(output.visible(str(value))))
    parts: list[Any] = [table]
    if figures["seconds"]:
        parts += [Text(""), Text(f"queries per second, the last {min(len(figures['seconds']), _SHOWN_S)} s")]
        parts.append(Text(_sparkline(figures["seconds"][-_SHOWN_S:])))
    return Panel(Group(*parts), title=title, border_style="green" if figures["ready"] else "yellow")


def _rows(figures: dict[str, Any]) -> list[list[output.Cell]]:
    queue, latency, sync = figures["queue"], figures["latency_ms"], figures["sync"]
    rows: list[tuple[str, str]] = [
        ("state", "ready" if figures["ready"] else "not ready"),
        ("version", figures["version"]),
        ("up for", _duration(figures["uptime_s"])),
        ("encoder", figures["encoder"]),
        ("routes", _number(figures["routes"])),
        ("utterances", _number(figures["utterances"])),
        ("revision", _number(figures["revision"])),
        ("learned and compacted", "yes" if figures["settled"] else "not yet"),
        ("queries per second", _number(figures["queries_per_s"], 1)),
        ("abstained", "-" if figures["abstained"] is None else f"{figures['abstained']:.1%}"),
        ("turned away per second", _number(figures["shed_per_s"], 1)),
        ("latency p50 / p95 / p99, ms", " / ".join(_number(latency[name], 1) for name in ("p50", "p95", "p99"))),
        ("in the queue", _number(queue["queries"])),
        ("being encoded", _number(queue["encoding"])),
        ("queue wait p95, ms", _number(figures["queue_wait_p95_ms"], 1)),
        ("drift of confidence (PSI)", _number(figures["drift_psi"], 3)),
        ("synchronisation", "none" if sync is None else f"{sync['state']}, {_number(sync['lag'])} behind"),
    ]
    return [[name, value] for name, value in rows]


def _number(value: float | None, digits: int = 0) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _duration(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {left:02} s"


def _sparkline(values: list[int]) -> str:
    most = max(values, default=0) or 1
    return "".join(_SPARKS[min(len(_SPARKS) - 1, value * len(_SPARKS) // (most + 1))] for value in values)
