"""Asking within a budget."""

from __future__ import annotations

from collections.abc import Sequence

from synaptoroute.generating.endpoint import Answer, ChatEndpoint, Message
from synaptoroute.generating.records import Budget, Cost

#: Characters of English that make a token, about, for servers that do not count; and tokens of an answer of ten texts.
_CHARS_PER_TOKEN, _ANSWER_TOKENS = 4, 300


class Purse:
    """Asks as long as the budget lasts, and counts."""

    def __init__(self, llm: ChatEndpoint, budget: Budget) -> None:
        self._llm, self._budget = llm, budget
        self.cost = Cost()

    def allows(self, messages: Sequence[Message]) -> bool:
        """Whether one more request fits, by its length and that of a usual answer."""
        if self.cost.requests >= self._budget.requests:
            return False
        return self._budget.tokens is None or self.cost.tokens + expected_tokens(messages) <= self._budget.tokens

    def ask(self, messages: Sequence[Message]) -> str:
        """The model's words. Raises what ``ChatEndpoint.ask`` does; then the request is counted all the same."""
        try:
            answer = self._llm.ask(messages)
        except BaseException:
            self._count(messages, Answer("", None))
            raise
        self._count(messages, answer)
        return answer.text

    def _count(self, messages: Sequence[Message], answer: Answer) -> None:
        tokens = answer.tokens
        if tokens is None:
            tokens = length_tokens(messages) + len(answer.text) // _CHARS_PER_TOKEN
        self.cost = Cost(
            requests=self.cost.requests + 1,
            tokens=self.cost.tokens + tokens,
            estimated=self.cost.estimated or answer.tokens is None,
        )


def length_tokens(messages: Sequence[Message]) -> int:
    """Tokens of the question, by its length."""
    return sum(len(message["content"]) for message in messages) // _CHARS_PER_TOKEN


def expected_tokens(messages: Sequence[Message]) -> int:
    """Tokens of the question and of an answer to it, by their usual lengths."""
    return length_tokens(messages) + _ANSWER_TOKENS
