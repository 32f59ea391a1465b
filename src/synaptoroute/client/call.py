"""What the two clients send and get, without any I/O: a call, its answer, and plans of several calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, TypeVar
from urllib.parse import quote

from synaptoroute.errors import InvalidInputError

T = TypeVar("T")

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the server answered.

    Attributes:
        status: Of HTTP.
        headers: By lower-case name.
        body: Whole.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request, and how its answer is read.

    Attributes:
        operation: Its id in the server's openapi.json.
        method: Of HTTP.
        path: From the base URL on, percent-encoded.
        read: Makes the result of a 2xx answer.
        query: What follows the path.
        body: Whole; None for none.
        headers: Beyond those that every request has.
        safe: Asking twice does no more than asking once, so that it may be tried again.
        within_s: The caller's own deadline, tries and waits together; None for none.
        accepted: Statuses beside 2xx that ``read`` takes.
    """

    operation: str
    method: Method
    path: str
    read: Callable[[Answer], T]
    query: Mapping[str, str | list[str]] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    safe: bool = False
    within_s: float | None = None
    accepted: frozenset[int] = frozenset()


class Pause(NamedTuple):
    """A plan's wish to be gone on with later."""

    seconds: float


#: Several calls in turn: it yields each and is sent its result, and returns its own.
Plan: TypeAlias = "Generator[Call[Any] | Pause, Any, T]"


def path(*parts: str | int) -> str:
    """A path of the API; every part is one segment, whatever it is made of."""
    return "".join(f"/{quote(str(part), safe='')}" for part in ("v1", *parts))


def query(**values: object) -> dict[str, str | list[str]]:
    """The values as they stand in a URL; None leaves one out, a list stands for one after another."""
    return {
        name: [_word(item) for item in value] if isinstance(value, list | tuple) else _word(value)
        for name, value in values.items()
        if value is not None
    }


def as_json(value: object) -> bytes:
    """A body. Raises InvalidInputError for what JSON cannot hold: NaN, lone surrogates, other types."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        # The message would repeat the text.
        raise InvalidInputError("a text is not valid Unicode (a lone surrogate); decode it properly") from None
    except (TypeError, ValueError, RecursionError) as exc:
        raise InvalidInputError(f"this cannot be sent as JSON: {exc}") from None


def sending(value: object) -> dict[str, Any]:
    """The fields of a Call that send a JSON body."""
    return {"body": as_json(value), "headers": {"content-type": JSON}}


def based_on(revision: int | None) -> dict[str, str]:
    """The header that makes a change depend on a revision: 0 for what must be new, None for none."""
    if revision is None:
        return {}
    return {"if-none-match": "*"} if revision == 0 else {"if-match": f'"{revision}"'}


def _word(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
