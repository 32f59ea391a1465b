"""Functions: their signature, and their docstring."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from enum import Enum
from functools import partial
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from synaptoroute.describing.described import Described, Parameter, one_line
from synaptoroute.describing.docstrings import read_docstring
from synaptoroute.errors import InvalidToolError

_GATHERED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def describe_function(function: Callable[..., Any]) -> Described:
    """What a function, method, partial or object with ``__call__`` says about itself.

    The docstring may be in Google's, NumPy's or Sphinx's style; doctests in it are left out, and so are ``*args`` and
    ``**kwargs``. A description in ``Annotated`` comes before the docstring's.

    Raises:
        InvalidToolError: It cannot be called, or has no name of its own, as a lambda.
    """
    if not callable(function):
        raise InvalidToolError(f"a function is wanted, got {type(function).__name__}")
    inner: Any = function
    while isinstance(inner, partial):
        inner = inner.func
    named = hasattr(inner, "__name__")
    name = str(inner.__name__ if named else type(inner).__name__)
    if name == "<lambda>":
        raise InvalidToolError("a lambda does not say what it is for; define a function with a name and a docstring")
    docstring = inspect.getdoc(inner)
    if not named:
        docstring = inspect.getdoc(type(inner).__call__) or docstring
    documented = read_docstring(docstring)
    hints = _hints(inner if named else type(inner).__call__)
    return Described(
        name=name,
        description=documented.description,
        parameters=tuple(
            _parameter(each, hints.get(each.name, each.annotation), documented.descriptions, documented.types)
            for each in _signature(function)
            if each.kind not in _GATHERED
        ),
    )


def _signature(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some functions written in C have none
        return []


def _hints(function: Any) -> dict[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - annotations are any code, and only tell here
        return {}


def _parameter(
    each: inspect.Parameter, annotation: Any, descriptions: Mapping[str, str], types: Mapping[str, str]
) -> Parameter:
    said: str | None = None
    if get_origin(annotation) is Annotated:
        annotation, *extras = get_args(annotation)
        told = [one_line(extra if isinstance(extra, str) else getattr(extra, "description", None)) for extra in extras]
        said = next(filter(None, told), None)
    return Parameter(
        name=each.name,
        description=said or descriptions.get(each.name),
        type=_type(annotation) or types.get(each.name),
        required=each.default is inspect.Parameter.empty,
        choices=_choices(annotation),
    )


def _type(annotation: Any) -> str | None:
    if annotation is inspect.Parameter.empty or annotation is Any:
        return None
    return annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)


def _choices(annotation: Any) -> tuple[str, ...]:
    """Of a Literal or an Enum, also as one side of a union."""
    if get_origin(annotation) is Literal:
        return tuple(map(str, get_args(annotation)))
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return tuple(str(member.value) for member in annotation)
    sides = map(_choices, get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else ()
    return tuple(dict.fromkeys(choice for side in sides for choice in side))
