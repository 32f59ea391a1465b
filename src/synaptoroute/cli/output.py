"""What the commands print: data on stdout, messages on stderr. Tables fit a terminal and are complete in a pipe."""

import getpass
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

FAILED = 1
ABSTAINED = 3

Cell = str | int | float | None

#: Cells up to this many characters are never wrapped on a terminal.
_SHORT_CHARS = 16
#: Whether notes and progress are left out.
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)
#: A picture among the utterances, as ``encoder.pictures`` writes it: thousands of letters nobody can read.
_PICTURE = re.compile(r"data:image/(\w+);base64,([A-Za-z0-9+/=]{40,})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def user() -> str | None:
    """Who runs the command, for the history; None if the system has no name for them."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # Not a name but a number, as in many containers; before Python 3.13 this is a KeyError.
        return None


def be_quiet(quiet: bool) -> None:  # noqa: FBT001  # what it sets is its name
    """Leave out notes and progress from now on, or print them again. Data and errors are always printed."""
    _quiet.set(quiet)


def error(message: str) -> None:
    """One line on stderr, beginning with ``error:``."""
    _to_stderr("error: ", "bold red", message)


def note(message: str) -> None:
    """One line on stderr about what was done, unless the command is to be quiet."""
    if not _quiet.get():
        _to_stderr("", "", message)


def print_json(value: Any) -> None:
    """One line of JSON on stdout."""
    print(json.dumps(value, ensure_ascii=False), flush=True)  # noqa: T201


def print_text(line: str) -> None:
    """One line on stdout."""
    print(visible(line))  # noqa: T201


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """A table on stdout: wrapped to the width of a terminal, else aligned columns as wide as their content."""
    table = [[_shown(cell) for cell in row] for row in rows]
    numeric = [all(isinstance(row[place], int | float | None) for row in rows) for place in range(len(columns))]
    if sys.stdout.isatty():
        _print_rich(columns, table, numeric)
    else:
        _print_plain(columns, table, numeric)


def visible(text: str) -> str:
    r"""The text with control characters as escapes, so that none of them reaches a terminal or breaks a line.

    Of a picture only the format and size are told.
    """
    text = _PICTURE.sub(lambda found: f"[picture, {found[1]}, {len(found[2]) * 3 // 4:,} bytes]", text)
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


@contextmanager
def progress(doing: str, counted: str | None = None) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on stderr if that is a terminal. Gives the function that is told how many of how many are done.

    Args:
        doing: What is being done.
        counted: What the numbers are of, for a bar that shows them.
    """
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    columns = Progress.get_default_columns()
    if counted is not None:
        columns = (*columns, MofNCompleteColumn(), TextColumn(counted))
    with Progress(*columns, console=console, transient=True, disable=_quiet.get() or not console.is_terminal) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def on_terminal() -> bool:
    """Whether stderr is a terminal, so that ``progress`` draws a bar."""
    from rich.console import Console

    return Console(stderr=True).is_terminal


def _to_stderr(prefix: str, style: str, message: str) -> None:
    from rich.console import Console
    from rich.text import Text

    text = Text.assemble((prefix, style), visible(" ".join(message.splitlines())))
    Console(stderr=True, highlight=False).print(text, soft_wrap=True)


def _shown(cell: Cell) -> str:
    if cell is None:
        return "-"
    return f"{cell:.3f}" if isinstance(cell, float) else visible(str(cell))


def _print_rich(columns: Sequence[str], table: list[list[str]], numeric: list[bool]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        short = all(len(row[place]) <= _SHORT_CHARS for row in table)
        justify: Literal["left", "right"] = "right" if numeric[place] else "left"
        shown.add_column(column, justify=justify, no_wrap=short, overflow="fold")
    for row in table:
        # Text, because a query may hold what rich would take for markup.
        shown.add_row(*(Text(cell) for cell in row))
    Console(highlight=False).print(shown)


def _print_plain(columns: Sequence[str], table: list[list[str]], numeric: list[bool]) -> None:
    # Lengths in terminal cells: a Chinese character takes two.
    from rich.cells import cell_len

    lines = [list(columns), *table]
    widths = [max(cell_len(line[place]) for line in lines) for place in range(len(columns))]
    for line in lines:
        cells = []
        for cell, width, right in zip(line, widths, numeric, strict=True):
            padding = " " * (width - cell_len(cell))
            cells.append(padding + cell if right else cell + padding)
        print("  ".join(cells).rstrip())  # noqa: T201
