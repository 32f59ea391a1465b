"""Vectors from Voyage AI, with a side for queries and one for utterances, as an extra."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

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
    from voyageai.client import Client

#: Most texts Voyage takes in one request (its API reference for "Text embeddings").
MAX_INPUTS = 1_000
#: The least of the models takes 120,000 tokens in one request (same source). A token is one byte of UTF-8 or more, so
#: this many bytes are never too many.
MAX_REQUEST_BYTES = 120_000


class VoyageEncoder:
    """An embedding model of Voyage AI; float32 unit vectors of 1,024 numbers by default.

    Utterances are sent as ``document`` and queries as ``query``, which puts a sentence before each of them; with
    ``purpose=None`` both are sent as they are. Many texts take several requests, up to ``concurrency`` of one call
    at once.

    Retries (of timeouts, 429 and 503, and twice of lost connections, with exponential backoff and jitter) are the
    official client's. Texts past the model's limit are cut at their end by Voyage.

    Args:
        model: As Voyage calls it.
        dim: Length of the vectors, which the server is asked for if it is not 1,024.
        purpose: See above.
        api_key: By default ``VOYAGE_API_KEY``. A server on this machine may go without.
        base_url: The server, by default Voyage.
        timeout_s: Seconds without a sign of the server after which an attempt is given up.
        max_retries: Attempts after the first.
        batch_size: Most texts in one request, 1 to 1,000.
        concurrency: Requests of one call under way at once.

    Raises:
        MissingExtraError: The package voyageai is not installed.
        InvalidInputError: An argument is out of its range.
        EncoderUnavailableError: There is no API key.
    """

    #: Who makes the vectors, as OpenTelemetry names them.
    provider = "voyage"

    def __init__(
        self,
        model: str = "voyage-3.5",
        *,
        dim: int = 1_024,
        purpose: Literal["search"] | None = "search",
        api_key: str | None = None,
        base_url: str | None = None,
        timeout_s: float = 30.0,
        max_retries: int = 3,
        batch_size: int = MAX_INPUTS,
        concurrency: int = CONCURRENCY,
    ) -> None:
        try:
            import voyageai  # noqa: F401 - used on the first request
        except ImportError as exc:
            raise MissingExtraError("VoyageEncoder", "voyage") from exc
        if purpose not in ("search", None):
            raise InvalidInputError(f"purpose is {purpose!r}, wanted 'search' or None")
        if dim < 1:
            raise InvalidInputError(f"dim is {dim}, wanted at least 1")
        check_limits(concurrency, batch_size, MAX_INPUTS)
        self._model, self._dim, self._purpose = model, dim, purpose
        self._batch_size, self._concurrency = batch_size, concurrency
        # The client counts the first attempt too.
        self._settings: dict[str, Any] = {"base_url": base_url, "timeout": timeout_s, "max_retries": max_retries + 1}
        self._settings["api_key"] = api_key or os.environ.get("VOYAGE_API_KEY") or spare_key(base_url, "VOYAGE_API_KEY")
        if not self._settings["api_key"]:
            raise EncoderUnavailableError("no API key for VoyageEncoder: set VOYAGE_API_KEY, or pass api_key=...")
        self._server = host_of(base_url or "https://api.voyageai.com/v1")
        identity = json.dumps([self._server, model, dim, purpose])
        self._fingerprint = f"{model}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"
        self._client: PerProcess[Client] = PerProcess()

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
        return f"VoyageEncoder({self.name!r}, dim={self.dim}, server={self._server!r})"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of utterances, float32 (len(texts), dim), in order.

        Raises:
            EncoderUnavailableError: The server cannot be reached, does not answer in time, or refuses the key.
            EncoderOutputError: It answered with something else than one finite vector of length dim for each text.
            EncoderError: It refused the request, or failed after all retries.
        """
        return self._encoded("document", texts)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of queries; raises as ``encode``."""
        return self._encoded("query", texts)

    def _encoded(self, side: Literal["document", "query"], texts: Sequence[str]) -> Vectors:
        def ask(part: list[str]) -> Vectors:
            found = self._answer(part, side if self._purpose else None)
            return unit_rows(found, len(part), self.dim, server=self._server, name=self.name)

        return encode_remotely(
            texts,
            self.dim,
            ask,
            most=self._batch_size,
            most_bytes=MAX_REQUEST_BYTES,
            concurrency=self._concurrency,
        )

    def _answer(self, texts: list[str], input_type: str | None) -> list[object]:
        """The vectors the server sent. No message tells the key, the credentials in a URL or a text."""
        from voyageai import error

        wanted = None if self._dim == 1_024 else self._dim
        try:
            answer = self._client.get(self._connect).embed(
                texts, model=self._model, input_type=input_type, output_dimension=wanted
            )
            return list(answer.embeddings)
        except error.Timeout as exc:
            raise EncoderUnavailableError(
                f"{self._server} did not answer in time, retries included; raise timeout_s or see if it is overloaded"
            ) from exc
        except error.APIConnectionError as exc:
            raise EncoderUnavailableError(
                f"{self._server} cannot be reached; see if it runs and base_url is right"
            ) from exc
        except error.AuthenticationError:
            # Without the cause: these answers like to repeat the key.
            raise EncoderUnavailableError(
                f"{self._server} refused the API key; see api_key or VOYAGE_API_KEY"
            ) from None
        except error.VoyageError as exc:
            raise EncoderError(
                f"{self._server} answered {exc.http_status or 'nonsense'} ({type(exc).__name__}) to {len(texts)} texts "
                f"for {self.name}; its own words are in the cause"
            ) from exc
        except (AttributeError, KeyError, TypeError, ValueError) as exc:
            raise EncoderOutputError(f"{self._server} sent no embeddings answer: {type(exc).__name__}") from exc

    def _connect(self) -> Client:
        from voyageai.client import Client

        return Client(**self._settings)
