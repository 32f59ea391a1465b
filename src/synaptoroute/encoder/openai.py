"""Vectors from OpenAI, or from any server that speaks its embeddings API, as an extra."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from synaptoroute.encoder.base import Vectors
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

    Many texts are sent in several requests, one after the other. Timeouts and retries (of timeouts, lost connections,
    429 and 5xx, with backoff) are the official client's. A forked child opens connections of its own.

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
    ) -> None:
        try:
            from openai import AsyncOpenAI
        except ImportError as exc:
            raise MissingExtraError("OpenAIEncoder", "openai") from exc
        if isinstance(client, AsyncOpenAI):
            raise InvalidInputError("client is an AsyncOpenAI, wanted an OpenAI; the router brings its own threads")
        if client is not None and (base_url is not None or api_key is not None):
            raise InvalidInputError("client comes with its own base_url and api_key; give either it or them")
        if not 1 <= batch_size <= MAX_INPUTS:
            raise InvalidInputError(f"batch_size is {batch_size}, wanted 1 to {MAX_INPUTS:,}")
        self._model = model
        self._dim = _checked_dim(model, dim)
        self._request: dict[str, Any] = {"model": model, "encoding_format": "base64"}
        if dim is not None and model.startswith(_RESIZABLE):
            self._request["dimensions"] = dim
        self._batch_size = batch_size
        self._given = client
        self._own: PerProcess[OpenAI] = PerProcess()
        self._settings: dict[str, Any] = {"base_url": base_url, "timeout": timeout_s, "max_retries": max_retries}
        self._settings["api_key"] = api_key or _spare_key(base_url)
        self._server = _host(str(getattr(self._client(), "base_url", "")))
        identity = json.dumps([self._server, model, self._dim])
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
        """Changes with server, model and dim. That a server changed the model behind a name, nobody can see."""
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
        vectors = np.empty((len(texts), self.dim), np.float32)
        for rows in _requests(texts, self._batch_size):
            vectors[rows] = self._unit_vectors(self._answer(list(texts[rows])), rows.stop - rows.start)
        return vectors

    def _answer(self, texts: list[str]) -> Any:
        """The server's answer. No message tells the key, the credentials in a URL or a text."""
        import openai

        try:
            return self._client().embeddings.create(input=texts, **self._request)
        except openai.APITimeoutError as exc:
            raise EncoderUnavailableError(
                f"{self._server} did not answer in time, retries included; raise timeout_s or see if it is overloaded"
            ) from exc
        except openai.APIConnectionError as exc:
            raise EncoderUnavailableError(
                f"{self._server} cannot be reached ({exc.__cause__}); see if it runs and base_url is right"
            ) from exc
        except (openai.AuthenticationError, openai.PermissionDeniedError) as exc:
            # Without the cause: these answers like to repeat the key.
            raise EncoderUnavailableError(
                f"{self._server} refused the API key ({exc.status_code}); see api_key or OPENAI_API_KEY"
            ) from None
        except openai.APIStatusError as exc:
            raise EncoderError(
                f"{self._server} answered {exc.status_code} ({exc.code or type(exc).__name__}) to {len(texts)} texts "
                f"for {self.name}; its own words are in the cause"
            ) from exc
        except (openai.OpenAIError, ValueError) as exc:
            raise EncoderOutputError(f"{self._server} sent no embeddings answer: {type(exc).__name__}") from exc

    def _unit_vectors(self, answer: Any, count: int) -> Vectors:
        items = getattr(answer, "data", None)
        if not isinstance(items, list) or len(items) != count:
            seen = f"{len(items)} vectors" if isinstance(items, list) else "no list of vectors"
            raise EncoderOutputError(f"{self._server} answered with {seen} for {count} texts")
        indexes = [getattr(item, "index", None) for item in items]
        if not all(isinstance(index, int) for index in indexes) or set(indexes) != set(range(count)):
            raise EncoderOutputError(f"{self._server} answered with indexes other than 0 to {count - 1}, each once")
        vectors = np.empty((count, self.dim), np.float32)
        for index, item in zip(indexes, items, strict=True):
            vectors[index] = self._decoded(getattr(item, "embedding", None))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise EncoderOutputError(f"{self._server} answered with a NaN, infinite or zero vector")
        unit: Vectors = vectors / lengths
        return unit

    def _decoded(self, embedding: object) -> Vectors:
        """One vector, sent as base64 of little-endian float32 or, by servers that know no base64, as numbers."""
        try:
            if isinstance(embedding, str):
                vector = np.frombuffer(base64.b64decode(embedding), "<f4")
            else:
                vector = np.asarray(embedding, np.float32)
        except (TypeError, ValueError) as exc:
            raise EncoderOutputError(f"{self._server} answered with something else than vectors: {exc}") from exc
        if vector.shape != (self.dim,):
            raise EncoderOutputError(
                f"{self._server} answered with a vector of shape {vector.shape}, wanted ({self.dim},); "
                f"pass dim=<the length {self.name} has there>"
            )
        return vector

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


def _requests(texts: Sequence[str], most: int) -> Iterator[slice]:
    """Consecutive slices of at most ``most`` texts and 300,000 bytes; a larger text goes alone."""
    start, size = 0, 0
    for row, text in enumerate(texts):
        text_bytes = len(text.encode())
        if row > start and (row - start == most or size + text_bytes > MAX_REQUEST_BYTES):
            yield slice(start, row)
            start, size = row, 0
        size += text_bytes
    if texts:
        yield slice(start, len(texts))


def _spare_key(base_url: str | None) -> str | None:
    """The client insists on a key; a server on this machine mostly wants none."""
    host = urlsplit(base_url or os.environ.get("OPENAI_BASE_URL", "")).hostname
    if os.environ.get("OPENAI_API_KEY") or not host:
        return None
    try:
        local = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        local = False
    return "not-needed" if local else None


def _host(url: str) -> str:
    """Host and port of a URL, without the credentials it may carry."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname or "the given client"
