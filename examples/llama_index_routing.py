"""LlamaIndex: a router query engine, an agent whose tools are found by meaning, and an index, all on this machine.

Runs without a network or a key: LlamaIndex's own MockLLM and MockFunctionCallingLLM stand for models.
"""

import asyncio

from llama_index.core import Document, SummaryIndex, VectorStoreIndex
from llama_index.core.agent.workflow import FunctionAgent, ToolCallResult
from llama_index.core.llms import MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.query_engine import RouterQueryEngine
from llama_index.core.tools import QueryEngineTool

from synaptoroute import AdaptiveRouter, Route
from synaptoroute.integrations.llama_index import SemanticRouterSelector, SynaptoRouteEmbedding, ToolRetriever
from synaptoroute.tools import ToolRouter, as_tool

llm = MockLLM(max_tokens=5)
handbook = VectorStoreIndex.from_documents(
    [Document(text="Expenses are refunded within ten days."), Document(text="The office opens at eight.")],
    embed_model=SynaptoRouteEmbedding(),
)
minutes = SummaryIndex.from_documents([Document(text="The board agreed to open an office in Oslo.")])
print("nearest:", handbook.as_retriever(similarity_top_k=1).retrieve("when do I get my money back?")[0].text)

router = AdaptiveRouter()
router.add_routes(
    [
        Route(name="handbook", utterances=["how do I claim expenses", "what are the opening hours", "sick leave"]),
        Route(name="minutes", utterances=["what did the board decide", "summarise the meeting", "who was present"]),
    ]
)
engine = RouterQueryEngine(
    SemanticRouterSelector(router, on_no_match=0),
    [
        QueryEngineTool.from_defaults(handbook.as_query_engine(llm=llm), name="handbook", description="Rules"),
        QueryEngineTool.from_defaults(minutes.as_query_engine(llm=llm), name="minutes", description="Meetings"),
    ],
    llm=llm,
)
for query in ("what was decided in the meeting?", "who painted the Mona Lisa?"):
    print(query, "->", engine.query(query).metadata["selector_result"].reason)


def get_weather(city: str = "Oslo") -> str:
    """The weather forecast for a city: temperature, rain, wind."""
    return f"sunny in {city}"


def play_music(song: str = "Yesterday") -> str:
    """Play a song, an album or an artist."""
    return f"playing {song}"


tools = ToolRouter(
    [
        as_tool(get_weather, examples=["will it rain tomorrow", "is it sunny outside", "how cold is it"]),
        as_tool(play_music, examples=["play some jazz", "put on a record", "I want to hear a song"]),
    ]
)


async def ask(text: str) -> None:
    retriever = ToolRetriever([get_weather, play_music], router=tools, k=1)
    agent = FunctionAgent(tool_retriever=retriever, llm=MockFunctionCallingLLM(), streaming=False)
    run = agent.run(text)
    async for event in run.stream_events():
        if isinstance(event, ToolCallResult):
            print(text, "->", event.tool_name, "->", event.tool_output.content)
    await run


asyncio.run(ask("do I need an umbrella today?"))
tools.close()
router.close()
