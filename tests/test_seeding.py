"""Routes made of code: which utterances they begin with, and that siblings are told apart."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.describing import Described, Parameter
from synaptoroute.encoder import BundledEncoder
from synaptoroute.errors import InvalidInputError, InvalidRouteError
from synaptoroute.seeding import seeds


def book_flight(origin: str, destination: str, cabin: Literal["economy", "business"] = "economy") -> str:
    """Book a flight between two cities. Takes the cheapest connection.

    Args:
        origin: Where it begins.
        destination: Where it ends.
        cabin: The class.

    Returns:
        The number of the booking.
    """
    return f"{origin}{destination}{cabin}"


def book_train(origin: str, destination: str) -> str:
    """Book a train between two cities."""
    return f"{origin}{destination}"


def cancel_booking(number: str) -> None:
    """Cancel a booking that was made before."""


class Unit(Enum):
    CELSIUS = "celsius"
    FAHRENHEIT = "fahrenheit"


class WeatherReport(BaseModel):
    """Tell what the weather is like."""

    city: str = Field(description="Where")
    unit: Unit = Unit.CELSIUS


WEATHER_ALERT = {
    "type": "function",
    "function": {
        "name": "weather_alert",
        "description": "Warn of storms and floods.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
            "required": ["city"],
        },
    },
}


def test_a_function_gives_name_description_and_utterances() -> None:
    route = Route.from_function(book_flight)
    assert route.name == "book_flight"
    assert route.description is not None
    assert route.description.startswith("Book a flight between two cities.")
    assert route.utterances == (
        "Book a flight between two cities. Takes the cheapest connection",
        "book flight",
        "book flight economy",
        "book flight business",
        "book flight origin destination",
    )
    assert route.threshold is None


def test_what_siblings_share_makes_no_utterance_and_no_part_of_one() -> None:
    route = Route.from_function(book_flight, siblings=[book_flight, book_train, cancel_booking])
    assert "book flight" in route.utterances
    assert not any("origin" in text for text in route.utterances)
    other = Route.from_function(book_train, siblings=[book_flight, book_train, cancel_booking])
    assert other.utterances == ("Book a train between two cities", "book train")


def test_what_few_of_many_siblings_share_still_tells() -> None:
    many = [Described(name=f"tool_{n}", description=f"Do thing {n}.", parameters=()) for n in range(8)]
    route = Route.from_function(book_flight, siblings=[*many, book_train])
    assert "book flight origin destination" in route.utterances


def test_choices_that_two_schemas_share_are_left_out() -> None:
    alone = Route.from_model(WeatherReport)
    assert "weather report celsius" in alone.utterances
    among = Route.from_model(WeatherReport, siblings=[WEATHER_ALERT])
    assert not any("celsius" in text for text in among.utterances)
    assert among.utterances == ("Tell what the weather is like", "weather report")


def test_a_route_may_be_a_sibling() -> None:
    sibling = Route(name="rain", utterances=["weather report for tomorrow"], description="Tell how it is")
    assert "weather report" not in Route.from_model(WeatherReport, siblings=[sibling]).utterances


def test_examples_come_first_and_stay() -> None:
    route = Route.from_schema(WEATHER_ALERT, examples=["is a storm coming"])
    assert route.utterances[:2] == ("is a storm coming", "Warn of storms and floods")


def test_something_is_left_where_nothing_tells_it_apart() -> None:
    twin = Described(name="other", description="Do it for a city.", parameters=(Parameter(name="city"),))
    assert seeds(Described(name="city", description="Do it for a city.", parameters=()), [twin]) == (
        "Do it for a city",
    )
    assert seeds(Described(name="x", description=None, parameters=()), []) == ("x",)


def test_a_schema_that_refers_to_itself_ends() -> None:
    node: dict[str, Any] = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}, "required": ["next"]}
    schema = {"name": "walk_tree", "description": "Walk a tree.", "input_schema": {**node, "$defs": {"Node": node}}}
    assert Route.from_schema(schema).utterances[:2] == ("Walk a tree", "walk tree")


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: Route.from_function(lambda text: text), InvalidInputError),
        (lambda: Route.from_function(3), InvalidInputError),  # type: ignore[arg-type]
        (lambda: Route.from_schema({"type": "object"}), InvalidInputError),
        (lambda: Route.from_schema({"name": "#!", "description": "x", "parameters": {}}), InvalidRouteError),
        (lambda: Route.from_function(book_train, siblings=["book"]), InvalidInputError),
        (lambda: Route.from_function(book_train, examples="book"), InvalidInputError),
    ],
)
def test_what_does_not_say_what_it_is_for_is_refused(make: Callable[[], Route], error: type[Exception]) -> None:
    with pytest.raises(error):
        make()


def test_routes_of_functions_route(encoder: BundledEncoder) -> None:
    functions: list[Callable[..., object]] = [book_flight, book_train, cancel_booking]
    with AdaptiveRouter(encoder) as router:
        router.add_routes([Route.from_function(each, siblings=functions) for each in functions])
        router.wait_until_fitted()
        found = router.route_many(["I need to fly to Rome", "a train to Milan please", "cancel my booking"])
    assert [decision.matches[0].name for decision in found] == ["book_flight", "book_train", "cancel_booking"]
