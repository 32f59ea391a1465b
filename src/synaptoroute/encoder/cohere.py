"""Vectors from Cohere, with a side for queries and one for utterances, as an extra."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

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
    from cohere import ClientV2

#: Most texts Cohere takes in one request (its API reference for "Embed").
MAX_INPUTS = 96
#: It states no limit on their size; this keeps a request with the longest texts below 4 MB.
MAX_REQUEST_BYTES = 3_000_000

#: What vectors are for: "search" tells queries from utterances, the others do not.
Purpose: TypeAlias = Literal["search", "classification", "clustering"]
_TYPES: dict[str, tuple[str, str]] = {
    "search": ("search_document", "search_query"),
    "classification": ("classification", "classification"),
    "clustering": ("clustering", "clustering"),
}
_RESIZABLE = "embed-v4"
_DIMS = {
    "embed-v4.0": 1_536,
    "embed-english-v3.0": 1_024,
    "embed-multilingual-v3.0": 1_024,
    "embed-english-light-v3.0": 384,
    "embed-multilingual-light-v3.0": 384,
}


class CohereEncoder:
    """An embedding model of Cohere; float32 unit vectors of 1,536 numbers by default.

    Utterances are sent as ``search_document`` and queries as ``search_query``; with ``purpose="classification"`` both
    are sent as that. Many texts take several requests of at most 96, up to ``concurrency`` of one call at once.

    Retries (of lost connections, 408, 409, 429 and 5xx; as long as the server asks for, else with exponential backoff
    and jitter) are the official client's; it does not repeat what has timed out. Texts past the model's limit are cut
    at their end by Cohere. A forked child opens connections of its own.

    Args:
        model: As Cohere calls it.
        dim: Length of the vectors. Known for Cohere's v3 and v4 models; needed for others. v4 models are asked for
            vectors of this length, of all others it is only checked.
        purpose: See above.
        api_key: By default ``CO_API_KEY``. A server on this machine may go without.
        base_url: The server, by default ``CO_API_URL`` or Cohere.
        timeout_s: Seconds without a sign of the server after which an attempt is given up.
        max_retries: Attempts after the first.
        batch_size: Most texts in one request, 1 to 96.
        concurrency: Requests of one call under way at once.

    Raises:
        MissingExtraError: The package cohere is not installed.
        InvalidInputError: The dim is not known, or an argument is out of its range.
        EncoderUnavailableError: There is no API key.
    """

    #: Who makes the vectors, as OpenTelemetry names them.
    provider = "cohere"

    def __init__(
        self,
        model: str = "embed-v4.0",
        *,
        dim: int | None = None,
        purpose: Purpose = "search",
        api_key: str | None = None,
        base_url: str | None = None,
        timeout_s: float = 30.0,
        max_retries: int = 3,
        batch_size: int = MAX_INPUTS,
        concurrency: int = CONCURRENCY,
    ) -> None:
        try:
            import cohere  # noqa: F401 - used on the first request
        except ImportError as exc:
            raise MissingExtraError("CohereEncoder", "cohere") from exc
        if purpose not in _TYPES:
            raise InvalidInputError(f"purpose is {purpose!r}, wanted one of {', '.join(_TYPES)}")
        check_limits(concurrency, batch_size, MAX_INPUTS)
        known = _DIMS.get(model)
        if dim is None and known is None:
            raise InvalidInputError(f"the vector length of {model!r} is not known here; pass dim=<its length>")
        self._model, self._dim = model, dim or known or 0
        if self._dim < 1:
            raise InvalidInputError(f"dim is {dim}, wanted at least 1")
        self._request: dict[str, Any] = {"model": model, "embedding_types": ["float"], "truncate": "END"}
        if dim is not None and model.startswith(_RESIZABLE):
            self._request["output_dimension"] = dim
        self._utterance_type, self._query_type = _TYPES[purpose]
        self._batch_size, self._concurrency = batch_size, concurrency
        base_url = base_url or os.environ.get("CO_API_URL")
        self._settings: dict[str, Any] = {"base_url": base_url, "timeout": timeout_s, "max_retries": max_retries}
        self._settings["api_key"] = api_key or spare_key(base_url, "CO_API_KEY")
        if not (self._settings["api_key"] or os.environ.get("CO_API_KEY")):
            raise EncoderUnavailableError("no API key for CohereEncoder: set CO_API_KEY, or pass api_key=...")
        self._server = host_of(base_url or "https://api.cohere.com")
        identity = json.dumps([self._server, model, self._dim, purpose])
        self._fingerprint = f"{model}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        self._client: PerProcess[ClientV2] = PerProcess()

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
        """Changes with server, model, dim and purpose. A change of the model behind its name, nobody can see."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"CohereEncoder({self.name!r}, dim={self.dim}, server={self._server!r})"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of utterances, float32 (len(texts), dim), in order.

        Raises:
            EncoderUnavailableError: The server cannot be reached, does not answer in time, or refuses the key.
            EncoderOutputError: It answered with something else than one finite vector of length dim for each text.
            EncoderError: It refused the request, or failed after all retries.
        """
        return self._encoded(self._utterance_type, texts)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of queries; raises as ``encode``."""
        return self._encoded(self._query_type, texts)

    def _encoded(self, input_type: str, texts: Sequence[str]) -> Vectors:
        def ask(part: list[str]) -> Vectors:
            answer = self._answer(part, input_type)
            found = getattr(getattr(answer, "embeddings", None), "float_", None)
            if not isinstance(found, list):
                raise EncoderOutputError(f"{self._server} sent no embeddings answer")
            return unit_rows(found, len(part), self.dim, server=self._server, name=self.name)

        return encode_remotely(
            texts,
            self.dim,
            ask,
            most=self._batch_size,
            most_bytes=MAX_REQUEST_BYTES,
            concurrency=self._concurrency,
        )

    def _answer(self, texts: list[str], input_type: str) -> Any:
        """The server's answer. No message tells the key, the credentials in a URL or a text."""
        import httpx
        from cohere.core.api_error import ApiError

        try:
            return self._client.get(self._connect).embed(texts=texts, input_type=input_type, **self._request)
        except httpx.TimeoutException as exc:
            raise EncoderUnavailableError(
                f"{self._server} did not answer in time; raise timeout_s or see if it is overloaded"
            ) from exc
        except httpx.TransportError as exc:
            raise EncoderUnavailableError(
                f"{self._server} cannot be reached ({exc}); see if it runs and base_url is right"
            ) from exc
        except ApiError as exc:
            if exc.status_code in {401, 403, 498}:
                # Without the cause: these answers like to repeat the key.
                raise EncoderUnavailableError(
                    f"{self._server} refused the API key ({exc.status_code}); see api_key or CO_API_KEY"
                ) from None
            if exc.status_code is not None and exc.status_code < 400:
                raise EncoderOutputError(f"{self._server} sent no embeddings answer") from exc
            raise EncoderError(
                f"{self._server} answered {exc.status_code} to {len(texts)} texts for {self.name}; "
                "its own words are in the cause"
            ) from exc
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise EncoderOutputError(f"{self._server} sent no embeddings answer: {type(exc).__name__}") from exc

    def _connect(self) -> ClientV2:
        from cohere import ClientV2

        return ClientV2(**self._settings)
