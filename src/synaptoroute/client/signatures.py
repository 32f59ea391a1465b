"""Methods that look, to ``help`` and to editors, as the functions they are made of."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

Method = TypeVar("Method", bound=Callable[..., Any])


def as_method(method: Method, build: Callable[..., Any]) -> Method:
    """The method with the name, words and parameters of ``build``, behind the client itself."""
    signature = inspect.signature(build)
    client = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    method.__name__, method.__doc__ = build.__name__, build.__doc__
    method.__signature__ = signature.replace(  # type: ignore[attr-defined]  # ``inspect`` reads it
        parameters=[client, *signature.parameters.values()], return_annotation=_result(signature.return_annotation)
    )
    return method


def _result(annotation: Any) -> Any:
    """What the caller gets: ``Call[Decision]`` and ``Plan[Decision]`` give a Decision."""
    if isinstance(annotation, str) and annotation.endswith("]"):
        return annotation.partition("[")[2][:-1]
    return annotation
