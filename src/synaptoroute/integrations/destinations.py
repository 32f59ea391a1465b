"""What integrations share, free of any framework: which text is the query, and where a decision leads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from synaptoroute.errors import InvalidInputError, RouteNotFoundError
from synaptoroute.models import Decision
from synaptoroute.router import AdaptiveRouter

#: What a value's query is found by: a key of a mapping or an attribute, a function, or None for the value itself.
Key = str | Callable[[Any], Any] | None

_HUMAN = frozenset({"human", "user"})


def query_of(value: Any, key: Key = None) -> str:
    """The text to route: a text, that of a message, or that of the last message of a human in a list.

    Messages are known by their looks: LangChain's, or dicts with ``role`` and ``content``.

    Args:
        value: What a framework hands over: a text, messages, or a state that has them.
        key: Where in the value the text or the messages are.

    Raises:
        InvalidInputError: There is no text to be found there.
    """
    found = _found(value, key)
    text = _text(found.to_messages() if hasattr(found, "to_messages") else found)
    if text is None:
        raise InvalidInputError(
            f"{_place(key)} is a {type(found).__name__} without a text of a human; wanted a text, a message or a list "
            "of messages, or a key that leads to one"
        )
    return text


def _found(value: Any, key: Key) -> Any:
    if key is None:
        return value
    if callable(key):
        return key(value)
    try:
        return value[key] if isinstance(value, Mapping) else getattr(value, key)
    except (KeyError, AttributeError):
        raise InvalidInputError(f"there is no {key!r} in the {type(value).__name__}; name another key") from None


def _place(key: Key) -> str:
    return "the input" if key is None else f"what is under {key!r}" if isinstance(key, str) else "what key returned"


def _text(found: Any) -> str | None:
    if isinstance(found, str):
        return str(found)
    if isinstance(found, Sequence):
        return next((_text(message) for message in reversed(found) if _role(message) in _HUMAN), None)
    text = found.get("content") if isinstance(found, Mapping) else getattr(found, "text", None)
    return str(text) if isinstance(text, str) else None


def _role(message: Any) -> object:
    return message.get("role") if isinstance(message, Mapping) else getattr(message, "type", None)


@dataclass(frozen=True, kw_only=True)
class Destinations:
    """Where decisions lead.

    Attributes:
        of_route: Route -> destination.
        fallback: Where a decision leads that abstained or chose a route without a destination.
    """

    of_route: Mapping[str, str]
    fallback: str

    @classmethod
    def over(
        cls, router: AdaptiveRouter, destinations: Mapping[str, str] | Iterable[str] | None, *, fallback: str
    ) -> Destinations:
        """The destinations, each of whose routes must be the router's.

        Args:
            router: Decides.
            destinations: Route -> destination, or routes that are named like theirs; None for all routes there are.
            fallback: See above.

        Raises:
            RouteNotFoundError: The router has no such route; a misspelled one would never be taken.
        """
        if destinations is None:
            destinations = [route.name for route in router.routes]
        if not isinstance(destinations, Mapping):
            destinations = {name: name for name in destinations}
        require_routes(router, destinations)
        return cls(of_route=dict(destinations), fallback=fallback)

    @property
    def all(self) -> list[str]:
        """Every destination once, the fallback last unless a route leads there too."""
        return list(dict.fromkeys([*self.of_route.values(), self.fallback]))

    def of(self, decisions: Iterable[Decision]) -> list[str]:
        """One destination or more, each once; the fallback only if there is no other."""
        names = [decision.name for decision in decisions if decision.name is not None]
        return list(dict.fromkeys(self.of_route[name] for name in names if name in self.of_route)) or [self.fallback]


def require_routes(router: AdaptiveRouter, names: Iterable[str]) -> None:
    """Raise RouteNotFoundError unless the router has routes of all these names."""
    unknown = [name for name in names if name not in router]
    if unknown:
        raise RouteNotFoundError(
            f"the router has no route {', '.join(map(repr, unknown[:5]))}; correct the name, or add the route first"
        )
