"""A Haystack pipeline that branches by route; what fits no route goes to a fallback.

Runs without a network: MockChatGenerator, which repeats what it is sent, stands for a model.
Haystack reports usage unless HAYSTACK_TELEMETRY_ENABLED=False is set.
"""

from haystack import Pipeline
from haystack.components.builders import PromptBuilder
from haystack.components.generators.chat import MockChatGenerator

from synaptoroute.integrations.haystack import SemanticRouter

ROUTES = [
    {"name": "billing", "utterances": ["what do I owe", "show my balance", "pay my bill", "send me the invoice"]},
    {"name": "tech support", "utterances": ["it does not start", "the app crashes", "I cannot log in", "error code"]},
]

pipeline = Pipeline()
pipeline.add_component("router", SemanticRouter(ROUTES))
pipeline.add_component("accountant", PromptBuilder("Look up the account, then answer: {{text}}"))
pipeline.add_component("engineer", PromptBuilder("Ask for the version, then answer: {{text}}"))
pipeline.add_component("apology", PromptBuilder("Say politely that this is not our business: {{text}}"))
pipeline.connect("router.billing", "accountant.text")
pipeline.connect("router.tech_support", "engineer.text")
pipeline.connect("router.unmatched", "apology.text")
for number, branch in enumerate(("accountant", "engineer", "apology")):
    pipeline.add_component(f"model_{number}", MockChatGenerator())
    pipeline.connect(f"{branch}.prompt", f"model_{number}.messages")

for text in ("how much is my bill?", "the program crashes at start", "who painted the Mona Lisa?"):
    result = pipeline.run({"router": {"text": text}})
    decision = result.pop("router")["decision"]
    (answer,) = (part["replies"][0].text for part in result.values())
    print(f"{decision.name} ({decision.reason}) -> {answer}")
pipeline.close()
