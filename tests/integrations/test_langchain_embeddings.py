"""LangChain's Embeddings both ways, by LangChain's own conformance suite and its own fakes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("langchain_core")

from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.unit_tests import EmbeddingsUnitTests

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.encoder import BundledEncoder
from synaptoroute.encoder.base import encode_checked
from synaptoroute.errors import EncoderOutputError, EncoderUnavailableError, InvalidInputError
from synaptoroute.integrations.langchain_embeddings import LangChainEncoder, SynaptoRouteEmbeddings
from synaptoroute.testing import EncoderContract
from tests.encoder.test_sides import WithThreads


# ------------------------------------------------------------------------------------------- an encoder of LangChain
class Sided(Embeddings):
    """LangChain's deterministic fake, with another vector for a text that is a query."""

    model = "fake-v1"

    def __init__(self, size: int = 16) -> None:
        self._fake = DeterministicFakeEmbedding(size=size)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._fake.embed_documents([f"document: {text}" for text in texts])

    def embed_query(self, text: str) -> list[float]:
        return self._fake.embed_query(f"query: {text}")


class TestContract(EncoderContract):
    two_sided = True

    @pytest.fixture
    def encoder(self) -> LangChainEncoder:
        return LangChainEncoder(Sided())


class TestContractWithoutSides(EncoderContract):
    @pytest.fixture
    def encoder(self) -> LangChainEncoder:
        return LangChainEncoder(Sided(), sides=False)


def test_fingerprint_changes_with_name_dim_and_sides() -> None:
    encoders = [
        LangChainEncoder(Sided()),
        LangChainEncoder(Sided(), name="fake-v2"),
        LangChainEncoder(Sided(12)),
        LangChainEncoder(Sided(), sides=False),
    ]
    assert len({encoder.fingerprint for encoder in encoders}) == 4
    assert LangChainEncoder(Sided(), dim=16).fingerprint == encoders[0].fingerprint


def test_a_router_over_a_class_of_langchain_routes(encoder: BundledEncoder) -> None:
    there_and_back = LangChainEncoder(SynaptoRouteEmbeddings(encoder), name=encoder.name)
    np.testing.assert_allclose(there_and_back.encode(["hi"]), encoder.encode(["hi"]), atol=1e-6)
    with AdaptiveRouter(there_and_back) as router:
        router.add_route(Route(name="billing", utterances=["what do I owe", "show my balance"], threshold=0.4))
        assert router("show me my balance").name == "billing"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"embeddings": lambda texts: texts}, "function is no Embeddings of LangChain"),
        ({"embeddings": DeterministicFakeEmbedding(size=4)}, "does not say which model it is; pass name="),
        ({"embeddings": Sided(), "dim": 0}, "dim is 0, wanted at least 1"),
        ({"embeddings": Sided(), "concurrency": 0}, "concurrency is 0, wanted at least 1"),
    ],
)
def test_what_cannot_work_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        LangChainEncoder(**arguments)


class Broken(Sided):
    """Cannot reach its server, or answers nonsense."""

    def __init__(self, answer: Any = None) -> None:
        super().__init__()
        self._answer = answer

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        if self._answer is None:
            raise ConnectionError("key sk-123 refused")
        answer: list[list[float]] = self._answer
        return answer


def test_a_class_that_fails_is_named_without_what_it_says() -> None:
    with pytest.raises(EncoderUnavailableError, match=r"Broken could not embed .*\(ConnectionError\).*dim=") as error:
        LangChainEncoder(Broken())
    assert "sk-123" not in str(error.value)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([[1.0, 0.0]], "1 vectors for 2 texts"),
        ([[1.0, 0.0], [1.0]], r"shape \(1,\), wanted \(2,\)"),
        ([[1.0, 0.0], [0.0, 0.0]], "NaN, infinite or zero"),
        ([["a", "b"], [0.0, 0.0]], "something else than vectors"),
    ],
)
def test_a_wrong_answer_is_noticed(answer: Any, message: str) -> None:
    with pytest.raises(EncoderOutputError, match=f"Broken answered.*{message}"):
        LangChainEncoder(Broken(answer), dim=2).encode(["a", "b"])


# ------------------------------------------------------------------------------------------- an encoder for LangChain
class TestConformance(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return SynaptoRouteEmbeddings


async def test_documents_and_queries_get_the_vectors_of_their_side(encoder: BundledEncoder) -> None:
    sides = WithThreads(encoder)
    embeddings = SynaptoRouteEmbeddings(sides)
    np.testing.assert_allclose(embeddings.embed_documents(["hi"]), encoder.encode(["hi"]), atol=1e-6)
    (query,) = encode_checked(sides, ["hi"], queries=True)
    for vector in (embeddings.embed_query("hi"), await embeddings.aembed_query("hi")):
        np.testing.assert_allclose(vector, query, atol=1e-6)
    assert len((await embeddings.aembed_documents(["a", "b"]))[1]) == encoder.dim
    assert embeddings.embed_documents([]) == []


def test_a_vector_store_finds_by_them(encoder: BundledEncoder) -> None:
    store = InMemoryVectorStore(SynaptoRouteEmbeddings(encoder))
    store.add_texts(["the invoice is due on Friday", "rain is expected tomorrow"])
    (found,) = store.similarity_search("when do I have to pay my bill", k=1)
    assert found.page_content == "the invoice is due on Friday"
