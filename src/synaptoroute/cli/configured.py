"""How the file of settings reaches the options of every command.

Read before the other options of the command line, the file becomes their default, which is what Typer takes when
neither the command line nor the environment has a value.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from synaptoroute.errors import InvalidInputError, SynaptoRouteError

if TYPE_CHECKING:
    from synaptoroute.cli.settings_file import SettingsFile

CONFIG_VARIABLE = "SYNAPTOROUTE_CONFIG"
NAMES = ("synaptoroute.toml", "synaptoroute.yaml", "synaptoroute.yml")
PREFIX = "SYNAPTOROUTE_"
_IN_HOME = ("config.toml", "config.yaml", "config.yml")

_FILE, _ERROR = "synaptoroute.settings", "synaptoroute.settings.error"


def variable(key: str) -> str:
    """The environment's name of a setting."""
    return f"{PREFIX}{key.upper()}"


def candidates() -> list[Path]:
    """The files that are looked for if none is named, in this order: here, then in the folder for settings."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "synaptoroute"
    return [*(Path(name) for name in NAMES), *(home / name for name in _IN_HOME)]


def found(named: Path | None) -> Path | None:
    """The file that counts: the one that is named, else the first there is.

    Raises:
        InvalidInputError: There is no file of the given name.
    """
    if named is not None:
        if not named.is_file():
            raise InvalidInputError(f"there is no file {named}; name another with --config or {CONFIG_VARIABLE}")
        return named
    return next((path for path in candidates() if path.is_file()), None)


def load(context: typer.Context, named: Path | None) -> Path | None:
    """Let the file's settings be the defaults of all options that declare their variable.

    A file that is not sound is remembered: help and completion work all the same, and ``require_sound`` raises.
    """
    try:
        path = found(named)
        if path is None:
            return None
        from synaptoroute.cli import settings_file

        file = settings_file.read(path)
    except SynaptoRouteError as exc:
        context.meta[_ERROR] = exc
        return named
    context.meta[_FILE] = file
    if file.own:
        context.default_map = _defaults(context.command, {variable(key): value for key, value in file.own.items()})
    return path


def require_sound(context: typer.Context) -> None:
    """Raise what was wrong with the file of settings, if anything was."""
    if _ERROR in context.meta:
        raise context.meta[_ERROR]


def file_of(context: typer.Context) -> "SettingsFile":
    """The file of settings; one without a path if there is none. Raises what was wrong with it."""
    from synaptoroute.cli.settings_file import SettingsFile

    require_sound(context)
    file: SettingsFile = context.meta.get(_FILE, SettingsFile())
    return file


def _defaults(command: Any, values: dict[str, Any]) -> dict[str, Any]:
    """Parameter -> value, and subcommand -> the same for it."""
    defaults: dict[str, Any] = {}
    for parameter in command.params:
        names = parameter.envvar if isinstance(parameter.envvar, list) else [parameter.envvar]
        given = [values[name] for name in names if name in values]
        if given:
            defaults[parameter.name] = given[0]
    for name, subcommand in getattr(command, "commands", {}).items():
        if below := _defaults(subcommand, values):
            defaults[name] = below
    return defaults
