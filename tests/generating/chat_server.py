"""A server on a real socket that speaks the chat completions API and says what a test puts into its mouth."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

#: Tells the client to try again after a millisecond.
SOON = {"retry-after-ms": "1"}

Say = Callable[[dict[str, Any]], str]


def listed(*texts: str) -> str:
    return json.dumps({"texts": texts})


class ChatServer:
    """Answers like OpenAI.

    Attributes:
        requests: The bodies received.
        headers: Their headers.
        says: What is said to each body.
        failures: Answers to give before the proper ones.
        usage: What is said about tokens; None says nothing.
    """

    def __init__(self, http: HTTPServer) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.says: Say = lambda body: listed()
        self.failures: list[Response] = []
        self.usage: dict[str, int] | None = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
        self.url = http.url_for("/v1")
        http.expect_request("/v1/chat/completions", method="POST").respond_with_handler(self._answer)

    def say(self, *answers: str) -> None:
        """These, one after another; then empty lists."""
        left = list(answers)
        self.says = lambda body: left.pop(0) if left else listed()

    def asked(self, number: int = -1) -> str:
        """What the user's message of a request said."""
        return str(self.requests[number]["messages"][-1]["content"])

    def _answer(self, request: Request) -> Response:
        body = request.get_json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        if self.failures:
            return self.failures.pop(0)
        message = {"role": "assistant", "content": self.says(body)}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        answer = {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"], "choices": choices}
        return Response(json.dumps(answer | {"usage": self.usage}), content_type="application/json")


def failing(status: int, error: dict[str, Any] | None = None, times: int = 1) -> Sequence[Response]:
    """So many answers that fail."""
    body = json.dumps({"error": error or {"message": "no", "code": "broken"}})
    return [Response(body, status, SOON, content_type="application/json") for _ in range(times)]
