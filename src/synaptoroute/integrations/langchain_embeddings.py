"""LangChain's ``Embeddings`` as an encoder, and any encoder as LangChain's ``Embeddings``. The extra ``[langchain]``.

::

    router = AdaptiveRouter(LangChainEncoder(OllamaEmbeddings(model="nomic-embed-text")))
    store = InMemoryVectorStore(SynaptoRouteEmbeddings(router.encoder))
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from synaptoroute.encoder.base import BaseEncoder, Vectors, encode_checked
from synaptoroute.encoder.bundled import BundledEncoder
from synaptoroute.encoder.remote import CONCURRENCY, encode_remotely, unit_rows
from synaptoroute.errors import EncoderUnavailableError, InvalidInputError, MissingExtraError

try:
    from langchain_core.embeddings import Embeddings
except ImportError as exc:
    raise MissingExtraError("LangChain's embeddings", "langchain") from exc

#: Texts of one ``embed_documents``; most classes divide that further, as their service wants it.
BATCH = 256
_NO_LIMIT = 1 << 62


class LangChainEncoder:
    """Any LangChain ``Embeddings``; float32 unit vectors.

    Utterances go through ``embed_documents``; queries through ``embed_query``, which takes one text, up to
    ``concurrency`` of one call at once. Retries and time limits are the class's own. It may be called from several
    threads at once: where the class cannot be, pass ``concurrency=1`` and route from one.

    Args:
        embeddings: An instance.
        name: Of the model and its version. Vectors are told apart by it: whoever changes the model, changes the name.
            By default what the instance says (``model`` or ``model_name``).
        dim: Length of a vector. Unless given, one text is embedded to see.
        sides: False for a model that embeds queries as documents, so that both go through ``embed_documents``.
        concurrency: See above.

    Raises:
        InvalidInputError: It is no ``Embeddings``, has no name and none is given, or an argument is out of its range.
        EncoderUnavailableError: It could not embed a text.
    """

    #: Who makes the vectors, as OpenTelemetry names them.
    provider = "langchain"

    def __init__(
        self,
        embeddings: Embeddings,
        *,
        name: str | None = None,
        dim: int | None = None,
        sides: bool = True,
        concurrency: int = CONCURRENCY,
    ) -> None:
        if not isinstance(embeddings, Embeddings):
            raise InvalidInputError(f"{type(embeddings).__name__} is no Embeddings of LangChain; pass an instance")
        said = name or getattr(embeddings, "model", None) or getattr(embeddings, "model_name", None)
        if not said or not isinstance(said, str):
            raise InvalidInputError(
                f"{type(embeddings).__name__} does not say which model it is; pass name=<the model and its version>"
            )
        for what, value in (("dim", dim), ("concurrency", concurrency)):
            if value is not None and value < 1:
                raise InvalidInputError(f"{what} is {value}, wanted at least 1")
        self._embeddings, self._name, self._sides, self._concurrency = embeddings, said, sides, concurrency
        self._dim = dim if dim is not None else self._seen()
        identity = json.dumps([type(embeddings).__name__, said, self._dim, sides])
        self._fingerprint = f"langchain-{hashlib.sha256(identity.encode()).hexdigest()[:16]}"

    @property
    def name(self) -> str:
        """The model's name."""
        return self._name

    @property
    def dim(self) -> int:
        """Length of every vector."""
        return self._dim

    @property
    def fingerprint(self) -> str:
        """Changes with the class, the name and the dim. Whether the model behind them changed, nobody can see."""
        return self._fingerprint

    def __repr__(self) -> str:
        return f"LangChainEncoder({self.name!r}, dim={self.dim}, of={type(self._embeddings).__name__})"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of utterances, float32 (len(texts), dim), in order.

        Raises:
            EncoderOutputError: The class returned something else than one finite vector of length dim for each text.
        """
        return encode_remotely(texts, self.dim, self._documents, most=BATCH, most_bytes=_NO_LIMIT, concurrency=1)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        """Unit rows of queries; raises as ``encode``."""
        if not self._sides:
            return self.encode(texts)
        return encode_remotely(
            texts, self.dim, self._query, most=1, most_bytes=_NO_LIMIT, concurrency=self._concurrency
        )

    def _documents(self, texts: list[str]) -> Vectors:
        return self._rows(self._embeddings.embed_documents(texts), len(texts))

    def _query(self, texts: list[str]) -> Vectors:
        return self._rows([self._embeddings.embed_query(text) for text in texts], len(texts))

    def _rows(self, embedded: list[list[float]], count: int) -> Vectors:
        return unit_rows(embedded, count, self.dim, server=type(self._embeddings).__name__, name=self.name)

    def _seen(self) -> int:
        try:
            return len(self._embeddings.embed_documents(["how long is a vector"])[0])
        except Exception as exc:
            raise EncoderUnavailableError(
                f"{type(self._embeddings).__name__} could not embed a text to see how long its vectors are "
                f"({type(exc).__name__}); mend it, or pass dim=<their length>"
            ) from exc


class SynaptoRouteEmbeddings(Embeddings):
    """An encoder for LangChain's vector stores and retrievers: the bundled one needs no download and no key.

    Args:
        encoder: Any; the bundled one by default.
    """

    def __init__(self, encoder: BaseEncoder | None = None) -> None:
        self.encoder: BaseEncoder = encoder if encoder is not None else BundledEncoder()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """One unit vector a text. Raises EncoderError if the encoder failed."""
        rows: list[list[float]] = encode_checked(self.encoder, texts).tolist()
        return rows

    def embed_query(self, text: str) -> list[float]:
        """A unit vector of the queries' side, where the encoder has one. Raises EncoderError if it failed."""
        row: list[float] = encode_checked(self.encoder, [text], queries=True)[0].tolist()
        return row
