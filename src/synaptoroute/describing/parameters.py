"""The arguments that the JSON schema of an object lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any
from urllib.parse import unquote

from synaptoroute.describing.described import Parameter, one_line
from synaptoroute.errors import InvalidToolError

#: How deep objects within objects are told, and how many arguments at most: what lies deeper says little about what a
#: tool is for.
DEPTH, MOST = 3, 200
#: A schema can refer to itself in so many ways that following them all would take for ever.
_STEPS, _NESTED = 20_000, 32


def schema_parameters(
    schema: Any, place: str, *, document: Any = None, described: Mapping[str, str] | None = None
) -> tuple[Parameter, ...]:
    """The arguments in their own order; those within an object follow it, reached by dots.

    Args:
        schema: Of an object.
        place: What errors name first, such as "tool 'pay': parameters".
        document: Where references begin; the schema itself by default. Others are left alone: nothing is fetched.
        described: What arguments mean that the schema does not describe.

    Raises:
        InvalidToolError: A part is not what JSON schema wants, or a reference leads nowhere or back to itself.
    """
    walk = _Walk(schema if document is None else document)
    found = islice(walk.arguments(_Part(schema, place), DEPTH), MOST)
    return tuple(walk.parameter(name, part, described or {}) for name, part in found)


def resolved(schema: Any, place: str, *, document: Any) -> Mapping[str, Any]:
    """The object of the document that a reference, or several in a row, lead to. Raises as ``schema_parameters``."""
    found: Mapping[str, Any] = _Walk(document).followed(_Part(schema, place)).schema
    return found


@dataclass(frozen=True, slots=True)
class _Part:
    """A schema within the document.

    Attributes:
        schema: As it stands there, or what its reference leads to.
        place: For errors.
        refs: The references that were followed on the way here; none is followed twice.
        depth: How many schemas it lies within.
        required: Whether what it describes has to be given, going by the object around it.
        certain: False on one side of a union.
    """

    schema: Any
    place: str
    refs: frozenset[str] = frozenset()
    depth: int = 0
    required: bool = False
    certain: bool = True

    def at(self, step: str, schema: Any, *, required: bool = False, certain: bool = True) -> _Part:
        """What lies within."""
        return _Part(schema, f"{self.place}.{step}", self.refs, self.depth + 1, required, certain)


class _Walk:
    """A way through one document."""

    def __init__(self, document: Any) -> None:
        self._document = document
        self._steps = 0

    def arguments(self, part: _Part, depth: int, prefix: str = "") -> Iterator[tuple[str, _Part]]:
        """The dotted name of each argument, and its schema."""
        seen: set[str] = set()
        for side in self._sides(part):
            properties = side.schema.get("properties", {})
            if not isinstance(properties, Mapping):
                raise InvalidToolError(f"{side.place}.properties: an object is wanted, got {type(properties).__name__}")
            required = side.schema.get("required")
            needed = required if isinstance(required, list | tuple) and side.certain else ()
            for name, schema in properties.items():
                if name in seen:
                    continue
                seen.add(name)
                inner = side.at(f"properties.{name}", schema, required=name in needed)
                yield f"{prefix}{name}", inner
                if depth > 1:
                    yield from self.arguments(inner, depth - 1, f"{prefix}{name}.")
            if prefix and isinstance(side.schema.get("items"), Mapping):
                yield from self.arguments(side.at("items", side.schema["items"]), depth, prefix)

    def parameter(self, name: str, part: _Part, described: Mapping[str, str]) -> Parameter:
        """What the schema says of one argument."""
        sides = [side.schema for side in self._sides(part)]
        said = next(filter(None, (one_line(side.get("description")) for side in sides)), None)
        return Parameter(
            name=name,
            description=said or described.get(name),
            type=self._type(part),
            required=part.required,
            choices=tuple(dict.fromkeys(choice for side in sides for choice in _choices(side))),
        )

    def _type(self, part: _Part) -> str | None:
        """The names of its types, joined by "or"; null is not one of them."""
        found: list[str] = []
        for side in self._sides(part):
            kinds = side.schema.get("type")
            for kind in [kinds] if isinstance(kinds, str) else kinds if isinstance(kinds, list) else []:
                items = self._type(side.at("items", side.schema["items"])) if side.schema.get("items") else None
                found.append(f"array of {items}" if kind == "array" and items else str(kind))
        return " or ".join(dict.fromkeys(kind for kind in found if kind != "null")) or None

    def _sides(self, part: _Part) -> Iterator[_Part]:
        """The schema, then whatever it is made of: all of ``allOf``, and each side of a union."""
        self._steps += 1
        if self._steps > _STEPS or part.depth > _NESTED:
            return
        part = self.followed(part)
        yield part
        for key in ("allOf", "anyOf", "oneOf"):
            inner = part.schema.get(key, [])
            if not isinstance(inner, list | tuple):
                raise InvalidToolError(f"{part.place}.{key}: a list is wanted, got {type(inner).__name__}")
            for number, schema in enumerate(inner):
                certain = part.certain and (key == "allOf" or len(inner) == 1)
                yield from self._sides(part.at(f"{key}[{number}]", schema, certain=certain))

    def followed(self, part: _Part) -> _Part:
        """What a reference leads to, with what stands beside it; nothing where the way has been there already."""
        schema = part.schema
        beside: dict[str, Any] = {}
        here: list[str] = []
        while True:
            if isinstance(schema, bool):
                schema = {}  # anything, or nothing
            if not isinstance(schema, Mapping):
                raise InvalidToolError(f"{part.place}: a schema (an object) is wanted, got {type(schema).__name__}")
            beside = {**{key: value for key, value in schema.items() if key != "$ref"}, **beside}
            ref = schema.get("$ref")
            if not isinstance(ref, str) or not (ref == "#" or ref.startswith("#/")) or ref in part.refs:
                return replace(part, schema=beside, refs=part.refs.union(here))
            if ref in here:
                raise InvalidToolError(f"{part.place}: $ref {ref!r} leads back to itself; let it name a schema")
            here.append(ref)
            schema = self._target(ref, part.place)

    def _target(self, ref: str, place: str) -> Any:
        found = self._document
        for step in ref.split("/")[1:]:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(found, Mapping) and key in found:
                found = found[key]
            elif isinstance(found, list) and key.isdecimal() and int(key) < len(found):
                found = found[int(key)]
            else:
                raise InvalidToolError(f"{place}: $ref {ref!r} leads nowhere; there is no {key!r} there")
        return found


def _choices(schema: Mapping[str, Any]) -> list[str]:
    values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    return [str(value) for value in values if value is not None] if isinstance(values, list | tuple) else []
