"""ChatEndpoint: a language model behind OpenAI's chat API, or behind any server that speaks it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synaptoroute.encoder.remote import host_of, spare_key
from synaptoroute.errors import (
    AccessDeniedError,
    MissingExtraError,
    RateLimitedError,
    RemoteError,
    RemoteUnavailableError,
)
from synaptoroute.forking import PerProcess

if TYPE_CHECKING:
    from openai import OpenAI

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the model said.

    Attributes:
        text: Its words; empty if it said none.
        tokens: Of question and answer together; None if the server did not say.
    """

    text: str
    tokens: int | None


class ChatEndpoint:
    """Asks a language model. Timeouts and retries (of timeouts, lost connections, 429 and 5xx) are the client's.

    Args:
        model: As the server calls it.
        base_url: The server, by default ``OPENAI_BASE_URL`` or OpenAI.
        api_key: By default ``OPENAI_API_KEY``. A server on this machine may go without.
        client: An ``openai.OpenAI`` (or ``AzureOpenAI``) to use instead of the others.
        timeout_s: Seconds without a sign of the server after which an attempt is given up.
        max_retries: Attempts after the first.
        temperature: How freely it writes; the server's own unless given, which some models insist on.
        max_answer_tokens: Where an answer is cut off; the server's own unless given.

    Raises:
        MissingExtraError: The package openai is not installed.
        AccessDeniedError: There is no API key.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        client: OpenAI | None = None,
        timeout_s: float = 60.0,
        max_retries: int = 3,
        temperature: float | None = None,
        max_answer_tokens: int | None = None,
    ) -> None:
        try:
            import openai
        except ImportError as exc:
            raise MissingExtraError("ChatEndpoint", "openai") from exc
        self._model = model
        self._settings: dict[str, Any] = {"base_url": base_url, "timeout": timeout_s, "max_retries": max_retries}
        self._settings["api_key"] = api_key or spare_key(
            base_url or os.environ.get("OPENAI_BASE_URL"), "OPENAI_API_KEY"
        )
        self._options: dict[str, Any] = {"response_format": {"type": "json_object"}}
        if temperature is not None:
            self._options["temperature"] = temperature
        if max_answer_tokens is not None:
            self._options["max_tokens"] = max_answer_tokens
        self._given = client
        self._own: PerProcess[openai.OpenAI] = PerProcess()
        self._server = host_of(str(self._client().base_url))

    @property
    def model(self) -> str:
        """The model's name."""
        return self._model

    def __repr__(self) -> str:
        return f"ChatEndpoint({self._model!r}, server={self._server!r})"

    def ask(self, messages: Sequence[Message]) -> Answer:
        """What the model says to this. No message of an error tells the key or a text.

        Raises:
            AccessDeniedError: The server refuses the key.
            RateLimitedError: It was asked too much, retries included.
            RemoteUnavailableError: It cannot be reached, or did not answer in time, retries included.
            RemoteError: It refused the request, or answered something else than the chat API has.
        """
        import openai

        try:
            return self._answer(messages)
        except openai.BadRequestError as exc:
            if "response_format" not in str(exc.body) or "response_format" not in self._options:
                raise self._refused(exc) from None
            # A server that cannot be told to answer in JSON is only asked to, by the messages.
            del self._options["response_format"]
            return self.ask(messages)
        except openai.APITimeoutError as exc:
            raise RemoteUnavailableError(
                f"{self._server} did not answer in time, retries included; raise timeout_s or see if it is overloaded"
            ) from exc
        except openai.APIConnectionError as exc:
            raise RemoteUnavailableError(
                f"{self._server} cannot be reached ({exc.__cause__}); see if it runs and base_url is right"
            ) from exc
        except (openai.AuthenticationError, openai.PermissionDeniedError) as exc:
            # Without the cause: these answers like to repeat the key.
            raise AccessDeniedError(
                f"{self._server} refused the API key ({exc.status_code}); see api_key or OPENAI_API_KEY",
                status=exc.status_code,
            ) from None
        except openai.RateLimitError as exc:
            raise RateLimitedError(
                f"{self._server} was asked more than it allows (429), retries included; wait, or give max_retries",
                status=exc.status_code,
            ) from exc
        except openai.APIStatusError as exc:
            raise self._refused(exc) from exc
        except (openai.OpenAIError, ValueError) as exc:
            raise RemoteError(f"{self._server} sent no chat answer: {type(exc).__name__}") from exc

    def _answer(self, messages: Sequence[Message]) -> Answer:
        said: list[Any] = list(messages)
        completion: Any = self._client().chat.completions.create(model=self._model, messages=said, **self._options)
        choices = getattr(completion, "choices", None)
        if not isinstance(choices, list) or not choices:
            raise RemoteError(f"{self._server} sent no chat answer; see if base_url is that of its API, such as …/v1")
        text = getattr(getattr(choices[0], "message", None), "content", None)
        tokens = getattr(getattr(completion, "usage", None), "total_tokens", None)
        counted = isinstance(tokens, int) and not isinstance(tokens, bool) and tokens >= 0
        return Answer(text=text if isinstance(text, str) else "", tokens=tokens if counted else None)

    def _refused(self, exc: Any) -> RemoteError:
        code = exc.code if isinstance(exc.code, str) else None
        return RemoteError(
            f"{self._server} answered {exc.status_code} ({code or type(exc).__name__}) to a question for "
            f"{self._model!r}",
            status=exc.status_code,
            code=code,
        )

    def _client(self) -> OpenAI:
        return self._given if self._given is not None else self._own.get(self._connect)

    def _connect(self) -> OpenAI:
        import openai

        try:
            return openai.OpenAI(**self._settings)
        except openai.OpenAIError as exc:
            raise AccessDeniedError(
                "no API key for ChatEndpoint: set OPENAI_API_KEY, or pass api_key=... or client=..."
            ) from exc
