"""Embedding models of any vendor through LiteLLM, as an extra."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

from synaptoroute.encoder.base import Vectors
from synaptoroute.encoder.openai import MAX_REQUEST_BYTES, decoded, speaking_openai
from synaptoroute.encoder.remote import CONCURRENCY, check_limits, encode_remotely, host_of, unit_rows
from synaptoroute.errors import EncoderOutputError, InvalidInputError, MissingExtraError

#: The least of the common vendors take so many texts in one request (Cohere, Gemini).
BATCH = 96
MAX_INPUTS = 2_048


class LiteLLMEncoder:
    """A model by its name in LiteLLM, such as "bedrock/amazon.titan-embed-text-v2:0"; float32 unit vectors.

    The keys are those LiteLLM finds in the environment, by each vendor's own variable. Many texts take several
    requests, up to ``concurrency`` of one call at once. Retries are those of the client that LiteLLM takes for the
    vendor. The package is large (boto3 among what it brings) and is imported on the first request.

    Args:
        model: As LiteLLM calls it, the vendor first.
        dim: Length of the vectors, which is only checked.
        base_url: A server of one's own, or LiteLLM's proxy; the vendor's by default.
        api_key: Instead of the one in the environment.
        timeout_s: Seconds after which an attempt is given up.
        max_retries: Attempts after the first.
        batch_size: Most texts in one request.
        concurrency: Requests of one call under way at once.
        query_prefix: Put before every query.
        prefix: Put before every utterance.
        query_options: More for requests of queries, such as ``{"input_type": "search_query"}``.
        options: More for requests of utterances, such as ``{"input_type": "search_document"}``.

    Raises:
        MissingExtraError: The package litellm is not installed.
        InvalidInputError: An argument is out of its range.
    """

    #: Who makes the vectors, as OpenTelemetry names them.
    provider = "litellm"

    def __init__(
        self,
        model: str,
        *,
        dim: int,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        max_retries: int = 3,
        batch_size: int = BATCH,
        concurrency: int = CONCURRENCY,
        query_prefix: str = "",
        prefix: str = "",
        query_options: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        from importlib.util import find_spec

        try:
            found = find_spec("litellm")
        except ValueError:
            found = None
        if found is None:
            raise MissingExtraError("LiteLLMEncoder", "litellm")
        if dim < 1:
            raise InvalidInputError(f"dim is {dim}, wanted at least 1")
        check_limits(concurrency, batch_size, MAX_INPUTS)
        self._model, self._dim = model, dim
        self._batch_size, self._concurrency = batch_size, concurrency
        self._queries, self._utterances = (query_prefix, query_options or {}), (prefix, options or {})
        self._settings: dict[str, Any] = {"api_base": base_url, "api_key": api_key}
        self._settings |= {"timeout": timeout_s, "max_retries": max_retries}
        self._server = host_of(base_url) if base_url else model.partition("/")[0]
        identity = json.dumps([self._server, model, dim, self._queries, self._utterances], sort_keys=True, default=str)
        self._fingerprint = f"{self.name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"

    @property
    def name(self) -> str:
        """The model's name in LiteLLM."""
        return self._model

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Changes with server, model, dim, prefixes and options. A change behind the name, nobody can see."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"LiteLLMEncoder({self.name!r}, dim={self.dim}, server={self._server!r})"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of utterances, float32 (len(texts), dim), in order.

        Raises:
            EncoderUnavailableError: The server cannot be reached, does not answer in time, or refuses the key.
            EncoderOutputError: It answered with something else than one finite vector of length dim for each text.
            EncoderError: It refused the request, or failed after all retries.
        """
        return self._encoded(*self._utterances, texts)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of queries; raises as ``encode``."""
        return self._encoded(*self._queries, texts)

    def _encoded(self, prefix: str, options: dict[str, Any], texts: Sequence[str]) -> Vectors:
        def ask(part: list[str]) -> Vectors:
            import litellm

            # Else it prints an invitation to its forum with every error.
            litellm.suppress_debug_info = True
            # Its errors are OpenAI's.
            with speaking_openai(self._server, self.name, len(part), key="api_key or the vendor's variable"):
                answer = litellm.embedding(
                    model=self._model, input=part, encoding_format="float", **self._settings, **options
                )
            items = getattr(answer, "data", None)
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise EncoderOutputError(f"{self._server} sent no embeddings answer")
            items = sorted(items, key=lambda item: item.get("index") or 0)
            sent = [decoded(item.get("embedding"), self._server) for item in items]
            return unit_rows(sent, len(part), self.dim, server=self._server, name=self.name)

        return encode_remotely(
            [prefix + text for text in texts] if prefix else texts,
            self.dim,
            ask,
            most=self._batch_size,
            most_bytes=MAX_REQUEST_BYTES,
            concurrency=self._concurrency,
        )
