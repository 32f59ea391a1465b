"""LlamaIndex: real router query engines, agents and indexes, with LlamaIndex's own mock models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from llama_index.core import Document, SummaryIndex, VectorStoreIndex
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ToolCallResult
from llama_index.core.base.base_selector import SelectorResult
from llama_index.core.llms import MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.query_engine import RouterQueryEngine
from llama_index.core.schema import QueryBundle
from llama_index.core.tools import FunctionTool, QueryEngineTool, ToolMetadata

from synaptoroute import AdaptiveRouter
from synaptoroute.encoder import BundledEncoder
from synaptoroute.encoder.base import Vectors
from synaptoroute.errors import InvalidInputError, RouteNotFoundError, RouterClosedError
from synaptoroute.integrations.llama_index import (
    NoChoiceError,
    OnNoMatch,
    SemanticRouterSelector,
    SynaptoRouteEmbedding,
    ToolRetriever,
)
from synaptoroute.tools import ToolRouter
from tests.integrations.gated import GatedEncoder
from tests.integrations.running_examples import assert_prints_what_its_page_says
from tests.integrations.small import BILLING, NEITHER, WEATHER, small_router
from tests.integrations.some_tools import RAIN, SONG, get_weather, pay_bill, play_music, tool_router

# LlamaIndex looks at pydantic's deprecated attributes of its own agents.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecationWarning")

LLM = MockLLM(max_tokens=3)
CHOICES = [
    ToolMetadata(name="weather", description="The weather forecast for a city: temperature, rain, wind"),
    ToolMetadata(name="billing", description="What the customer has to pay: bills, invoices, payments"),
    ToolMetadata(name="music", description="Play a song, an album or an artist"),
]


def engine_of(selector: SemanticRouterSelector) -> RouterQueryEngine:
    engines = [
        QueryEngineTool(
            SummaryIndex.from_documents([Document(text=choice.description)]).as_query_engine(llm=LLM), choice
        )
        for choice in CHOICES
    ]
    return RouterQueryEngine(selector, engines, llm=LLM)


def chosen(response: Any) -> SelectorResult:
    result: SelectorResult = response.metadata["selector_result"]
    return result


# --------------------------------------------------------------------------------------------------- the selector
async def test_a_query_engine_is_chosen_by_the_route_of_its_name(router: AdaptiveRouter) -> None:
    selector = SemanticRouterSelector(router)
    for text, index in ((WEATHER, 0), (BILLING, 1)):
        expected = router.route(text)
        for result in (selector.select(CHOICES[:2], text), await selector.aselect(CHOICES[:2], QueryBundle(text))):
            assert result.ind == index
            assert result.reason == (
                f"{expected.name}: score {expected.matches[0].score:.2f}, confidence {expected.confidence:.2f}, "
                f"margin {expected.margin:.2f}"
            )


async def test_a_real_router_query_engine_asks_the_chosen_one(encoder: BundledEncoder) -> None:
    selector = SemanticRouterSelector(encoder=encoder, min_confidence=0)
    engine = engine_of(selector)
    for text, index in ((WEATHER, 0), (BILLING, 1), (SONG, 2)):
        for response in (engine.query(text), await engine.aquery(text)):
            assert chosen(response).ind == index
            assert response.source_nodes[0].text == CHOICES[index].description
    selector.close()


@pytest.mark.parametrize("by_routes", [True, False])
async def test_what_becomes_of_a_query_that_fits_no_choice(
    router: AdaptiveRouter, encoder: BundledEncoder, by_routes: bool
) -> None:
    choices = CHOICES[:2]
    how: dict[str, Any] = {"router": router} if by_routes else {"encoder": encoder, "min_confidence": 0.9}
    fallbacks: list[tuple[OnNoMatch, list[int]]] = [("all", [0, 1]), (1, [1])]
    for on_no_match, expected in fallbacks:
        selector = SemanticRouterSelector(on_no_match=on_no_match, **how)
        for result in (selector.select(choices, NEITHER), await selector.aselect(choices, NEITHER)):
            assert result.inds == expected
            assert all(reason.startswith("no match (") for reason in result.reasons)
        selector.close()
    selector = SemanticRouterSelector(**how)
    with pytest.raises(NoChoiceError, match=r"none of the 2 choices fits the query .*on_no_match='all'"):
        selector.select(choices, NEITHER)
    with pytest.raises(ValueError, match="none of the 2 choices"):
        await selector.aselect(choices, NEITHER)
    selector.close()


def test_all_choices_are_asked_and_their_answers_combined(router: AdaptiveRouter) -> None:
    engine = RouterQueryEngine(
        SemanticRouterSelector(router, on_no_match="all"),
        [
            QueryEngineTool(SummaryIndex.from_documents([Document(text=c.description)]).as_query_engine(llm=LLM), c)
            for c in CHOICES[:2]
        ],
        llm=LLM,
    )
    response = engine.query(NEITHER)
    assert chosen(response).inds == [0, 1]
    assert {node.text for node in response.source_nodes} == {choice.description for choice in CHOICES[:2]}


async def test_descriptions_are_encoded_once_and_again_when_they_change(encoder: BundledEncoder) -> None:
    counting = GatedEncoder(encoder)
    selector = SemanticRouterSelector(encoder=counting, min_confidence=0)

    def encoded(choice: ToolMetadata) -> int:
        return sum(choice.description in text for texts in counting.calls for text in texts)

    for text in (WEATHER, BILLING, NEITHER):
        selector.select(CHOICES, text)
        await selector.aselect(CHOICES, text)
    once = encoded(CHOICES[0])
    selector.select(CHOICES, "what else could it be?")
    assert encoded(CHOICES[0]) == once > 0
    changed = [*CHOICES[:2], ToolMetadata(name="music", description="Sheet music in PDF")]
    assert selector.select(changed, "where are the notes of this piece for piano?").ind == 2
    assert encoded(changed[2]) > 0
    before = encoded(CHOICES[0]), encoded(changed[2])
    selector.select(changed, BILLING)
    assert (encoded(CHOICES[0]), encoded(changed[2])) == before
    selector.close()


async def test_choices_may_be_unnamed_or_all_have_the_name_that_llama_index_gives(encoder: BundledEncoder) -> None:
    selector = SemanticRouterSelector(encoder=encoder, min_confidence=0)
    assert selector.select([choice.description for choice in CHOICES], BILLING).ind == 1
    alike = [ToolMetadata(name="query_engine_tool", description=choice.description) for choice in CHOICES]
    assert (await selector.aselect(alike, BILLING)).ind == 1
    selector.close()


def test_choices_that_are_no_routes_are_refused(router: AdaptiveRouter) -> None:
    with pytest.raises(RouteNotFoundError, match="music"):
        SemanticRouterSelector(router).select(CHOICES, BILLING)
    with pytest.raises(InvalidInputError, match="every choice needs a name of its own"):
        SemanticRouterSelector(router).select(["What the customer owes"], BILLING)


def test_bad_arguments_are_refused(router: AdaptiveRouter, encoder: BundledEncoder) -> None:
    with pytest.raises(InvalidInputError, match="either router or encoder"):
        SemanticRouterSelector(router, encoder=encoder)
    for wrong in ("some", -1, None):
        with pytest.raises(InvalidInputError, match="on_no_match is"):
            SemanticRouterSelector(router, on_no_match=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="on_no_match is 5, but there are only 2 choices"):
        SemanticRouterSelector(router, on_no_match=5).select(CHOICES[:2], NEITHER)


async def test_the_selector_leaves_the_loop_free(encoder: BundledEncoder) -> None:
    gated = GatedEncoder(encoder)
    described = SemanticRouterSelector(encoder=gated, min_confidence=0)
    assert (await gated.result_with_a_free_loop(described.aselect(CHOICES, BILLING), BILLING)).ind == 1
    assert (await gated.result_with_a_free_loop(described.aselect(CHOICES, WEATHER), WEATHER)).ind == 0
    described.close()
    with small_router(gated) as router:
        selector = SemanticRouterSelector(router)
        assert (await gated.result_with_a_free_loop(selector.aselect(CHOICES[:2], BILLING), BILLING)).ind == 1


def test_it_has_no_prompts() -> None:
    selector = SemanticRouterSelector()
    assert selector.get_prompts() == {}
    selector.update_prompts({})


# ------------------------------------------------------------------------------------------------- tools of agents
FUNCTIONS: list[Any] = [get_weather, pay_bill, FunctionTool.from_defaults(play_music)]


@pytest.fixture(scope="module")
def retriever(encoder: BundledEncoder) -> Iterator[ToolRetriever]:
    with tool_router(encoder) as router:
        yield ToolRetriever(FUNCTIONS, router=router, k=1, on_no_match="none")


def names(tools: Sequence[Any]) -> list[str]:
    return [tool.metadata.name for tool in tools]


@pytest.mark.parametrize("as_workflow", [False, True])
async def test_an_agent_has_the_tools_its_prompt_needs_and_calls_them(
    retriever: ToolRetriever, as_workflow: bool
) -> None:
    """The agent looks for a tool by its name when it calls it, which no sentence is near to."""
    agent: Any = FunctionAgent(tool_retriever=retriever, llm=MockFunctionCallingLLM(), streaming=False)
    if as_workflow:
        agent = AgentWorkflow(agents=[agent])
    for text, name in ((RAIN, "get_weather"), (SONG, "play_music")):
        handler = agent.run(text)
        called = [event async for event in handler.stream_events() if isinstance(event, ToolCallResult)]
        assert [(event.tool_name, event.tool_output.is_error) for event in called] == [(name, False)]
        await handler


async def test_tools_come_best_first_and_none_where_none_fits(retriever: ToolRetriever) -> None:
    for found in (retriever.retrieve(RAIN), await retriever.aretrieve(QueryBundle(RAIN))):
        assert names(found) == ["get_weather"]
        assert all(tool.metadata.description for tool in found)
    assert retriever.retrieve(NEITHER) == retriever.retrieve("") == await retriever.aretrieve(" ") == []
    assert names(retriever.retrieve("pay_bill")) == names(await retriever.aretrieve("pay_bill")) == ["pay_bill"]


def test_all_tools_are_there_where_none_fits_unless_told_otherwise(encoder: BundledEncoder) -> None:
    with ToolRouter([get_weather], encoder=encoder) as router:
        retriever = ToolRetriever(FUNCTIONS, router=router, min_confidence=0.9)
        assert names(retriever.retrieve(NEITHER)) == ["get_weather", "pay_bill", "play_music"]
        retriever.close()
        assert [tool.name for tool in router.tools] == ["get_weather", "pay_bill", "play_music"]
        assert router.select(RAIN, 1, min_confidence=0)[0].name == "get_weather"


def test_only_its_own_tools_are_found_in_a_router_that_knows_more(encoder: BundledEncoder) -> None:
    with tool_router(encoder) as router:
        retriever = ToolRetriever(FUNCTIONS[1:], router=router, k=3, min_confidence=0.0)
        assert set(names(retriever.retrieve(RAIN))) == {"pay_bill", "play_music"}
        assert len(router) == 3


def test_a_router_is_made_of_the_tools_where_none_is_given() -> None:
    retriever = ToolRetriever(FUNCTIONS, k=1, min_confidence=0)
    assert names(retriever.retrieve("play a song")) == ["play_music"]
    retriever.close()
    with pytest.raises(RouterClosedError):
        retriever.retrieve("play a song")


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="two tools are named 'get_weather'"):
        ToolRetriever([get_weather, FunctionTool.from_defaults(get_weather)])


async def test_the_retriever_leaves_the_loop_free(encoder: BundledEncoder) -> None:
    gated = GatedEncoder(encoder)
    with tool_router(gated) as router:
        retriever = ToolRetriever(FUNCTIONS, router=router, k=1)
        assert names(await gated.result_with_a_free_loop(retriever.aretrieve(RAIN), RAIN)) == ["get_weather"]


# --------------------------------------------------------------------------------------------------- the embedding
async def test_an_index_is_searched_with_the_vectors_of_the_encoder(encoder: BundledEncoder) -> None:
    embedding = SynaptoRouteEmbedding(encoder, embed_batch_size=2)
    documents = [Document(text=choice.description) for choice in CHOICES]
    retriever = VectorStoreIndex.from_documents(documents, embed_model=embedding).as_retriever(similarity_top_k=1)
    expected = (encoder.encode([CHOICES[1].description]) @ encoder.encode([BILLING]).T).item()
    for (node,) in (retriever.retrieve(BILLING), await retriever.aretrieve(BILLING)):
        assert node.text == CHOICES[1].description
        assert node.score == pytest.approx(expected, abs=1e-5)
    assert embedding.to_dict()["model_name"] == encoder.name


class Asymmetric:
    """Tells queries from texts, as encoders may that were trained with two sides."""

    name, dim, fingerprint = "two-sided", 2, "two-sided-1"

    def encode(self, texts: Sequence[str]) -> Vectors:
        return self._rows(texts, 0)

    def encode_queries(self, texts: Sequence[str]) -> Vectors:
        return self._rows(texts, 1)

    def _rows(self, texts: Sequence[str], side: int) -> Vectors:
        import numpy as np

        rows = np.zeros((len(texts), 2), np.float32)
        rows[:, side] = 1
        return rows


async def test_queries_and_texts_are_told_apart_in_every_way_of_asking() -> None:
    embedding = SynaptoRouteEmbedding(Asymmetric())
    assert embedding.get_query_embedding("a") == await embedding.aget_query_embedding("a") == [0, 1]
    assert embedding.get_text_embedding("a") == await embedding.aget_text_embedding("a") == [1, 0]
    texts = ["a", "b", "c"]
    assert embedding.get_text_embedding_batch(texts) == await embedding.aget_text_embedding_batch(texts) == [[1, 0]] * 3


async def test_the_embedding_leaves_the_loop_free(encoder: BundledEncoder) -> None:
    gated = GatedEncoder(encoder)
    embedding = SynaptoRouteEmbedding(gated)
    assert len(await gated.result_with_a_free_loop(embedding.aget_text_embedding_batch(["a"]))) == 1
    assert len(await gated.result_with_a_free_loop(embedding.aget_query_embedding("a"))) == 384


# ----------------------------------------------------------------------------------------------------- the example
def test_the_example_prints_what_its_page_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_prints_what_its_page_says("llama_index_routing", "llama-index", monkeypatch, capsys)
