"""CallStages: when one call of ``route`` or its like came to each step of its way."""

from __future__ import annotations

import time


class CallStages:
    """The times of one call, in seconds of ``time.monotonic``; 0 for a step that it did not need.

    Made when the call begins, and only if a hook hears of queries; whoever takes the call a step further notes it. Once
    the call has ended nothing is changed any more.

    Attributes:
        began: When it was asked.
        taken: A worker took the first of its texts. Not needed by texts whose vectors are known.
        encoded: The last of its vectors was there.
        searched_from: Deciding began with a search for the nearest. Not needed where the decisions are known.
        ranked: The routes were ranked.
        decided: The decisions were made.
        ended: The caller had them, or an error.
    """

    __slots__ = ("began", "decided", "encoded", "ended", "ranked", "searched_from", "taken")

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.taken = self.encoded = self.searched_from = self.ranked = self.decided = self.ended = 0.0

    def decided_with(self, other: CallStages) -> None:
        """This call was decided together with another one."""
        self.searched_from, self.ranked, self.decided = other.searched_from, other.ranked, other.decided

    @property
    def total_s(self) -> float:
        """From the question to its answer, in seconds."""
        return self.ended - self.began

    @property
    def known(self) -> bool:
        """Whether the decisions were there already."""
        return not self.searched_from

    @property
    def queue_s(self) -> float | None:
        """Seconds until a worker began with it; None if none had to."""
        return self.taken - self.began if self.taken else None

    @property
    def encode_s(self) -> float | None:
        """Seconds from then until all its vectors were there, turns of others in between; None if they were known."""
        return self.encoded - self.taken if self.encoded else None

    @property
    def search_s(self) -> float | None:
        """Seconds for finding and ranking the nearest routes; None if the decisions were known."""
        return self.ranked - self.searched_from if self.ranked else None

    @property
    def decide_s(self) -> float | None:
        """Seconds for holding them against the limits; None if the decisions were known."""
        return self.decided - self.ranked if self.ranked and self.decided else None

    def spans(self) -> list[tuple[str, float, float]]:
        """(stage, from, to) of every stage it went through, in order: queue, encode, search, decide."""
        ends = [
            ("queue", self.began, self.taken),
            ("encode", self.taken, self.encoded),
            ("search", self.searched_from, self.ranked),
            ("decide", self.ranked, self.decided),
        ]
        return [(stage, start, end) for stage, start, end in ends if start and end]
