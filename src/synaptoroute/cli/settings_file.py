"""The file of settings: where it is looked for, how it is read, and what is said about its mistakes."""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from synaptoroute.cli.configured import PREFIX, variable
from synaptoroute.cli.settings import OTHER_VARIABLES, SERVER, Settings, Source
from synaptoroute.errors import InvalidInputError

#: Settings are a page or two; what is larger is another file.
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsFile:
    """What a file says.

    Attributes:
        path: The file; None if there is none.
        own: The settings of the commands, valid, as they are passed to options.
        server: The table ``[server]`` as it stands there.
    """

    path: Path | None = None
    own: Mapping[str, Any] = field(default_factory=dict)
    server: Mapping[str, Any] = field(default_factory=dict)


def read(path: Path | None) -> SettingsFile:
    """What the file says, its settings checked.

    Raises:
        InvalidInputError: It cannot be read, is neither TOML nor YAML, or has a key or a value that is not accepted;
            the message names the file, the line and, for an unknown key, the nearest known one.
        MissingExtraError: YAML needs the extra ``yaml``.
    """
    if path is None:
        return SettingsFile()
    text, document = parsed(path)
    server = document.pop(SERVER, {})
    if not isinstance(server, dict):
        raise InvalidInputError(f"{_place(path, text, SERVER)}: {SERVER} must be a table of the settings of 'serve'")
    require_known(path, text, document, [*Settings.model_fields, SERVER])
    return SettingsFile(path=path, own=_valid(path, text, document), server=server)


def parsed(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a file and what it holds. Raises what ``read`` raises for a file that is neither TOML nor YAML."""
    import tomllib

    from synaptoroute.route_files import parsed_yaml, read_text

    if path.suffix.lower() not in {".toml", ".yaml", ".yml"}:
        raise InvalidInputError(f"{path}: settings are in a file .toml or .yaml, got {path.suffix!r}")
    if path.stat().st_size > _MOST_BYTES:
        raise InvalidInputError(f"{path} is over {_MOST_BYTES >> 20} MiB; a file of settings is smaller")
    text = read_text(path, str(path))
    if path.suffix.lower() == ".toml":
        try:
            return text, tomllib.loads(text)
        except tomllib.TOMLDecodeError as exc:
            raise InvalidInputError(f"{path}: not TOML: {exc}") from exc
    try:
        document = parsed_yaml(text)
    except InvalidInputError as exc:
        raise InvalidInputError(f"{path}: {exc}") from exc
    except (ValueError, RecursionError) as exc:
        raise InvalidInputError(f"{path}: not YAML: {exc}") from exc
    if document is None:
        return text, {}
    if not isinstance(document, dict):
        raise InvalidInputError(f"{path}: wanted keys and values, got {type(document).__name__}")
    return text, document


def require_known(path: Path, text: str, given: Iterable[Any], known: Iterable[str], table: str = "") -> None:
    """Raise InvalidInputError for the first key that is not known, with the nearest that is."""
    known = list(known)
    for key in given:
        if key not in known:
            name = f"{table}.{key}" if table else str(key)
            advice = f"; put it below [{SERVER}]" if key in server_keys() else nearest(str(key), known)
            raise InvalidInputError(f"{_place(path, text, key)}: unknown key {name!r}{advice}")


def server_keys() -> tuple[str, ...]:
    """The settings of ``serve``; none where what it needs is not installed."""
    from synaptoroute.errors import MissingExtraError

    try:
        from synaptoroute.server import ServerSettings
    except MissingExtraError:
        return ()
    return tuple(ServerSettings.model_fields)


def nearest(word: str, known: Iterable[str]) -> str:
    """What to say after an unknown word: the nearest known one, or all of them."""
    known = list(known)
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; known are {', '.join(known)}"


def unknown_variables(known: Iterable[str]) -> list[str]:
    """One line for each variable of ours in the environment that nothing reads, most likely a slip."""
    names = [*known, *OTHER_VARIABLES]
    return [
        f"nothing reads the variable {name}{nearest(name, names)}"
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name not in names
    ]


def effective(file: SettingsFile) -> dict[str, tuple[Any, Source]]:
    """Each setting with its value and where that is from.

    Raises:
        InvalidInputError: A variable of the environment has a value that is not accepted.
    """
    from pydantic import ValidationError

    values: dict[str, tuple[Any, Source]] = {}
    for key, info in Settings.model_fields.items():
        given = os.environ.get(variable(key))
        if given:
            try:
                values[key] = getattr(Settings.model_validate({key: given}), key), "environment"
            except ValidationError as exc:
                problem = exc.errors(include_input=False)[0]["msg"]
                raise InvalidInputError(f"{variable(key)}: {problem[0].lower()}{problem[1:]}") from None
        elif key in file.own:
            values[key] = getattr(Settings.model_validate({key: file.own[key]}), key), "file"
        else:
            values[key] = info.default, "default"
    return values


def _valid(path: Path, text: str, document: dict[str, Any]) -> dict[str, Any]:
    """The settings as options take them; paths are taken from the file's folder."""
    from pydantic import ValidationError

    try:
        settings = Settings.model_validate(document)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False)[0]
        key = str(error["loc"][0])
        problem = f"{error['msg'][0].lower()}{error['msg'][1:]}"
        raise InvalidInputError(f"{_place(path, text, key)}: {key}: {problem}") from None
    valid: dict[str, Any] = {}
    for key in settings.model_fields_set:
        value = getattr(settings, key)
        if isinstance(value, Path):
            value = path.parent / value.expanduser()
        if value is not None:
            valid[key] = value.get_secret_value() if hasattr(value, "get_secret_value") else value
    return valid


def _place(path: Path, text: str, key: Any) -> str:
    """The file, with the line where the key stands if it is found."""
    stands = re.compile(rf"\s*\[*[\"']?{re.escape(str(key))}[\"']?\s*[=:\]]")
    numbers = (number for number, line in enumerate(text.splitlines(), start=1) if stands.match(line))
    number = next(numbers, None)
    return str(path) if number is None else f"{path}: line {number}"
