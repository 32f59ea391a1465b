"""New utterances for a route, written by a language model and judged by the router.

::

    llm = ChatEndpoint("gpt-5-mini")
    generated = generate_utterances(router, "billing", llm=llm, count=20)
    print(generated.utterances, generated.check)
    generated.apply(router)  # only if held-out queries are decided no worse
"""

from synaptoroute.generating.endpoint import Answer, ChatEndpoint
from synaptoroute.generating.records import Budget, Cost, Generated, HeldOutCheck, Negative, Refusal, Refused
from synaptoroute.generating.run import agenerate_utterances, generate_utterances

__all__ = [
    "generate_utterances",
    "agenerate_utterances",
    "ChatEndpoint",
    "Answer",
    "Budget",
    "Generated",
    "HeldOutCheck",
    "Negative",
    "Refused",
    "Refusal",
    "Cost",
]
