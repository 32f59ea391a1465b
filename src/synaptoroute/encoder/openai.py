"""Vectors from OpenAI, or from any server that speaks its embeddings API, as an extra."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from synaptoroute.encoder.base import Vectors
from synaptoroute.encoder.remote import CONCURRENCY, check_limits, encode_remotely, host_of, spare_key, unit_rows
from synaptoroute.errors import (
    EncoderError,
    EncoderOutputError,
    EncoderUnavailableError,
    InvalidInputError,
    MissingExtraError,
)
from synaptoroute.forking import PerProcess

if TYPE_CHECKING:
    from openai import OpenAI

#: Most inputs OpenAI takes in one request (its API reference for "Create embeddings").
MAX_INPUTS = 2_048
#: OpenAI takes 300,000 tokens in one request (same source). Its tokens are one byte of UTF-8 or more, so this many
#: bytes are never too many.
MAX_REQUEST_BYTES = 300_000

_DIMS = {"text-embedding-3-small": 1_536, "text-embedding-3-large": 3_072, "text-embedding-ada-002": 1_536}
#: Only these can be asked for shorter vectors.
_RESIZABLE = "text-embedding-3"


class OpenAIEncoder:
    """An embeddings model behind OpenAI's API; float32 unit vectors of 1,536 numbers by default.

    Azure, Ollama, vLLM, TEI, infinity and others speak it too: pass ``base_url`` and ``dim``, and ``batch_size`` where
    the server takes fewer texts (docs/encoders.md has a line for each). Vectors are asked for in base64; a server that
    sends numbers instead is understood.

    Many texts are sent in several requests, up to ``concurrency`` of one call at once. Timeouts and retries (of
    timeouts, lost connections, 408, 409, 429 and 5xx; as long as the server asks for, else with exponential backoff
    and jitter) are the official client's. A forked child opens connections of its own.

    A text must not be longer than the model accepts (8,192 tokens at OpenAI): the server refuses it, it is not cut.

    Args:
        model: As the server calls it.
        dim: Length of the vectors. Known for OpenAI's own models; needed for others. The text-embedding-3 models
            are asked for vectors of this length, of all others it is only checked.
        base_url: The server, by default ``OPENAI_BASE_URL`` or OpenAI.
        client: An ``openai.OpenAI`` (or ``AzureOpenAI``) to use instead of ``base_url``, ``api_key``, ``timeout_s``
            and ``max_retries``. Making it safe to fork is up to its owner.
        api_key: By default ``OPENAI_API_KEY``. A server on this machine may go without.
        timeout_s: Seconds without a sign of the server after which an attempt is given up.
        max_retries: Attempts after the first. All together can take (1 + max_retries) times the timeout and waits of
            at most 8 seconds, or what the server asks for, up to 2 minutes each.
        batch_size: Most texts in one request, 1 to 2,048; some servers accept only 32.
        concurrency: Requests of one call under way at once.
        query_prefix: Put before every query, where the model behind the server was trained with one ("query: " for e5,
            "search_query: " for nomic-embed-text).
        prefix: Put before every utterance, such as "passage: ". To match like with like, give both the same.

    Raises:
        MissingExtraError: The package openai is not installed.
        InvalidInputError: The model cannot have that dim, its dim is not known, or the arguments contradict.
        EncoderUnavailableError: There is no API key.
    """

    #: Who makes the vectors, as OpenTelemetry names them.
    provider = "openai"

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        *,
        dim: int | None = None,
        base_url: str | None = None,
        client: OpenAI | None = None,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        max_retries: int = 3,
        batch_size: int = MAX_INPUTS,
        concurrency: int = CONCURRENCY,
        query_prefix: str = "",
        prefix: str = "",
    ) -> None:
        try:
            from openai import AsyncOpenAI
        except ImportError as exc:
            raise MissingExtraError("OpenAIEncoder", "openai") from exc
        if isinstance(client, AsyncOpenAI):
            raise InvalidInputError("client is an AsyncOpenAI, wanted an OpenAI; the router brings its own threads")
        if client is not None and (base_url is not None or api_key is not None):
            raise InvalidInputError("client comes with its own base_url and api_key; give either it or them")
        check_limits(concurrency, batch_size, MAX_INPUTS)
        self._model = model
        self._dim = _checked_dim(model, dim)
        self._request: dict[str, Any] = {"model": model, "encoding_format": "base64"}
        if dim is not None and model.startswith(_RESIZABLE):
            self._request["dimensions"] = dim
        self._batch_size, self._concurrency = batch_size, concurrency
        self._query_prefix, self._prefix = query_prefix, prefix
        self._given = client
        self._own: PerProcess[OpenAI] = PerProcess()
        self._settings: dict[str, Any] = {"base_url": base_url, "timeout": timeout_s, "max_retries": max_retries}
        base_url = base_url or os.environ.get("OPENAI_BASE_URL")
        self._settings["api_key"] = api_key or spare_key(base_url, "OPENAI_API_KEY")
        self._server = host_of(str(getattr(self._client(), "base_url", "")))
        prefixes = [query_prefix, prefix] if query_prefix or prefix else []
        identity = json.dumps([self._server, model, self._dim, *prefixes])
        self._fingerprint = f"{model}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"

    @property
    def name(self) -> str:
        """The model's name."""
        return self._model

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Changes with server, model, dim and prefixes. A change of the model behind its name, nobody can see."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"OpenAIEncoder({self.name!r}, dim={self.dim}, server={self._server!r})"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit rows, float32 (len(texts), dim), in order.

        Raises:
            EncoderUnavailableError: The server cannot be reached, does not answer in time, or refuses the key.
            EncoderOutputError: It answered with something else than one finite vector of length dim for each text.
            EncoderError: It refused the request, or failed after all retries.
        """
        return self._encoded(self._prefix, texts)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of queries; raises as ``encode``."""
        return self._encoded(self._query_prefix, texts)

    def _encoded(self, prefix: str, texts: Sequence[str]) -> Vectors:
        return encode_remotely(
            [prefix + text for text in texts] if prefix else texts,
            self.dim,
            self._asked,
            most=self._batch_size,
            most_bytes=MAX_REQUEST_BYTES,
            concurrency=self._concurrency,
        )

    def _asked(self, texts: list[str]) -> Vectors:
        with speaking_openai(self._server, self.name, len(texts)):
            answer = self._client().embeddings.create(input=texts, **self._request)
        return self._unit_vectors(answer, len(texts))

    def _unit_vectors(self, answer: Any, count: int) -> Vectors:
        items = getattr(answer, "data", None)
        if not isinstance(items, list) or len(items) != count:
            seen = f"{len(items)} vectors" if isinstance(items, list) else "no list of vectors"
            raise EncoderOutputError(f"{self._server} answered with {seen} for {count} texts")
        indexes = [getattr(item, "index", None) for item in items]
        if not all(isinstance(index, int) for index in indexes) or set(indexes) != set(range(count)):
            raise EncoderOutputError(f"{self._server} answered with indexes other than 0 to {count - 1}, each once")
        rows = dict(zip(indexes, items, strict=True))
        sent = [decoded(getattr(rows[row], "embedding", None), self._server) for row in range(count)]
        return unit_rows(sent, count, self.dim, server=self._server, name=self.name)

    def _client(self) -> OpenAI:
        return self._given if self._given is not None else self._own.get(self._connect)

    def _connect(self) -> OpenAI:
        import openai

        try:
            return openai.OpenAI(**self._settings)
        except openai.OpenAIError as exc:
            raise EncoderUnavailableError(
                "no API key for OpenAIEncoder: set OPENAI_API_KEY, or pass api_key=... or client=..."
            ) from exc


def _checked_dim(model: str, dim: int | None) -> int:
    known = _DIMS.get(model)
    if dim is None:
        if known is None:
            raise InvalidInputError(f"the vector length of {model!r} is not known here; pass dim=<its length>")
        return known
    if dim < 1 or (known is not None and (dim > known or (dim < known and not model.startswith(_RESIZABLE)))):
        raise InvalidInputError(f"{model!r} has no vectors of length {dim}; its own length is {known}")
    return dim


def decoded(embedding: object, server: str) -> object:
    """One vector, sent as base64 of little-endian float32 or, by servers that know no base64, as numbers."""
    if not isinstance(embedding, str):
        return embedding
    try:
        return np.frombuffer(base64.b64decode(embedding), "<f4")
    except ValueError as exc:
        raise EncoderOutputError(f"{server} answered with something else than vectors: {exc}") from exc


@contextmanager
def speaking_openai(server: str, name: str, count: int, *, key: str = "api_key or OPENAI_API_KEY") -> Iterator[None]:
    """Turns what the official client raises into this package's errors.

    No message tells the key, the credentials in a URL or a text.

    Args:
        server: Host and port.
        name: The model's name.
        count: Texts in the request.
        key: Where the key comes from.
    """
    import openai

    try:
        yield
    except openai.APITimeoutError as exc:
        raise EncoderUnavailableError(
            f"{server} did not answer in time, retries included; raise timeout_s or see if it is overloaded"
        ) from exc
    except openai.APIConnectionError as exc:
        raise EncoderUnavailableError(
            f"{server} cannot be reached ({exc.__cause__}); see if it runs and base_url is right"
        ) from exc
    except (openai.AuthenticationError, openai.PermissionDeniedError) as exc:
        # Without the cause: these answers like to repeat the key.
        raise EncoderUnavailableError(f"{server} refused the API key ({exc.status_code}); see {key}") from None
    except openai.APIStatusError as exc:
        code = getattr(exc, "code", None) or type(exc).__name__
        fewer = "; if it takes fewer texts at once, pass batch_size" if count > 1 and exc.status_code < 429 else ""
        raise EncoderError(
            f"{server} answered {exc.status_code} ({code}) to {count} texts "
            f"for {name}{fewer}; its own words are in the cause"
        ) from exc
    except (openai.OpenAIError, ValueError) as exc:
        raise EncoderOutputError(f"{server} sent no embeddings answer: {type(exc).__name__}") from exc
