"""What functions say about themselves."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from synaptoroute.describing import Parameter, describe_function, words_of
from synaptoroute.errors import InvalidToolError


def google(city: str, *, unit: Literal["celsius", "fahrenheit"] = "celsius", days: int | None = None) -> str:
    """Tell the weather of a city.

    The forecast reaches ``days`` ahead,
    as :class:`~weather.Forecast` says.

    >>> google("Paris")
    'sunny'

    Args:
        city: Where, for example
            "Paris".
        unit: Of temperatures.
        days (int, optional): How far ahead.

    Returns:
        A sentence.

    Raises:
        ValueError: There is no such city.
    """
    return f"{city} {unit} {days}"


def numpy_style(city, unit="celsius"):  # type: ignore[no-untyped-def]
    """Tell the weather of a city.

    Parameters
    ----------
    city : str
        Where.
    unit : {"celsius", "fahrenheit"}, optional
        Of temperatures.

    Returns
    -------
    str
        A sentence.
    """
    return city, unit


def sphinx_style(city, unit="celsius"):  # type: ignore[no-untyped-def]
    """Tell the weather of a city.

    :param city: Where.
    :type city: str
    :param unit: Of temperatures.
    :returns: A sentence.
    :raises ValueError: There is no such city.
    """
    return city, unit


@pytest.mark.parametrize("function", [google, numpy_style, sphinx_style])
def test_every_style_of_docstring_is_read(function: Callable[..., Any]) -> None:
    described = describe_function(function)
    assert described.description is not None
    assert described.description.splitlines()[0] == "Tell the weather of a city."
    assert "sentence" not in described.description
    city, unit = described.parameters[:2]
    assert (city.name, city.type, city.required) == ("city", "str", True)
    assert city.description in ("Where.", 'Where, for example "Paris".')
    assert (unit.name, unit.description, unit.required) == ("unit", "Of temperatures.", False)


def test_a_doctest_is_no_description() -> None:
    described = describe_function(google)
    assert described.name == "google"
    assert described.description == (
        "Tell the weather of a city.\nThe forecast reaches days ahead, as weather.Forecast says."
    )


def test_choices_come_from_literals_and_enums_within_unions_too() -> None:
    class Colour(Enum):
        RED = "red"
        BLUE = "blue"

    def paint(
        colour: Colour, size: Literal[1, 2] | None = None, finish: Annotated[str, "How it shines"] = "matt"
    ) -> None:
        """Paint a wall."""

    # Annotations of names that live in a function cannot be resolved; what they say is kept as text.
    assert describe_function(paint).parameters[0].type == "Colour"
    paint.__annotations__ = {"colour": Colour, "size": Literal[1, 2] | None, "finish": Annotated[str, "How it shines"]}
    colour, size, finish = describe_function(paint).parameters
    assert colour.choices == ("red", "blue")
    assert size.choices == ("1", "2")
    assert finish == Parameter(name="finish", description="How it shines", type="str")


def annotated(
    amount: Annotated[float, Field(gt=0, description="In euros.")], *others: int, note: Any = None, **more: int
) -> None:
    """Pay.

    Args:
        amount: Another description.
        note: For the receiver.
        *others: Left out.
    """


def test_what_annotated_says_comes_before_the_docstring_and_gathered_arguments_are_left_out() -> None:
    assert describe_function(annotated).parameters == (
        Parameter(name="amount", description="In euros.", type="float", required=True),
        Parameter(name="note", description="For the receiver."),
    )


class Mailer:
    """Something that mails."""

    def send(self, to: str) -> None:
        """Send a mail."""

    def __call__(self, to: str) -> None:
        """Mail somebody."""


def test_methods_partials_and_callable_objects_are_functions_too() -> None:
    assert [each.name for each in describe_function(Mailer().send).parameters] == ["to"]
    called = describe_function(Mailer())
    assert (called.name, called.description, len(called.parameters)) == ("Mailer", "Mail somebody.", 1)
    bound = describe_function(partial(google, days=3))
    assert bound.name == "google"
    assert [each.required for each in bound.parameters] == [True, False, False]
    assert describe_function(print).description


def test_an_async_function_is_described_like_any_other() -> None:
    async def fetch(address: str) -> None:
        """Fetch a page."""

    assert describe_function(fetch).description == "Fetch a page."


def test_without_a_docstring_there_is_no_description() -> None:
    def get_weather(city: str) -> None: ...

    described = describe_function(get_weather)
    assert described.description is None
    assert described.parameters[0].description is None


@pytest.mark.parametrize("thing", [lambda x: x, partial(lambda x: x)])
def test_a_lambda_is_refused(thing: Callable[..., Any]) -> None:
    with pytest.raises(InvalidToolError, match="lambda"):
        describe_function(thing)


def test_what_cannot_be_called_is_refused() -> None:
    with pytest.raises(InvalidToolError, match="function is wanted, got int"):
        describe_function(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("getWeather_v2", "get weather v2"),
        ("HTTPServer", "http server"),
        ("größe_ändern", "größe ändern"),
        ("--", "--"),
    ],
)
def test_names_are_read_as_words(name: str, words: str) -> None:
    assert words_of(name) == words
