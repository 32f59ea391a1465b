"""When a call is tried again, and after how long: written once, without a clock and without waiting."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

from pydantic import ValidationError

from synaptoroute.client.call import Answer, Call, Pause
from synaptoroute.client.problems import problem, unreadable
from synaptoroute.errors import (
    InvalidInputError,
    RateLimitedError,
    RemoteUnavailableError,
    RouterOverloadedError,
    SynaptoRouteError,
)

T = TypeVar("T")

_PASSING = (RouterOverloadedError, RateLimitedError, RemoteUnavailableError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often calls that change nothing are tried, and for how long between tries.

    A wait doubles from try to try, is shortened at random by up to a half so that many clients do not come back at
    once, and is never shorter than the server's Retry-After.

    Attributes:
        attempts: Tries in all; 1 for no second one.
        first_s: The longest wait before the second try, in seconds.
        most_s: The longest wait of all. A server that asks for a longer one is not asked again.

    Raises:
        InvalidInputError: A value is out of its range.
    """

    attempts: int = 3
    first_s: float = 0.1
    most_s: float = 5.0

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise InvalidInputError(f"attempts is {self.attempts}, wanted at least 1")
        if not 0 <= self.first_s <= self.most_s:
            raise InvalidInputError(
                f"first_s is {self.first_s} and most_s {self.most_s}, wanted 0 <= first_s <= most_s"
            )

    def wait_s(self, tried: int, error: SynaptoRouteError, *, chance: float) -> float | None:
        """Seconds before the next try; None if there shall be none.

        Args:
            tried: How often, at least 1.
            error: What came of the last try.
            chance: A random number in [0, 1).
        """
        if tried >= self.attempts or not isinstance(error, _PASSING):
            return None
        asked_s = error.retry_after_s
        if asked_s > self.most_s:
            return None
        backoff_s = min(self.first_s * 2.0 ** (tried - 1), self.most_s) * (1 - chance / 2)
        # Never before the time the server named, and not all of its clients at that very moment.
        return max(backoff_s, asked_s * (1 + chance / 4)) if asked_s else backoff_s


def tried(
    call: Call[T], retries: Retries, clock: Callable[[], float]
) -> Generator[Call[T] | Pause, Answer | SynaptoRouteError | None, T]:
    """The result of a call, tried again where that is safe. Yields the call for each try, and pauses.

    Wants to be sent the answer for a call, or the error if there was none, and None after a pause.

    Args:
        call: What to ask.
        retries: How often.
        clock: Seconds that never go back.
    """
    started = clock()
    for number in count(1):
        outcome = yield call
        if outcome is None:
            raise TypeError("a call wants its answer, or the error")
        if isinstance(outcome, SynaptoRouteError):
            error = outcome
        elif (refused := problem(call, outcome)) is not None:
            error = refused
        else:
            return _read(call, outcome)
        # What never left this machine cannot have changed anything.
        again = call.safe or (isinstance(error, RemoteUnavailableError) and error.unsent)
        wait_s = retries.wait_s(number, error, chance=random.random()) if again else None  # noqa: S311  # no secret
        if wait_s is None or (call.within_s is not None and clock() - started + wait_s >= call.within_s):
            raise error
        yield Pause(wait_s)
    raise AssertionError


def _read(call: Call[T], answer: Answer) -> T:
    try:
        return call.read(answer)
    except (ValidationError, ValueError, KeyError, TypeError, RecursionError) as exc:
        # Not ``from exc``: what pydantic says repeats the texts.
        raise unreadable(call, answer, exc) from None
