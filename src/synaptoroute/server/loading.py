"""Settings from arguments, the environment and a file; wrong ones are told by their names, with what is wanted."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import SettingsError

from synaptoroute.errors import InvalidSettingError, MissingExtraError
from synaptoroute.server.settings import PREFIX, ServerSettings

#: Settings of the other commands, which share the environment and the file with the server.
_OF_COMMANDS = {"url", "api_key", "data", "quiet"}
#: Read by other parts of the package, not by the server.
_OTHERS = {f"{PREFIX}{name}".upper() for name in (*_OF_COMMANDS, "cache", "config")}
#: What Kubernetes sets for a Service that is called synaptoroute (enableServiceLinks).
_SERVICE_LINK = re.compile(r"SYNAPTOROUTE_(SERVICE_.*|PORT_\d+_(TCP|UDP).*)")


def load_settings(file: Path | None = None, **given: Any) -> ServerSettings:
    """The settings: those given (None counts as not given), then the environment, then the file, then defaults.

    Args:
        file: TOML or YAML, by its extension, with the settings' names as keys. Those below a table ``server`` go before
            the others, which the commands share.
        given: Settings by name, as a command line gives them.

    Raises:
        InvalidSettingError: A setting cannot be accepted, is unknown, or does not go with another. The message names
            it, and says what is wanted; it never shows a secret.
    """
    _refuse_unknown_variables(os.environ)
    arguments = {name: value for name, value in given.items() if value is not None}
    content = _content(file) if file is not None else {}
    try:
        merged = _from_environment() | arguments
        settings = ServerSettings(**{**content, **merged})
    except ValidationError as exc:
        raise InvalidSettingError("\n".join(_told(error, file, arguments) for error in _errors(exc))) from None
    except SettingsError as exc:
        raise InvalidSettingError(str(exc)) from None
    _require_consistent(settings)
    return settings


def _from_environment() -> dict[str, Any]:
    """What the environment sets, before it is checked; so that it stands above the file and below arguments."""
    names = {f"{PREFIX}{name}".upper(): name for name in ServerSettings.model_fields}
    # An empty variable is how a compose file or a chart leaves one out.
    return {name: os.environ[variable] for variable, name in names.items() if os.environ.get(variable)}


def _content(file: Path) -> dict[str, Any]:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise InvalidSettingError(f"cannot read the settings in {file}: {reason}") from exc
    if file.suffix.lower() in {".yaml", ".yml"}:
        content = _yaml(text, file)
    elif file.suffix.lower() == ".toml":
        try:
            content = tomllib.loads(text)
        except tomllib.TOMLDecodeError as exc:
            raise InvalidSettingError(f"{file} is not TOML: {exc}") from exc
    else:
        raise InvalidSettingError(f"settings are read from .toml, .yaml or .yml, not from {file}; rename it")
    own = content.get("server", {})
    if not isinstance(own, dict):
        raise InvalidSettingError(f"server in {file} must be a table of settings")
    shared = {name: value for name, value in content.items() if name not in {"server", *_OF_COMMANDS}}
    return {name: _from_folder(file, name, value) for name, value in (shared | own).items()}


def _from_folder(file: Path, name: str, value: Any) -> Any:
    """Paths in a file are relative to its folder, wherever the server is started."""
    is_path = name in ServerSettings.model_fields and ServerSettings.model_fields[name].annotation == Path | None
    return str(file.parent / Path(value).expanduser()) if is_path and isinstance(value, str) else value


def _yaml(text: str, file: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError as exc:
        raise MissingExtraError("settings in YAML", "yaml") from exc
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as exc:
        mark = getattr(exc, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        raise InvalidSettingError(f"{file} is not YAML{place}; check its indentation and quotes") from None
    if not isinstance(content, dict | None):
        raise InvalidSettingError(f"{file} holds no settings: wanted lines such as 'port: 8000'")
    return {str(key): value for key, value in (content or {}).items()}


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = {f"{PREFIX}{name}".upper() for name in ServerSettings.model_fields}
    for variable in sorted(environment):
        if not variable.startswith(PREFIX) or variable in known | _OTHERS or _SERVICE_LINK.fullmatch(variable):
            continue
        raise InvalidSettingError(f"{variable} is no setting{_close(variable, known)}; correct or unset it")


def _close(name: str, known: set[str]) -> str:
    found = difflib.get_close_matches(name, sorted(known), n=1)
    return f", perhaps {found[0]} is meant" if found else ""


def _errors(exc: ValidationError) -> list[Any]:
    return list(exc.errors(include_url=False, include_context=False, include_input=False))


def _told(error: Any, file: Path | None, arguments: Mapping[str, Any]) -> str:
    name = str(error["loc"][0]) if error["loc"] else "settings"
    variable = f"{PREFIX}{name}".upper()
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        known = {field: field for field in ServerSettings.model_fields}
        return f"{name} in {file or 'the arguments'} is no setting{_close(name, set(known))}; correct or remove it"
    source = "as given" if name in arguments else f"by {variable}" if variable in os.environ else f"in {file}"
    hint = ""
    if name == "port" and os.environ.get(variable, "").startswith("tcp://"):
        hint = ". Kubernetes sets it for a Service of the same name: say enableServiceLinks: false in the pod"
    field = ServerSettings.model_fields.get(name)
    meant = f" ({field.description})" if field and field.description else ""
    return f"setting {name}, {source}: {message}{hint}{meant}"


def _require_consistent(settings: ServerSettings) -> None:
    if settings.db is not None and settings.postgres is not None:
        raise InvalidSettingError("settings db and postgres name two stores; set one of them")
    for name in ("routes", "keys_file", "tls_certificate", "tls_key"):
        path = getattr(settings, name)
        if path is not None and not path.is_file():
            raise InvalidSettingError(f"setting {name}: there is no file {path}; create it or correct the setting")
    if (settings.tls_certificate is None) != (settings.tls_key is None):
        raise InvalidSettingError("settings tls_certificate and tls_key belong together; set both or none")
    if settings.deadline_ms > settings.max_deadline_ms:
        raise InvalidSettingError("setting deadline_ms is above max_deadline_ms; lower the one or raise the other")
