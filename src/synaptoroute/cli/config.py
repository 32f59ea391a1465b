"""``synaptoroute config``: which settings count, where each is from, and whether the file of them is sound."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synaptoroute.cli import completion, configured, output
from synaptoroute.cli.routes import Json

if TYPE_CHECKING:
    from synaptoroute.cli.settings_file import SettingsFile

File = Annotated[
    Path | None,
    typer.Argument(
        autocompletion=completion.files(".toml", ".yaml", ".yml"),
        help="The file; the one that counts unless given.",
    ),
]

app = typer.Typer(no_args_is_help=True, help="Settings from a file and from the environment: show and check them.")


@app.command("show")
def show(context: typer.Context, *, as_json: Json = False) -> None:
    """Show every setting with its value and where that is from. Secrets are masked."""
    from synaptoroute.cli import settings_file
    from synaptoroute.cli.settings import plain

    file = configured.file_of(context)
    settings = [
        {"key": key, "value": plain(value), "source": source, "variable": configured.variable(key)}
        for key, (value, source) in settings_file.effective(file).items()
    ]
    settings += _server_settings(file)
    if as_json:
        output.print_json({"file": None if file.path is None else str(file.path), "settings": settings})
        return
    rows = [[each["key"], _shown(each["value"]), each["source"], each["variable"]] for each in settings]
    output.print_table(["setting", "value", "from", "variable"], rows)
    output.note("there is no file of settings" if file.path is None else f"the file is {file.path}")


@app.command("path")
def path(context: typer.Context, *, as_json: Json = False) -> None:
    """Print the path of the file that counts. Exits with 1 if there is none, and tells where it is looked for."""
    named = context.find_root().params["config_file"]
    counts = configured.found(named)
    looked_for = [str(each) for each in configured.candidates()]
    if as_json:
        output.print_json({"file": None if counts is None else str(counts), "looked_for": looked_for})
    elif counts is not None:
        output.print_text(str(counts))
    else:
        output.error(f"there is no file of settings; looked for {', '.join(looked_for)}")
    if counts is None:
        raise typer.Exit(output.FAILED)


@app.command("check")
def check(
    context: typer.Context,
    file: File = None,
    *,
    as_json: Json = False,
) -> None:
    """Check the file of settings and the variables of the environment.

    Variables that nothing reads are slips, and the server would refuse to start.
    Exit codes: 0 sound, 1 not, 2 wrong usage.
    """
    from synaptoroute.cli import settings_file
    from synaptoroute.cli.settings import Settings
    from synaptoroute.errors import SynaptoRouteError

    problems: list[str] = []
    counts: Path | None = None
    try:
        counts = configured.found(file or context.find_root().params["config_file"])
        read = settings_file.read(counts)
        settings_file.effective(read)
        _server_settings(read)
    except SynaptoRouteError as exc:
        problems.append(str(exc))
    warnings: list[str] = []
    if not settings_file.server_keys():
        # Else the server's own check has found them.
        warnings = settings_file.unknown_variables(configured.variable(key) for key in Settings.model_fields)
    sound = not problems
    if as_json:
        path = None if counts is None else str(counts)
        output.print_json({"sound": sound, "file": path, "problems": problems, "warnings": warnings})
    else:
        for problem in problems:
            output.error(problem)
        for warning in warnings:
            output.note(f"warning: {warning}")
        if sound:
            output.note("there is no file of settings" if counts is None else f"{counts} is sound")
    if not sound:
        raise typer.Exit(output.FAILED)


def _shown(value: Any) -> output.Cell:
    return str(value).lower() if isinstance(value, bool) else value


def _server_settings(file: "SettingsFile") -> list[dict[str, Any]]:
    """The settings of ``serve`` that are not those of all commands; none where what it needs is not installed.

    Raises:
        InvalidSettingError: One of them cannot be accepted.
    """
    from synaptoroute.cli import settings_file
    from synaptoroute.cli.settings import SERVER, Settings, plain

    keys = [key for key in settings_file.server_keys() if key not in Settings.model_fields or key in file.server]
    if not keys:
        return []
    from synaptoroute.server import load_settings

    settings = load_settings(file.path)
    shown = []
    for key in keys:
        by_environment = bool(os.environ.get(configured.variable(key)))
        source = "environment" if by_environment else "file" if key in file.server else "default"
        value = plain(getattr(settings, key))
        shown.append({"key": f"{SERVER}.{key}", "value": value, "source": source, "variable": configured.variable(key)})
    return shown
