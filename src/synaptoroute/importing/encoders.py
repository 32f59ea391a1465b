"""What to say about the encoder a file names: its vectors are not in the file, and which encoder here would be it."""

from __future__ import annotations

from synaptoroute.importing.collecting import Collector
from synaptoroute.importing.shapes import shown

#: Types of encoders as the formats name them -> how to have the same model here.
_HERE = {
    "openai": "OpenAIEncoder({name})",
    "azure": "OpenAIEncoder({name}, client=an AzureOpenAI)",
    "azure_openai": "OpenAIEncoder({name}, client=an AzureOpenAI)",
    "fastembed": "FastEmbedEncoder({name})",
    "hf": "FastEmbedEncoder({name}), if FastEmbed has that model",
    "huggingface": "FastEmbedEncoder({name}), if FastEmbed has that model",
}


def encoder_note(found: Collector, place: str, kind: object, name: object) -> None:
    """Note that this router encodes the utterances anew with an encoder of its own."""
    if kind is None and name is None:
        return
    same = _HERE.get(kind if isinstance(kind, str) else "")
    hint = f"; for the same model, make the router with {same.format(name=shown(name))}" if same and name else ""
    found.inform(
        "encoder",
        place,
        f"the encoder {shown(kind)} {shown(name) if name is not None else ''}".rstrip()
        + f" is not carried: this router encodes the utterances with its own{hint}",
    )
