"""The operations of an OpenAPI document, as tools."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from synaptoroute.describing import Parameter
from synaptoroute.describing.described import one_line
from synaptoroute.describing.parameters import resolved, schema_parameters
from synaptoroute.errors import InvalidInputError, InvalidToolError
from synaptoroute.route_files import MAX_FILE_BYTES, parsed_yaml
from synaptoroute.tools.tool import Tool

_METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace", "query")


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What a tool of an OpenAPI document calls; its ``Tool.source``.

    Attributes:
        method: In capitals.
        path: With its parameters in braces.
        definition: The operation as the document has it.
    """

    method: str
    path: str
    definition: Mapping[str, Any]


def tools_from_openapi(document_or_path: Mapping[str, Any] | str | Path, *, namespace: str | None = None) -> list[Tool]:
    """A tool for each operation of an OpenAPI document (2.0, 3.0, 3.1 or 3.2), in its order.

    A tool is named by its ``operationId``, or by method and path where there is none.

    Args:
        document_or_path: The document, or a file of it in JSON or YAML (with the extra ``yaml``).
        namespace: Of all these tools; None takes the first tag of each operation.

    Raises:
        InvalidToolError: The file cannot be read, or is not an OpenAPI document with at least one operation, or a part
            of it is broken. The message names the place.
        MissingExtraError: YAML needs the extra ``yaml``.
    """
    if isinstance(document_or_path, Mapping):
        document, where = document_or_path, "the OpenAPI document"
    else:
        document, where = _read(Path(document_or_path)), str(document_or_path)
    version = document.get("openapi", document.get("swagger"))
    if not isinstance(version, str):
        raise InvalidToolError(f"{where} has no key openapi (or swagger) with a version; it is no OpenAPI document")
    found: dict[str, tuple[Tool, str]] = {}
    for operation, place, shared in _operations(document, where):
        tool = _tool(operation, shared, document, place, namespace)
        if tool.name in found:
            raise InvalidToolError(
                f"{place}: the operationId {tool.name!r} is taken by {found[tool.name][1]}; give it another"
            )
        found[tool.name] = tool, place
    if not found:
        raise InvalidToolError(f"{where}: paths: there is not one operation to make a tool of")
    return [tool for tool, _ in found.values()]


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InvalidToolError(f"{path} is over {MAX_FILE_BYTES >> 20} MiB, the most that is read")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as exc:
        raise InvalidToolError(f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise InvalidToolError(f"{path} is not UTF-8; save it as UTF-8") from exc
    try:
        content = parsed_yaml(text) if path.suffix in (".yaml", ".yml") else json.loads(text)
    except json.JSONDecodeError as exc:
        raise InvalidToolError(f"{path}: line {exc.lineno}: not JSON: {exc.msg}") from exc
    except InvalidInputError as exc:
        raise InvalidToolError(f"{path}: {exc}") from exc
    except RecursionError:
        raise InvalidToolError(f"{path} is nested too deeply") from None
    return _object(content, str(path))


def _operations(document: Mapping[str, Any], where: str) -> Iterator[tuple[Operation, str, list[Any]]]:
    """Each operation, its place, and the parameters that its path shares."""
    for path, item in _object(document.get("paths", {}), f"{where}: paths").items():
        place = f"{where}: paths.{path}"
        item = resolved(item, place, document=document)
        shared = _list(item.get("parameters"), f"{place}.parameters")
        for method in _METHODS:
            if method in item:
                definition = _object(item[method], f"{place}.{method}")
                yield (
                    Operation(method=method.upper(), path=str(path), definition=definition),
                    f"{place}.{method}",
                    shared,
                )


def _tool(
    operation: Operation, shared: list[Any], document: Mapping[str, Any], place: str, namespace: str | None
) -> Tool:
    definition = operation.definition
    own = _list(definition.get("parameters"), f"{place}.parameters")
    parameters = {
        parameter.name: parameter
        for number, each in enumerate([*shared, *own])
        for parameter in _parameters(each, f"{place}.parameters[{number}]", document)
    }
    for parameter in _body(definition.get("requestBody"), f"{place}.requestBody", document):
        parameters.setdefault(parameter.name, parameter)
    said = [definition.get("summary"), *str(definition.get("description") or "").splitlines()]
    tags = _list(definition.get("tags"), f"{place}.tags")
    operation_id = definition.get("operationId")
    unnamed = f"{operation.method.lower()} {operation.path}"
    try:
        return Tool(
            name=operation_id if isinstance(operation_id, str) and operation_id else _name_of(unnamed),
            description="\n".join(filter(None, map(one_line, said))) or None,
            parameters=tuple(parameters.values()),
            namespace=namespace or next((tag for tag in tags if isinstance(tag, str) and tag.strip()), None),
            source=operation,
        )
    except InvalidToolError as exc:
        raise InvalidToolError(f"{place}: {exc}") from exc


def _name_of(unnamed: str) -> str:
    """As "get /users/{id}" becomes "get_users_id"; what is too long loses its end."""
    return "_".join("".join(letter if letter.isalnum() else " " for letter in unnamed).split())[:128]


def _parameters(each: Any, place: str, document: Mapping[str, Any]) -> Iterator[Parameter]:
    """One, or, where it is the body of version 2.0, those within."""
    found = resolved(each, place, document=document)
    schema = found.get("schema", found)
    if found.get("in") == "body":
        yield from schema_parameters(schema, f"{place}.schema", document=document)
        return
    name = found.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidToolError(f"{place}: a parameter has no name")
    (parameter, *_) = schema_parameters({"properties": {name: schema}}, place, document=document)
    said = one_line(found.get("description")) or parameter.description
    yield replace(parameter, description=said, required=found.get("required") is True)


def _body(body: Any, place: str, document: Mapping[str, Any]) -> tuple[Parameter, ...]:
    if body is None:
        return ()
    content = _object(resolved(body, place, document=document).get("content", {}), f"{place}.content")
    # What is sent as JSON says most; any other form has the same arguments.
    kind = next((kind for kind in content if "json" in kind), next(iter(content), None))
    if kind is None:
        return ()
    schema = _object(content[kind], f"{place}.content.{kind}").get("schema", {})
    return schema_parameters(schema, f"{place}.content.{kind}.schema", document=document)


def _object(value: Any, place: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidToolError(f"{place}: an object is wanted, got {type(value).__name__}")
    return value


def _list(value: Any, place: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise InvalidToolError(f"{place}: a list is wanted, got {type(value).__name__}")
    return value or []
